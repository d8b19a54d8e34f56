"""Statistics of latencies, as pure functions on numpy arrays. No I/O, no Locust, no units of their own.

Each names its source; tests compare each with a published example or another implementation.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Change",
    "Floats",
    "ecdf",
    "quantile",
    "quantile_interval",
    "quantiles",
    "ratio_change",
    "window_change",
    "window_mean",
]

Floats = NDArray[np.float64]


def _sorted(values: ArrayLike) -> Floats:
    array = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if not len(array):
        raise ValueError("no values: a statistic of nothing is not a number")
    if not np.isfinite(array[[0, -1]]).all():
        raise ValueError("values that are not finite have no place among latencies")
    return array


def quantiles(values: ArrayLike, probabilities: ArrayLike) -> Floats:
    """Sample quantiles that are approximately median-unbiased whatever the distribution.

    Hyndman and Fan (1996), "Sample Quantiles in Statistical Packages", definition 8, which they recommend: linear
    interpolation between order statistics at plotting positions (k - 1/3) / (n + 1/3).

    Args:
        values: shape (n,), n >= 1, any order.
        probabilities: shape (m,), each between 0 and 1.

    Returns:
        Shape (m,), in the unit of `values`.

    Raises:
        ValueError: no values, a value that is not finite, or a probability outside 0..1.
    """
    found: Floats = np.quantile(_sorted(values), np.asarray(probabilities, dtype=np.float64), method="median_unbiased")
    return found


def quantile(values: ArrayLike, probability: float) -> float:
    """One of `quantiles`."""
    return float(quantiles(values, [probability])[0])


def quantile_interval(values: ArrayLike, probability: float, confidence: float = 0.95) -> tuple[float, float]:
    """A distribution-free confidence interval of a quantile, between two order statistics.

    Conover, "Practical Nonparametric Statistics" (3rd ed., 1999), section 3.2: the number of values below the quantile
    is binomial. Conservative: covers with at least `confidence` when n is large enough that both ends exist; otherwise
    the end that does not is the smallest or largest value.

    Args:
        values: shape (n,), n >= 1, independent of one another.
        probability: which quantile, above 0 and below 1.
        confidence: above 0 and below 1.

    Raises:
        ValueError: as for `quantiles`.
    """
    if not (0 < probability < 1 and 0 < confidence < 1):
        raise ValueError(f"probability {probability} and confidence {confidence} must lie between 0 and 1")
    ordered = _sorted(values)
    count = len(ordered)
    cumulative = _binomial_cumulative(count, probability)
    tail = (1 - confidence) / 2
    # Order statistics are counted from 1: X(r) <= quantile <= X(s) holds with probability P(r <= B < s).
    below = int(np.searchsorted(cumulative, tail, side="right")) - 1  # the largest r - 1 with P(B <= r - 1) <= tail
    above = int(np.searchsorted(cumulative, 1 - tail, side="left"))  # the smallest s - 1 with P(B <= s - 1) >= 1 - tail
    return float(ordered[max(below, 0)]), float(ordered[min(above, count - 1)])


def _binomial_cumulative(count: int, probability: float) -> Floats:
    """P(B <= k) for k = 0..count, from logarithms so that no factor over- or underflows."""
    successes = np.arange(count + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    log_mass = (
        log_factorial[count]
        - log_factorial
        - log_factorial[::-1]
        + successes * math.log(probability)
        + (count - successes) * math.log1p(-probability)
    )
    cumulative: Floats = np.minimum(np.cumsum(np.exp(log_mass)), 1.0)
    return cumulative


def ecdf(values: ArrayLike, *, points: int | None = None) -> tuple[Floats, Floats]:
    """The empirical distribution function: the distinct values and the share of values at or below each.

    Args:
        values: shape (n,), n >= 1.
        points: at most so many steps are kept. They are spread evenly over the logarithm of the share *above*, on top
            of an even spread over the share, so that the tail keeps its detail; the first and last always stay.

    Returns:
        Two arrays of one shape (m,), m <= n: values ascending, shares ascending to 1.
    """
    distinct, counts = np.unique(_sorted(values), return_counts=True)
    shares = np.cumsum(counts) / counts.sum()
    if points is None or len(distinct) <= points:
        return distinct, shares
    half = points // 2
    even = np.searchsorted(shares, np.linspace(0, 1, half))
    tail = np.searchsorted(shares, 1 - np.geomspace(1, 1 / counts.sum(), points - half))
    kept = np.unique(np.clip(np.concatenate([even, tail, [0, len(distinct) - 1]]), 0, len(distinct) - 1))
    if len(kept) > points:
        kept = np.concatenate([kept[: points - 1], kept[-1:]])
    return distinct[kept], shares[kept]


@dataclass(frozen=True, slots=True)
class Change:
    """How much larger something is than something else, as natural logarithms of the ratio.

    Args:
        estimate: the change that fits best.
        low: lower end of its interval; -inf where the data set none.
        high: upper end; inf where the data set none.
        standard_error: half the width of the interval that one standard error gives.
    """

    estimate: float
    low: float
    high: float
    standard_error: float


LEAST_IN_WINDOW = 3


def window_mean(values: ArrayLike, window: tuple[float, float]) -> float:
    """The mean of the values between two quantiles: steadier than a quantile in their middle.

    Args:
        values: shape (n,), n >= 1.
        window: two probabilities, ascending.

    Raises:
        ValueError: as for `quantiles`.
    """
    return float(_in_window(_sorted(values), window).mean())


def _in_window(ordered: Floats, window: tuple[float, float]) -> Floats:
    first = min(int(window[0] * len(ordered)), len(ordered) - 1)
    return ordered[first : max(first + 1, math.ceil(window[1] * len(ordered)))]


def window_change(
    before: ArrayLike,
    before_blocks: ArrayLike,
    after: ArrayLike,
    after_blocks: ArrayLike,
    window: tuple[float, float],
    z: float,
) -> Change:
    """How much `window_mean` changed, from samples of two releases that were taken in the same blocks of time.

    A window's mean is an L-statistic; what one value adds to it is that value, cut off at the window's ends, divided by
    the window's width (its influence function; Serfling, "Approximation Theorems of Mathematical Statistics", section
    8.1). The variance is that of the blocks' sums of it (clusters; Cochran, "Sampling Techniques", 3rd ed., chapter 9),
    after less before: whatever hits both releases within a block cancels, and whatever lasts does not pretend to be
    many observations.

    Args:
        before: values above 0 of the release before, shape (n,).
        before_blocks: which block each belongs to, whole numbers from 0, shape (n,).
        after: of the release after, shape (m,).
        after_blocks: shape (m,).
        window: two probabilities, ascending.
        z: how many standard errors the interval reaches to either side.

    Returns:
        Without bounds, where fewer than three values lie in a window.

    Raises:
        ValueError: no values on either side.
    """
    sides = [
        (np.asarray(v, dtype=np.float64), np.asarray(b, dtype=np.intp))
        for v, b in ((before, before_blocks), (after, after_blocks))
    ]
    if not all(len(values) for values, _ in sides):
        raise ValueError("no values: there is nothing to compare")
    count = int(max(blocks.max() for _, blocks in sides)) + 1
    means, sums = [], []
    for values, blocks in sides:
        inside = _in_window(np.sort(values), window)
        means.append(float(inside.mean()))
        cut = np.clip(values, inside[0], inside[-1])
        scale = len(values) * (window[1] - window[0]) * means[-1]
        sums.append(np.bincount(blocks, weights=(cut - cut.mean()) / scale, minlength=count))
    estimate = math.log(means[1] / means[0])
    if min(len(values) for values, _ in sides) * (window[1] - window[0]) < LEAST_IN_WINDOW:
        return Change(estimate, -math.inf, math.inf, math.inf)
    error = math.sqrt(float(np.sum((sums[1] - sums[0]) ** 2)) * count / max(count - 1, 1))
    return Change(estimate, estimate - z * error, estimate + z * error, error)


def ratio_change(
    before: ArrayLike, before_counts: ArrayLike, after: ArrayLike, after_counts: ArrayLike, z: float
) -> Change:
    """How much an amount per piece changed, from amounts and counts of two releases in the same blocks of time.

    Ratio estimators of the amounts, their logarithms' difference by the delta method, with the variance between blocks
    (Cochran, "Sampling Techniques", 3rd ed., section 6.3).

    Args:
        before: amounts of the release before in each block, shape (n,).
        before_counts: pieces in each block, shape (n,).
        after: likewise, shape (n,).
        after_counts: likewise, shape (n,).
        z: how many standard errors the interval reaches to either side.

    Raises:
        ValueError: an amount or a count that is nothing in all.
    """
    amounts = [np.asarray(values, dtype=np.float64) for values in (before, after)]
    counts = [np.asarray(values, dtype=np.float64) for values in (before_counts, after_counts)]
    if min(each.sum() for each in (*amounts, *counts)) <= 0:
        raise ValueError("an amount or a count of nothing: there is no ratio of it")
    ratios = [amount.sum() / count.sum() for amount, count in zip(amounts, counts, strict=True)]
    residuals = [
        (amount - ratio * count) / amount.sum() for amount, count, ratio in zip(amounts, counts, ratios, strict=True)
    ]
    blocks = len(amounts[0])
    error = math.sqrt(float(np.sum((residuals[1] - residuals[0]) ** 2)) * blocks / max(blocks - 1, 1))
    estimate = math.log(ratios[1] / ratios[0])
    return Change(estimate, estimate - z * error, estimate + z * error, error)

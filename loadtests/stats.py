"""Statistics of latencies, as pure functions on numpy arrays. No I/O, no Locust, no units of their own.

Each names its source; tests compare each with a published example or another implementation.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Floats", "ecdf", "quantile", "quantile_interval", "quantiles"]

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

"""One measure of one request kind, before and after a release: what changed, how surely, and whether it matters."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadtests.recorder import Samples
from loadtests.stats import Change, Floats, ratio_change, window_change, window_mean

__all__ = [
    "ALL",
    "CANDIDATE",
    "CURRENT",
    "ERRORS",
    "INCONCLUSIVE",
    "PASS",
    "QUANTILES",
    "REGRESSED",
    "Bounds",
    "Comparison",
    "Sides",
    "Tolerance",
    "compare_errors",
    "compare_latency",
    "compare_processor_time",
    "start_noise",
]

PASS, REGRESSED, INCONCLUSIVE = "pass", "regressed", "inconclusive"
CURRENT, CANDIDATE = "current", "candidate"
ALL: Final = "all"
QUANTILES: Final = {"p50": (0.45, 0.55), "p95": (0.93, 0.97), "p99": (0.98, 0.998)}
"""Each is taken as the mean of the latencies around it, between these two: one slow request in a hundred lies right on
the edge of p99, where a single order statistic would say one thing or the other by chance."""
PROCESSOR_TIME: Final = "processor time"
ERRORS: Final = "errors"
BLOCK_US: Final = 1_000_000
LEAST_BLOCKS: Final = 10
POWER: Final = 0.8
"""A detectable change is called regressed with this probability."""


@dataclass(frozen=True)
class Tolerance:
    """What a release may cost more without having regressed.

    Args:
        ratio: of any latency or processor time.
        floors_ms: for each quantile: a change of less does not count, however large its ratio.
        error_share: of the requests of a kind that may fail more than with the current release.
    """

    ratio: float = 0.05
    floors_ms: Mapping[str, float] = field(default_factory=lambda: {"p50": 0.1, "p95": 1.0, "p99": 3.0})
    error_share: float = 0.01

    def allowed(self, measure: str, before_ms: float) -> float:
        """The allowed change, as the logarithm of a ratio."""
        return math.log1p(max(self.ratio, self.floors_ms.get(measure, 0.0) / before_ms))


@dataclass(frozen=True)
class Bounds:
    """How many standard errors it takes at a look.

    Args:
        alarm: to call a comparison regressed.
        passing: to let it pass.
        seconds: of measurement that the look rests on.
    """

    alarm: float
    passing: float
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """One measure of one request kind, before and after.

    Args:
        kind: of the requests, or `all`.
        measure: a quantile of the latency, processor time, or errors.
        before: of the current release, in `unit`.
        after: of the candidate.
        unit: ms, or share.
        change: in the logarithm of the ratio; for errors the difference of the shares.
        allowed: in the same measure as the change.
        detectable: the smallest change that would have been called regressed with a probability of 0.8.
        verdict: of this comparison alone.
        needed_seconds: how long to measure so that it would be clear, at the change seen; 0 where it is, inf where no
            time would do.
    """

    kind: str
    measure: str
    before: float
    after: float
    unit: str
    change: Change
    allowed: float
    detectable: float = 0.0
    verdict: str = INCONCLUSIVE
    needed_seconds: float = 0.0

    def decided(self, bounds: Bounds) -> "Comparison":
        """With its verdict: the whole interval above what is allowed, below it, or across it."""
        change, allowed = self.change, self.allowed
        verdict = REGRESSED if change.low > allowed else PASS if change.high < allowed else INCONCLUSIVE
        detectable = allowed + (bounds.alarm + NormalDist().inv_cdf(POWER)) * change.standard_error
        needed = 0.0
        if verdict == INCONCLUSIVE:
            distance = change.estimate - allowed
            errors = bounds.alarm if distance > 0 else bounds.passing
            surely = math.isfinite(change.standard_error) and math.isfinite(distance) and distance != 0
            needed = bounds.seconds * (errors * change.standard_error / distance) ** 2 if surely else math.inf
        return replace(self, verdict=verdict, detectable=detectable, needed_seconds=needed)


class Sides:
    """Measured samples of both releases, by request kind and running copy.

    Args:
        samples: of `loadtests.side_by_side`, finished or not.
        seconds: those that were due later are left out.
    """

    def __init__(self, samples: Samples, seconds: float) -> None:
        measured = samples.measured()
        self.samples = measured.where(measured.columns["start_us"] < seconds * 1e6)
        columns = self.samples.columns
        self.services = [str(service["release"]) for service in samples.head["services"]]
        self.candidates = np.array([release == CANDIDATE for release in self.services])
        self.copy = columns["release"]
        self.after = self.candidates[self.copy]
        self.good = columns["error"] == 0
        self.latency_us = columns["latency_us"]
        self.blocks = columns["start_us"] // BLOCK_US
        self.usage = [each for each in samples.usage if 0 <= each["at_us"] < seconds * 1e6]

    @property
    def kinds(self) -> list[str]:
        """Request kinds that occur, in their order."""
        present = np.bincount(self.samples.columns["kind"], minlength=len(self.samples.kinds))
        return [kind for kind, count in zip(self.samples.kinds, present, strict=True) if count]

    def of_kind(self, kind: str) -> NDArray[np.bool_]:
        """Whether each sample belongs to a kind; `all` is every kind. Shape (n,)."""
        if kind == ALL:
            return np.ones(len(self.samples), dtype=bool)
        return np.asarray(self.samples.columns["kind"] == self.samples.kinds.index(kind))

    def releases(self) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Each release's name, and whether each sample belongs to it."""
        yield CURRENT, ~self.after
        yield CANDIDATE, self.after

    def change(self, one: NDArray[np.bool_], other: NDArray[np.bool_], measure: str, z: float) -> Change:
        """Of a quantile, between two groups of samples; those with errors are left out."""
        one, other = one & self.good, other & self.good
        latencies, window = np.maximum(self.latency_us, 1), QUANTILES[measure]
        return window_change(latencies[one], self.blocks[one], latencies[other], self.blocks[other], window, z)


def start_noise(sides: Sides) -> dict[str, float]:
    """How much two starts of one release differ beyond what their samples explain, for each quantile.

    Returns:
        The standard deviation of the logarithm; 0 where there is one copy of each release, which tells nothing. Its
        square is the mean over request kinds and releases of the squared change from one copy to the other, less that
        change's variance, halved because either copy differs.
    """
    found: dict[str, list[float]] = {measure: [] for measure in QUANTILES}
    for release in (CURRENT, CANDIDATE):
        copies = [number for number, of in enumerate(sides.services) if of == release]
        for one, other in zip(copies[::2], copies[1::2], strict=False):
            for kind in sides.kinds:
                chosen = sides.of_kind(kind)
                groups = (chosen & (sides.copy == one), chosen & (sides.copy == other))
                if not all((group & sides.good).any() for group in groups):
                    continue
                for measure in QUANTILES:
                    change = sides.change(*groups, measure, 1.0)
                    if math.isfinite(change.standard_error):
                        found[measure].append((change.estimate**2 - change.standard_error**2) / 2)
    return {measure: math.sqrt(max(0.0, float(np.mean(each)))) if each else 0.0 for measure, each in found.items()}


def compare_latency(
    sides: Sides, kind: str, measure: str, tolerance: Tolerance, bounds: Bounds, noise: float
) -> Comparison:
    """A quantile of the latency; what two starts differ by (`noise`) widens its interval."""
    chosen = sides.of_kind(kind)
    groups = [chosen & mine for _, mine in sides.releases()]
    before, after = (window_mean(sides.latency_us[group & sides.good], QUANTILES[measure]) / 1e3 for group in groups)
    unit = sides.change(groups[0], groups[1], measure, 1.0)
    starts = noise * math.sqrt(1 / sides.candidates.sum() + 1 / (~sides.candidates).sum())
    change = bounded(unit.estimate, math.hypot(unit.standard_error, starts), bounds)
    return Comparison(kind, measure, before, after, "ms", change, tolerance.allowed(measure, before)).decided(bounds)


def bounded(estimate: float, error: float, bounds: Bounds) -> Change:
    """A change with the interval that a look asks for: as far down as an alarm needs, as far up as a pass needs."""
    return Change(estimate, estimate - bounds.alarm * error, estimate + bounds.passing * error, error)


def compare_errors(sides: Sides, kind: str, tolerance: Tolerance, bounds: Bounds) -> Comparison:
    """The share of failed requests: their difference, with Newcombe's interval.

    Newcombe (1998), "Interval estimation for the difference between independent proportions", method 10.
    """
    chosen = sides.of_kind(kind)
    groups = [chosen & mine for _, mine in sides.releases()]
    (n, before), (m, after) = [(int(group.sum()), float((~sides.good[group]).mean())) for group in groups]
    change = Change(
        after - before,
        after - before - math.hypot(after - wilson(after, m, -bounds.alarm), wilson(before, n, bounds.alarm) - before),
        after
        - before
        + math.hypot(wilson(after, m, bounds.passing) - after, before - wilson(before, n, -bounds.passing)),
        math.sqrt(before * (1 - before) / n + after * (1 - after) / m) or 1 / min(n, m),
    )
    return Comparison(kind, ERRORS, before, after, "share", change, tolerance.error_share).decided(bounds)


def wilson(share: float, count: int, z: float) -> float:
    """The end of Wilson's score interval (1927) that is so many standard errors away, negative ones below.

    Args:
        share: of successes that was seen.
        count: of trials, at least 1.
        z: standard errors.
    """
    middle = share + z * z / (2 * count)
    spread = abs(z) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle + math.copysign(spread, z)) / (1 + z * z / count)


def compare_processor_time(sides: Sides, tolerance: Tolerance, bounds: Bounds) -> list[Comparison]:
    """Processor time of the server for each request; nothing where it is not known.

    What two starts differ by is taken from the copies of each release, where there are several.
    """
    notes = sides.usage
    if len(notes) < LEAST_BLOCKS or any(value is None for value in notes[0]["processor_ns"]):
        return []
    edges = np.array([note["at_us"] for note in notes])
    used_ms = np.diff(np.array([note["processor_ns"] for note in notes], dtype=np.float64), axis=0) / 1e6
    starts = sides.samples.columns["start_us"]
    counts = np.stack(
        [np.histogram(starts[sides.copy == copy], edges)[0] for copy in range(len(sides.services))], axis=1
    ).astype(np.float64)
    used, asked = (
        [each[:, mine].sum(axis=1) for mine in (~sides.candidates, sides.candidates)] for each in (used_ms, counts)
    )
    unit = ratio_change(used[0], asked[0], used[1], asked[1], 1.0)
    each_copy = np.log(used_ms.sum(axis=0) / counts.sum(axis=0))
    between = sum(_variance_of_mean(each_copy[mine]) for mine in (~sides.candidates, sides.candidates))
    change = bounded(unit.estimate, math.hypot(unit.standard_error, math.sqrt(between)), bounds)
    before, after = (float(each.sum() / count.sum()) for each, count in zip(used, asked, strict=True))
    allowed = tolerance.allowed(PROCESSOR_TIME, before)
    return [Comparison(ALL, PROCESSOR_TIME, before, after, "ms", change, allowed).decided(bounds)]


def _variance_of_mean(values: Floats) -> float:
    """Of several copies; 0 for one, which tells nothing."""
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.0

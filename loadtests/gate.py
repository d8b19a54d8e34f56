"""The gate's decision, as pure functions: is a release slower or less reliable than the one it replaces?

The samples of `loadtests.side_by_side` hold requests to both at the same time. For each request kind, and over all,
each measure's change is held against what is allowed: `regressed` where the whole interval lies above it, `pass` where
the whole interval lies below it, `inconclusive` across it. The release regressed if one comparison says so; it passes
only if all do. Looks at unfinished samples pay for themselves (`loadtests.sequential`).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import numpy as np

from loadtests.comparisons import (
    ALL,
    ERRORS,
    INCONCLUSIVE,
    PASS,
    QUANTILES,
    REGRESSED,
    Bounds,
    Comparison,
    Sides,
    Tolerance,
    compare_errors,
    compare_latency,
    compare_processor_time,
    start_noise,
)
from loadtests.recorder import Samples
from loadtests.sequential import sequential_bounds
from loadtests.stats import quantile

__all__ = ["Plan", "Verdict", "judge"]

MOST_REASONS: Final = 3


@dataclass(frozen=True)
class Plan:
    """How a verdict is reached.

    Args:
        limit_seconds: when the last look is.
        first_look_seconds: when the first one is.
        look_every_seconds: how long from one to the next.
        false_alarms: probability that an unchanged release is called regressed by any comparison at any look.
        false_passes: probability that one comparison whose change is at its limit counts as passed.
        minimum_samples: of each request kind for each release, without which nothing is decided.
        lag_limit_ms: void when the generator sent more than one in a hundred requests later than this.
        tolerance: for all request kinds but those in `kinds`.
        kinds: tolerances of single request kinds.
    """

    limit_seconds: float = 180.0
    first_look_seconds: float = 60.0
    look_every_seconds: float = 20.0
    false_alarms: float = 0.01
    false_passes: float = 0.01
    minimum_samples: int = 200
    lag_limit_ms: float = 50.0
    tolerance: Tolerance = field(default_factory=Tolerance)
    kinds: Mapping[str, Tolerance] = field(default_factory=dict)

    @cached_property
    def looks(self) -> list[float]:
        """When to look, in seconds from the start of the measurement."""
        early = math.ceil((self.limit_seconds - self.first_look_seconds) / self.look_every_seconds - 1e-9)
        moments = [self.first_look_seconds + self.look_every_seconds * number for number in range(max(0, early))]
        return [*moments, self.limit_seconds]

    def bounds(self, look: int, comparisons: int) -> Bounds:
        """What it takes at a look.

        False alarms are shared out among the comparisons (Bonferroni), because one is enough. A pass needs all of
        them, so that each may spend the whole probability (intersection-union test; Berger 1982).
        """
        shares = [moment / self.limit_seconds for moment in self.looks]
        alarm = sequential_bounds(shares, self.false_alarms / comparisons)
        passing = sequential_bounds(shares, self.false_passes)
        return Bounds(alarm[look], passing[look], self.looks[look])

    def of_kind(self, kind: str) -> Tolerance:
        """What this request kind may cost more."""
        return self.kinds.get(kind, self.tolerance)


@dataclass(frozen=True)
class Verdict:
    """What the gate says.

    Args:
        verdict: `pass`, `regressed` or `inconclusive`.
        reasons: why, one line each, the weightiest first.
        comparisons: all of them; none where there was nothing to compare.
        seconds: of measurement that it rests on.
        requests: likewise, of both releases.
        noise: standard deviation of the logarithm of each quantile between two starts of one release.
    """

    verdict: str
    reasons: tuple[str, ...]
    comparisons: tuple[Comparison, ...] = ()
    seconds: float = 0.0
    requests: int = 0
    noise: Mapping[str, float] = field(default_factory=dict)

    @property
    def clear(self) -> bool:
        """Whether the release may be told now; else more measuring may help."""
        return self.verdict != INCONCLUSIVE


def judge(samples: Samples, plan: Plan, look: int) -> Verdict:
    """What the samples say at a look.

    Args:
        samples: of `side_by_side`, finished or not.
        plan: that was made before.
        look: number of the look, from 0; samples after its moment are left out.
    """
    seconds = plan.looks[look]
    sides = Sides(samples, seconds)
    verdict = Verdict(INCONCLUSIVE, (), seconds=seconds, requests=len(sides.samples))
    if found := tuple(_void(sides, plan)):
        return replace(verdict, reasons=found)
    if found := tuple(_new_errors(sides)):
        return replace(verdict, verdict=REGRESSED, reasons=found)
    if found := tuple(_scarce(sides, plan)):
        return replace(verdict, reasons=found)
    kinds = [*sides.kinds, ALL]
    bounds = plan.bounds(look, len(kinds) * (len(QUANTILES) + 1) + 1)
    noise = start_noise(sides)
    comparisons = (
        *(
            compare_latency(sides, kind, measure, plan.of_kind(kind), bounds, noise[measure])
            for kind in kinds
            for measure in QUANTILES
        ),
        *(compare_errors(sides, kind, plan.of_kind(kind), bounds) for kind in kinds),
        *compare_processor_time(sides, plan.tolerance, bounds),
    )
    return _summed_up(replace(verdict, comparisons=comparisons, noise=noise))


def _summed_up(verdict: Verdict) -> Verdict:
    worse = [one for one in verdict.comparisons if one.verdict == REGRESSED]
    if worse:
        worse.sort(key=lambda one: one.allowed - one.change.low)
        return replace(verdict, verdict=REGRESSED, reasons=tuple(map(_told, worse[:MOST_REASONS])))
    unclear = [one for one in verdict.comparisons if one.verdict == INCONCLUSIVE]
    if unclear:
        unclear.sort(key=lambda one: -one.needed_seconds)
        return replace(verdict, reasons=tuple(map(_told, unclear[:MOST_REASONS])))
    nearest = max(verdict.comparisons, key=lambda one: one.change.high - one.allowed)
    return replace(verdict, verdict=PASS, reasons=(f"nothing is worse than allowed; nearest: {_told(nearest)}",))


def _told(one: Comparison) -> str:
    """A comparison in words."""
    name = one.measure if one.kind == ALL else f"{one.kind} {one.measure}"
    if one.measure == ERRORS:
        text = f"{name}: {one.before:.2%} -> {one.after:.2%} fail, {one.allowed:.2%} more are allowed"
    else:
        change, low, high = map(math.expm1, (one.change.estimate, one.change.low, one.change.high))
        text = (
            f"{name}: {one.before:.3g} -> {one.after:.3g} {one.unit}, {change:+.1%} ({low:+.1%} to {high:+.1%}), "
            f"{math.expm1(one.allowed):.1%} allowed"
        )
    if one.verdict != INCONCLUSIVE:
        return text
    needed = "no time would do" if math.isinf(one.needed_seconds) else f"it needs about {one.needed_seconds:,.0f} s"
    return f"{text}: not clear, {needed}"


def _void(sides: Sides, plan: Plan) -> Iterator[str]:
    """Why nothing can be decided."""
    if failure := (sides.samples.done or {}).get("failure"):
        yield str(failure)
        return
    if not len(sides.samples):
        yield "no samples: not one request was measured"
        return
    for name, mine in sides.releases():
        if not (mine & (sides.samples.columns["status"] > 0)).any():
            yield f"the {name} release does not answer"
    lag_ms = quantile(sides.samples.columns["lag_us"], 0.99) / 1e3
    if lag_ms > plan.lag_limit_ms:
        yield (
            f"void: the load generator lagged behind its clock (p99 {lag_ms:.0f} ms, limit {plan.lag_limit_ms:.0f} "
            "ms): lower the rate, or give it a core of its own"
        )


def _scarce(sides: Sides, plan: Plan) -> Iterator[str]:
    """Of which requests too few were answered to say anything of their latency."""
    for name, mine in sides.releases():
        counts = {kind: int((mine & sides.of_kind(kind) & sides.good).sum()) for kind in sides.kinds}
        scarce = [f"{kind} {count}" for kind, count in counts.items() if count < plan.minimum_samples]
        if scarce:
            named = ", ".join(scarce[:MOST_REASONS])
            yield f"too few samples of the {name} release (at least {plan.minimum_samples} of each kind): {named}"


def _new_errors(sides: Sides) -> Iterator[str]:
    """Errors that only the candidate makes."""
    codes = sides.samples.columns["error"]
    for code in np.unique(codes[sides.after & (codes > 0)]):
        if (codes[~sides.after] == code).any():
            continue
        new = sides.after & (codes == code)
        kinds = [sides.samples.kinds[kind] for kind in np.unique(sides.samples.columns["kind"][new])]
        told = f"{int(new.sum())} x {sides.samples.errors[code]}"
        yield f"{', '.join(kinds[:MOST_REASONS])}: {told}, which the current release never gave"

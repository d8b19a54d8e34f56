"""Measures the API against the ceiling, and against itself where its data grows.

Whatever is compared is measured in turns, round by round, each round in the other order than the one before, so that a
machine that drifts drifts for both; a comparison's value is the median of the rounds' ratios.
"""

import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import uvloop

from loadtests.closed_loop import latencies_ms, requests_per_second
from loadtests.journeys import Request
from loadtests.progress import Progress
from loadtests.stats import quantile, quantile_interval

__all__ = ["Comparison", "against_ceiling", "against_itself"]

Measure: TypeAlias = Callable[[], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sequences of requests to one server, whose latencies are compared.

    Args:
        measured: the requests whose latency is looked at, sent in turn on one connection.
        reference: those whose latency it is divided by.
        probability: of the quantile of the latencies that is compared.
    """

    measured: Sequence[Request]
    reference: Sequence[Request]
    probability: float


def against_ceiling(
    servers: Mapping[str, str],
    kinds: Mapping[str, Sequence[Request]],
    *,
    rounds: int,
    seconds: float,
    core: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Compare how many requests a second two servers answer.

    Args:
        servers: URLs of "ours" and "ceiling".
        kinds: for each name the requests, one for each connection, which repeats it.
        rounds: pairs of measurements for each kind, at least 1.
        seconds: length of one measurement.
        core: where the client runs; None for anywhere.

    Returns:
        For each kind: `value` (ours divided by the ceiling's), `low`, `high` (its distribution-free 95 % interval;
        below six rounds their extremes), `rounds` (each one's ratio), `ours_rps` and `ceiling_rps` (medians).

    Raises:
        ClosedLoopError: a server answered another status than expected, broke a connection or is not there.
    """

    def rate(server: str, requests: Sequence[Request]) -> Measure:
        return lambda: requests_per_second(server, requests, seconds)

    pairs = {
        kind: (rate(servers["ours"], requests), rate(servers["ceiling"], requests)) for kind, requests in kinds.items()
    }
    with _pinned(core):
        return uvloop.run(_compare(pairs, ("ours_rps", "ceiling_rps"), rounds))


def against_itself(
    server: str, kinds: Mapping[str, Comparison], *, rounds: int, seconds: float, core: int | None = None
) -> dict[str, dict[str, Any]]:
    """Compare latencies of one server; arguments, result and errors as for `against_ceiling`.

    The two medians are called `measured_ms` and `reference_ms`.
    """

    async def latency(requests: Sequence[Request], probability: float) -> float:
        return quantile(await latencies_ms(server, requests, seconds), probability)

    pairs: dict[str, tuple[Measure, Measure]] = {
        kind: (partial(latency, one.measured, one.probability), partial(latency, one.reference, one.probability))
        for kind, one in kinds.items()
    }
    with _pinned(core):
        return uvloop.run(_compare(pairs, ("measured_ms", "reference_ms"), rounds))


async def _compare(
    pairs: Mapping[str, tuple[Measure, Measure]], names: tuple[str, str], rounds: int
) -> dict[str, dict[str, Any]]:
    progress, result = Progress(), {}
    for kind, pair in pairs.items():
        found: tuple[list[float], list[float]] = [], []
        for measure in pair:
            await measure()  # warms up
        for number in range(rounds):
            for index in (0, 1) if number % 2 == 0 else (1, 0):
                found[index].append(await pair[index]())
            progress.update(f"{kind}: round {number + 1} of {rounds}, ratio {found[0][-1] / found[1][-1]:.3f}")
        medians = {name: round(quantile(values, 0.5), 3) for name, values in zip(names, found, strict=True)}
        result[kind] = _ratio(*found) | medians
    progress.finish()
    return result


def _ratio(ones: list[float], others: list[float]) -> dict[str, Any]:
    ratios = [one / other for one, other in zip(ones, others, strict=True)]
    low, high = quantile_interval(ratios, 0.5)
    return {
        "value": round(quantile(ratios, 0.5), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "rounds": [round(ratio, 4) for ratio in ratios],
    }


@contextlib.contextmanager
def _pinned(core: int | None) -> Iterator[None]:
    """This process on one core, as long as the measurement lasts."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)

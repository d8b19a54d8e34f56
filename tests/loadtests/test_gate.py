"""The gate's decision on samples whose truth is known."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from loadtests.comparisons import ALL, ERRORS, Bounds, Tolerance, wilson
from loadtests.gate import Plan, Verdict, judge
from loadtests.recorder import Recorder, Samples, read_samples

SECONDS = 60
PLAN = Plan(limit_seconds=SECONDS, first_look_seconds=SECONDS)
Latencies: TypeAlias = Callable[[np.random.Generator, int, str], Any]
Make: TypeAlias = Callable[..., Samples]


def lognormal(generator: np.random.Generator, count: int, copy: str) -> Any:
    return generator.lognormal(math.log(20_000), 0.1, count)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Samples of two copies of each release, as `side_by_side` leaves them."""

    def made(
        candidate: Latencies = lognormal,
        *,
        kinds: tuple[str, ...] = ("list", "get"),
        count: int = 3_000,
        current: Latencies = lognormal,
        errors: dict[tuple[str, str], tuple[str, int]] | None = None,
        lag_us: int = 50,
        processor_us: tuple[float, ...] = (1_000.0, 1_000.0, 1_000.0, 1_000.0),
        done: dict[str, Any] | None = None,
    ) -> Samples:
        services = [{"release": release, "url": ""} for release in ("current", "candidate") for _ in range(2)]
        recorder = Recorder(tmp_path / "samples.bin", {"measure_seconds": SECONDS, "services": services})
        generator = np.random.default_rng(2)
        for kind in kinds:
            for code, service in enumerate(services):
                latencies = (current if code < 2 else candidate)(
                    generator, count, f"{service['release']} {kind} {code}"
                )
                error, failed = (errors or {}).get((service["release"], kind), ("", 0))
                for number, latency in enumerate(latencies):
                    bad = error if number % 1_000 < failed else ""
                    recorder.add(
                        start_us=number * SECONDS * 1_000_000 // count,
                        latency_us=int(latency),
                        lag_us=lag_us,
                        bytes_=1,
                        status=500 if bad else 200,
                        kind=kind,
                        error=bad,
                        release=code,
                    )
        for second in range(SECONDS):
            used = [int(second * count * len(kinds) / SECONDS * time * 1e3) for time in processor_us]
            recorder.add_usage(second * 1_000_000, used, 0)
        recorder.close({"failure": ""} | (done or {}))
        return read_samples(tmp_path / "samples.bin")

    return made


def of(verdict: Verdict, kind: str, measure: str) -> str:
    return next(one.verdict for one in verdict.comparisons if (one.kind, one.measure) == (kind, measure))


def test_an_unchanged_release_passes_and_says_what_could_have_been_seen(make: Make) -> None:
    verdict = judge(make(), PLAN, 0)
    assert verdict.verdict == "pass"
    assert verdict.requests == 2 * 4 * 3_000
    assert {one.kind for one in verdict.comparisons} == {"list", "get", ALL}
    assert all(one.detectable >= one.allowed for one in verdict.comparisons)
    assert all(one.needed_seconds == 0 for one in verdict.comparisons)


def slower(kind: str, change: Callable[[Any, np.random.Generator], Any]) -> Latencies:
    def latencies(generator: np.random.Generator, count: int, copy: str) -> Any:
        values = lognormal(generator, count, copy)
        return change(values, generator) if f" {kind} " in copy else values

    return latencies


def tail(values: Any, _: Any) -> Any:
    return np.where(values > np.quantile(values, 0.9), values * 1.15, values)


def one_in_a_hundred(values: Any, generator: np.random.Generator) -> Any:
    return np.where(generator.random(len(values)) < 0.01, values * 10, values)


@pytest.mark.parametrize(
    ("change", "measure"),
    [(lambda values, _: values * 1.1, "p95"), (tail, "p95"), (one_in_a_hundred, "p99")],
)
def test_one_slower_kind_is_a_regression_and_is_named(make: Make, change: Any, measure: str) -> None:
    verdict = judge(make(slower("get", change)), PLAN, 0)
    assert verdict.verdict == "regressed"
    assert of(verdict, "get", measure) == "regressed"
    assert of(verdict, "list", measure) != "regressed"
    assert verdict.reasons[0].startswith("get ")


def test_less_than_allowed_is_no_regression(make: Make) -> None:
    assert judge(make(slower("get", lambda values, _: values * 1.03)), PLAN, 0).verdict != "regressed"
    faster = judge(make(slower("get", lambda values, _: values * 0.7)), PLAN, 0)
    assert faster.verdict == "pass"


def test_microseconds_on_a_fast_route_do_not_count_and_tolerances_can_be_set_for_a_kind(make: Make) -> None:
    def fast(generator: np.random.Generator, count: int, copy: str) -> Any:
        return generator.lognormal(math.log(400), 0.05, count) * (1.15 if "candidate get" in copy else 1.0)

    assert judge(make(fast, current=fast), PLAN, 0).verdict == "pass"
    strict = Plan(SECONDS, SECONDS, kinds={"get": Tolerance(0.05, floors_ms={})})
    assert judge(make(fast, current=fast), strict, 0).verdict == "regressed"


@pytest.mark.parametrize(("failed", "times"), [(1, 6), (1_000, 6_000)])
def test_an_error_that_the_current_release_never_gave_is_a_regression(make: Make, failed: int, times: int) -> None:
    verdict = judge(make(errors={("candidate", "get"): ("status 500", failed)}), PLAN, 0)
    assert verdict.verdict == "regressed"
    assert verdict.reasons == (f"get: {times} x status 500, which the current release never gave",)


def test_more_of_an_error_that_both_give_is_a_regression_only_beyond_what_is_allowed(make: Make) -> None:
    known = {("current", "get"): ("status 503", 1)}
    assert judge(make(errors=known | {("candidate", "get"): ("status 503", 2)}), PLAN, 0).verdict == "pass"
    verdict = judge(make(errors=known | {("candidate", "get"): ("status 503", 40)}), PLAN, 0)
    assert verdict.verdict == "regressed"
    assert of(verdict, "get", ERRORS) == "regressed"


def test_processor_time_regresses_too(make: Make) -> None:
    verdict = judge(make(processor_us=(1_000.0, 1_001.0, 1_100.0, 1_101.0)), PLAN, 0)
    assert (verdict.verdict, of(verdict, ALL, "processor time")) == ("regressed", "regressed")
    uneven = judge(make(processor_us=(1_000.0, 1_080.0, 1_020.0, 1_140.0)), PLAN, 0)
    assert of(uneven, ALL, "processor time") == "inconclusive", "two starts of one release differ by as much"


def test_two_starts_that_differ_widen_the_intervals(make: Make) -> None:
    def uneven(generator: np.random.Generator, count: int, copy: str) -> Any:
        return lognormal(generator, count, copy) * (1.08 if copy.endswith(("1", "3")) else 1.0)

    calm, noisy = judge(make(), PLAN, 0), judge(make(uneven, current=uneven), PLAN, 0)
    assert noisy.noise["p50"] == pytest.approx(math.log(1.08) / math.sqrt(2), rel=0.2)
    assert calm.noise["p50"] < 0.01
    assert noisy.verdict == "inconclusive"
    assert "not clear, it needs about" in noisy.reasons[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"count": 40}, "too few samples of the current release (at least 200 of each kind): list 80, get 80"),
        ({"kinds": ()}, "no samples"),
        ({"lag_us": 90_000}, "void: the load generator lagged behind its clock (p99 90 ms, limit 50 ms)"),
        ({"done": {"failure": "nobody could log in"}}, "nobody could log in"),
    ],
)
def test_nothing_measured_is_never_a_pass(make: Make, changes: dict[str, Any], reason: str) -> None:
    verdict = judge(make(**changes), PLAN, 0)
    assert verdict.verdict == "inconclusive"
    assert verdict.reasons[0].startswith(reason)


def test_a_dead_side_is_never_a_pass(make: Make) -> None:
    samples = make()
    dead = samples.columns["release"] >= 2
    samples.columns["status"][dead] = 0
    samples.columns["error"][dead] = 1
    verdict = judge(samples, PLAN, 0)
    assert (verdict.verdict, verdict.reasons[0]) == ("inconclusive", "the candidate release does not answer")


def test_a_look_sees_only_what_was_due_by_then(make: Make) -> None:
    plan = Plan(limit_seconds=SECONDS, first_look_seconds=20, look_every_seconds=20)
    assert plan.looks == [20, 40, 60]
    requests = [judge(make(), plan, look).requests for look in range(3)]
    assert requests == [8_000, 16_000, 24_000]


def test_looks_and_comparisons_are_paid_for() -> None:
    once = Plan(limit_seconds=60, first_look_seconds=60)
    often = Plan(limit_seconds=60, first_look_seconds=20, look_every_seconds=10)
    assert once.bounds(0, 1).alarm == pytest.approx(2.326, abs=1e-3)
    assert once.bounds(0, 40).alarm == pytest.approx(3.481, abs=1e-3)
    assert often.bounds(0, 40).alarm > often.bounds(4, 40).alarm > once.bounds(0, 40).alarm
    assert often.bounds(4, 40).passing == often.bounds(4, 1).passing


# Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I: 81 of 263 at 95 %.
def test_wilson_is_as_published() -> None:
    assert wilson(81 / 263, 263, -1.959964) == pytest.approx(0.2553, abs=1e-4)
    assert wilson(81 / 263, 263, 1.959964) == pytest.approx(0.3662, abs=1e-4)
    assert wilson(0.0, 20, 1.959964) == pytest.approx(0.1611, abs=1e-4)


def test_bounds_tell_what_they_rest_on() -> None:
    assert PLAN.bounds(0, 1) == Bounds(PLAN.bounds(0, 1).alarm, PLAN.bounds(0, 1).passing, SECONDS)

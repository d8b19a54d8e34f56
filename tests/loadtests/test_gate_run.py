"""A gate from the first request to the verdict, on real servers."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from loadtests.comparisons import Tolerance
from loadtests.gate import Plan
from loadtests.gate_run import as_verdict_file, run_gate, write_verdict
from loadtests.progress import Progress
from loadtests.recorder import read_samples
from loadtests.side_by_side import SAMPLES, Service

Fake: TypeAlias = Callable[..., str]
WIDE = Tolerance(ratio=1e6, floors_ms={}, error_share=0.5)
"""What no machine's mood reaches."""


def plan(tolerance: Tolerance, limit_seconds: float = 24.0) -> Plan:
    return Plan(
        limit_seconds=limit_seconds,
        first_look_seconds=4.0,
        look_every_seconds=2.0,
        minimum_samples=20,
        lag_limit_ms=1_000,
        tolerance=tolerance,
    )


def services(current: str, candidate: str) -> list[Service]:
    return [Service("current", current), Service("candidate", candidate)]


def test_the_same_release_passes_and_leaves_what_a_verdict_rests_on(
    fake: Fake, tmp_path: Path, credentials: Path
) -> None:
    record = tmp_path / "new" / "folder"
    verdict = run_gate(services(fake(), fake()), plan(WIDE), record, rate=400, credentials=credentials)
    assert verdict.verdict == "pass", verdict.reasons
    samples = read_samples(record / SAMPLES)
    assert samples.done
    assert verdict.requests <= len(samples)
    write_verdict(record, as_verdict_file(verdict, {"current": "a"}))
    content = json.loads((record / "verdict.json").read_text())
    assert (content["schema_version"], content["verdict"], content["conditions"]) == (1, "pass", {"current": "a"})
    assert {row["verdict"] for row in content["comparisons"]} == {"pass"}


def test_a_release_that_waits_is_a_regression_and_the_gate_stops_early(fake: Fake, tmp_path: Path) -> None:
    told = io.StringIO()
    long = plan(Tolerance(ratio=0.05), limit_seconds=60.0)
    verdict = run_gate(
        services(fake(), fake(delay=0.1)), long, tmp_path, rate=200, progress=Progress(told, every_seconds=0)
    )
    assert verdict.verdict == "regressed", verdict.reasons
    assert verdict.seconds < 60
    assert "s of 60 s at most" in told.getvalue()


def test_failing_requests_are_a_regression(fake: Fake, tmp_path: Path) -> None:
    verdict = run_gate(services(fake(), fake(fail="PATCH")), plan(WIDE), tmp_path, rate=200)
    assert verdict.verdict == "regressed"
    assert verdict.reasons[0].startswith("update_task: ")
    assert "status 500, which the current release never gave" in verdict.reasons[0]


def test_a_release_that_dies_never_passes(fake: Fake, tmp_path: Path) -> None:
    verdict = run_gate(services(fake(), fake(die_after=1.5)), plan(WIDE), tmp_path, rate=200)
    assert verdict.verdict in {"regressed", "inconclusive"}
    both = run_gate(services(fake(), "http://127.0.0.1:9"), plan(WIDE), tmp_path, rate=200)
    assert both.verdict == "inconclusive"
    assert "127.0.0.1:9 takes no connections" in both.reasons[0]


def test_what_sets_no_bound_is_null_in_the_file(fake: Fake, tmp_path: Path) -> None:
    verdict = run_gate(services(fake(), fake()), plan(WIDE), tmp_path, rate=200)
    rows = as_verdict_file(verdict, {})["comparisons"]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows

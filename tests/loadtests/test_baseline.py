import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.baseline import BaselineError, failures, make_baseline, read_baseline, write_baseline
from loadtests.profiles import PROFILES
from loadtests.recorder import Recorder, Samples, read_samples

PROFILE = dataclasses.replace(PROFILES["quick"], minimum_samples=100, measure_seconds=10.0)
LATENCIES = {"me": np.arange(1, 201) * 1000, "list_tasks": np.full(200, 5_000)}


def test_figures_are_those_of_the_samples(make_samples: Callable[..., Samples]) -> None:
    samples = make_samples(LATENCIES)
    baseline = make_baseline(samples, profile=PROFILE, reasons=[], conditions={"cores": 2})
    me = baseline["kinds"]["me"]
    assert (me["count"], me["errors"], me["min_ms"], me["max_ms"]) == (200, 0, 1.0, 200.0)
    assert me["p50_ms"] == 100.5
    assert me["p99_ms"] == pytest.approx(198.663, abs=1e-3)
    assert baseline["all"]["count"] == 400
    assert baseline["requests_per_second"] == 40.0
    assert baseline["outcome"] == "passed"
    assert baseline["generator"]["lag_p99_ms"] == 0.1


def test_failed_requests_count_as_errors_and_not_as_fast(make_samples: Callable[..., Samples]) -> None:
    samples = make_samples({"me": [1] * 150 + [9_000] * 50}, errors={"me": 150})
    baseline = make_baseline(samples, profile=PROFILE, reasons=["x"], conditions={})
    assert baseline["kinds"]["me"]["errors"] == 150
    assert baseline["kinds"]["me"]["min_ms"] == 9.0
    assert baseline["errors"] == [{"kind": "me", "error": "status 500", "count": 150}]
    assert baseline["outcome"] == "failed"


def test_nothing_but_errors_has_no_latency(make_samples: Callable[..., Samples]) -> None:
    samples = make_samples({"me": [1] * 20}, errors={"me": 20})
    assert make_baseline(samples, profile=PROFILE, reasons=[], conditions={})["all"]["p95_ms"] is None


def test_a_good_run_has_no_failures(make_samples: Callable[..., Samples]) -> None:
    assert failures(make_samples(LATENCIES), PROFILE, list(LATENCIES)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"errors": {"me": 2}}, "me: 2 x status 500"),
        ({"lag_us": 80_000}, "void: the load generator lagged"),
        ({"done": {"unfinished_journeys": 3}}, "3 journeys had not ended"),
        ({"done": {"failure": "no login before the run"}}, "no login before the run"),
    ],
)
def test_each_reason_to_fail_is_said(make_samples: Callable[..., Samples], changes: dict[str, Any], words: str) -> None:
    reasons = failures(make_samples(LATENCIES, **changes), PROFILE, list(LATENCIES))
    assert any(words in reason for reason in reasons), reasons


def test_a_kind_that_was_never_asked_for_fails_the_run(make_samples: Callable[..., Samples]) -> None:
    (reason,) = failures(make_samples(LATENCIES), PROFILE, [*LATENCIES, "a", "b", "c", "d"])
    assert reason.endswith("a 0, b 0, c 0 and 1 more")


def test_no_samples_fail_the_run(make_samples: Callable[..., Samples]) -> None:
    assert failures(make_samples({}), PROFILE, ["me"]) == ["no samples: not one request was measured"]


def test_a_recording_without_end_fails_the_run(tmp_path: Path) -> None:
    Recorder(tmp_path / "s", {})
    assert "cut short" in failures(read_samples(tmp_path / "s"), PROFILE, ["me"])[0]


def test_conditions_decide_the_fingerprint_and_the_release_does_not(make_samples: Callable[..., Samples]) -> None:
    samples = make_samples(LATENCIES)

    def of(**conditions: Any) -> Any:
        return make_baseline(samples, profile=PROFILE, reasons=[], conditions=conditions)["fingerprint"]

    assert of(cores=2, release="a") == of(release="b", cores=2)
    assert of(cores=2) != of(cores=4)
    other = dataclasses.replace(PROFILE, journeys_per_second=1)
    assert of() != make_baseline(samples, profile=other, reasons=[], conditions={})["fingerprint"]


def test_what_is_written_can_be_read(make_samples: Callable[..., Samples], tmp_path: Path) -> None:
    baseline = make_baseline(make_samples(LATENCIES), profile=PROFILE, reasons=[], conditions={"cores": 2})
    write_baseline(tmp_path / "baseline.json", baseline)
    assert read_baseline(tmp_path / "baseline.json") == baseline
    assert sorted(path.name for path in tmp_path.iterdir()) == ["baseline.json", "made.bin"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"{", b"\xff", json.dumps({"schema_version": 2}).encode()])
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "baseline.json"
    path.write_bytes(content)
    with pytest.raises(BaselineError) as caught:
        read_baseline(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="No such file"):
        read_baseline(tmp_path / "none.json")

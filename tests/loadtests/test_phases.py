from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.drill_chart import Seen, draw
from loadtests.phases import phases, recovery_seconds
from loadtests.recorder import Samples

SECOND = 1_000_000


def test_requests_belong_to_the_phase_in_which_they_were_due(make_samples: Callable[..., Samples]) -> None:
    samples = make_samples({"list_20": [1_000] * 100}, seconds=10.0, errors={"list_20": 40})
    found = phases(samples, began_us=3 * SECOND, ended_us=6 * SECOND)
    assert [one["requests"] for one in found.values()] == [30, 30, 40]
    assert [one["errors"] for one in found.values()] == [{"status 500": 30}, {"status 500": 10}, {}]
    assert found["during"]["p50_ms"] == found["during"]["max_ms"] == 1.0


def test_a_failed_request_counts_with_the_time_it_took(make_samples: Callable[..., Samples]) -> None:
    samples = make_samples({"list_20": [2_000_000] + [1_000] * 9}, seconds=1.0, errors={"list_20": 1})
    assert phases(samples, SECOND, SECOND)["before"]["max_ms"] == 2_000


def test_a_phase_without_requests_has_no_latency(make_samples: Callable[..., Samples]) -> None:
    found = phases(make_samples({"list_20": [1_000]}), began_us=5 * SECOND, ended_us=6 * SECOND)
    assert found["during"] == {
        "requests": 0,
        "errors": {},
        "p50_ms": None,
        "p95_ms": None,
        "p99_ms": None,
        "max_ms": None,
    }


def test_recovery_ends_with_the_last_request_that_failed_or_was_slow(make_samples: Callable[..., Samples]) -> None:
    # One request every 100 ms for 10 s; a fault until 5.0 s.
    def recovery(changes: dict[int, int], errors: int = 0) -> float:
        latencies: Any = np.full(101, 1_000)
        for index, latency_us in changes.items():
            latencies[index] = latency_us
        samples = make_samples({"a": latencies}, seconds=10.1, errors={"a": errors})
        return recovery_seconds(samples, ended_us=5 * SECOND)

    assert recovery({}) == 0
    assert recovery({20: 500_000}) == 0, "long before"
    assert 0.4 < recovery({49: 500_000}) < 0.5, "begun in the fault, ended after it"
    assert 0.34 < recovery({51: 200_000}, errors=52) < 0.36, "failed"
    assert recovery({60: 200_000}) == 0, "not slow enough"


def test_the_drawing_shows_each_drill(make_samples: Callable[..., Samples], tmp_path: Path) -> None:
    samples = make_samples({"list_20": np.geomspace(100, 50_000_000, 200)}, errors={"list_20": 20})
    drills = [Seen(f"drill-{number}", samples, 2 * SECOND, 6 * SECOND) for number in range(3)]
    draw(tmp_path / "drills.png", drills)
    content = (tmp_path / "drills.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert 10_000 < len(content) < 500_000

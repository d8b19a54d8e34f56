"""Two real servers measured at the same time, each request on the clock."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from loadtests.journeys import JOURNEYS, KINDS
from loadtests.recorder import Samples, SamplesError, read_samples
from loadtests.side_by_side import SAMPLES
from tests.loadtests.conftest import ROOT

Fake: TypeAlias = Callable[..., str]
RATE = 200


def command(services: list[dict[str, Any]], record: Path, **options: object) -> list[str]:
    words = [sys.executable, "-m", "loadtests.side_by_side", "--record", str(record), "--rate", str(RATE)]
    words += [word for service in services for word in ("--service", json.dumps(service))]
    return words + [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]


def measure(services: list[dict[str, Any]], record: Path, **options: object) -> Samples:
    options = {"seconds": 2, "warm_up_seconds": 0.5} | options
    subprocess.run(command(services, record, **options), cwd=ROOT, check=True, timeout=60)
    return read_samples(record / SAMPLES)


def both(current: str, candidate: str) -> list[dict[str, Any]]:
    return [{"release": "current", "url": current}, {"release": "candidate", "url": candidate}]


def test_both_get_the_same_requests_at_the_same_time(fake: Fake, tmp_path: Path, credentials: Path) -> None:
    samples = measure(both(fake(), fake()), tmp_path, credentials=credentials)
    assert samples.done
    assert samples.done["failure"] == ""
    assert samples.done["unanswered"] == 0
    assert len(samples.succeeded()) == len(samples) == samples.done["arrivals"]
    assert set(samples.kinds) == set(KINDS)
    release, kind = samples.columns["release"], samples.columns["kind"]
    for code in range(len(samples.kinds)):
        mine = release[kind == code]
        assert abs((mine == 0).sum() - (mine == 1).sum()) <= 8, "twins: what is asked of one is asked of the other"
    ticks = np.sort(samples.columns["start_us"])
    assert np.abs(np.diff(ticks) - 1_000_000 / RATE).max() <= 1
    assert abs(len(samples) - RATE * 2.5) <= RATE / 10
    assert [service["url"] for service in samples.head["services"]] == [url["url"] for url in samples.head["services"]]


def test_a_slow_release_does_not_slow_the_clock_and_each_wait_counts(fake: Fake, tmp_path: Path) -> None:
    slow = 0.15
    samples = measure(both(fake(), fake(delay=slow)), tmp_path)
    late = samples.columns["release"] == 1
    assert (samples.columns["latency_us"][late] >= slow * 1e6).all()
    assert np.median(samples.columns["latency_us"][~late]) < slow * 1e6
    assert abs(len(samples) - RATE * 2.5) <= RATE / 10
    assert abs(late.mean() - 0.5) < 0.15


def test_processor_time_of_the_tree_is_noted(fake: Fake, tmp_path: Path) -> None:
    services = both(fake(), fake())
    services[0]["pid"] = os.getpid()
    usage = measure(services, tmp_path, seconds=3).usage
    assert len(usage) >= 3
    spent = [entry["processor_ns"][0] for entry in usage]
    assert spent == sorted(spent)
    assert spent[-1] > 0
    assert {entry["processor_ns"][1] for entry in usage} == {None}
    assert usage[-1]["machine_busy_ns"] > usage[0]["machine_busy_ns"]


def test_a_release_that_dies_leaves_errors_and_the_other_is_measured_on(fake: Fake, tmp_path: Path) -> None:
    samples = measure(both(fake(), fake(die_after=1)), tmp_path)
    of_candidate = samples.where(samples.columns["release"] == 1)
    of_current = samples.where(samples.columns["release"] == 0)
    assert len(of_current.succeeded()) == len(of_current)
    assert 0 < len(of_candidate.succeeded()) < len(of_candidate)
    assert "ConnectionRefusedError" in samples.errors


def test_nobody_there_is_said_in_one_line(fake: Fake, tmp_path: Path) -> None:
    done = subprocess.run(
        command(both(fake(), "http://127.0.0.1:9"), tmp_path, seconds=1),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("measurement failed: 127.0.0.1:9 takes no connections: ")
    assert done.stderr.count("\n") == 1
    samples = read_samples(tmp_path / SAMPLES)
    assert samples.done
    assert samples.done["failure"] in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_ends_with_whole_samples(fake: Fake, tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(command(both(fake(), fake()), tmp_path, seconds=60), cwd=ROOT) as child:
        wait_for_rows(tmp_path / SAMPLES)
        child.send_signal(number)
        assert child.wait(timeout=30) == 0
    samples = read_samples(tmp_path / SAMPLES)
    assert samples.done
    assert samples.torn_bytes == 0
    assert len(samples) == samples.done["arrivals"]


def test_killed_it_leaves_all_but_the_last_second(fake: Fake, tmp_path: Path) -> None:
    with subprocess.Popen(command(both(fake(), fake()), tmp_path, seconds=60), cwd=ROOT) as child:
        wait_for_rows(tmp_path / SAMPLES)
        time.sleep(1.5)
        child.kill()
    samples = read_samples(tmp_path / SAMPLES)
    assert samples.done is None
    assert len(samples) > RATE / 2


def wait_for_rows(path: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if len(read_samples(path)) > RATE / 4:
                return
        except SamplesError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_journeys_come_as_often_as_their_weights_say() -> None:
    from itertools import islice

    from loadtests.side_by_side import _by_weight

    total = sum(journey.weight for journey in JOURNEYS)
    chosen = [journey.name for journey in islice(_by_weight(), 100 * total)]
    assert {journey.name: chosen.count(journey.name) for journey in JOURNEYS} == {
        journey.name: 100 * journey.weight for journey in JOURNEYS
    }

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from loadtests.journeys import KINDS
from loadtests.profiles import PROFILES
from loadtests.recorder import Samples, SamplesError, read_samples
from loadtests.run import RunError, _progress, main, run

RATE = 70
TWENTY = RATE * 2 // 7
"""Of each kind of journey a second, but newcomers: half as many."""
SHORT = dataclasses.replace(
    PROFILES["quick"],
    journeys_per_second=RATE,
    warm_up_seconds=0.5,
    measure_seconds=3.0,
    minimum_samples=25,
    lag_limit_ms=2000,  # the machine of the tests may be busy
)


@pytest.fixture
def run_short(credentials: Path, tmp_path: Path) -> Any:
    def call(host: str, **changes: Any) -> Any:
        profile = dataclasses.replace(SHORT, **changes)
        return run(host=host, profile=profile, credentials=credentials, record=tmp_path / "record")

    return call


def test_a_good_run_leaves_samples_and_baseline(
    fake: Callable[..., str], run_short: Callable[..., str], tmp_path: Path, credentials: Path
) -> None:
    conditions = tmp_path / "conditions.json"
    conditions.write_text('{"release": "0.1.0-abc", "workers": 2}')
    said = run(host=fake(), profile=SHORT, credentials=credentials, record=tmp_path / "r", conditions=conditions)
    assert said.startswith("load passed: ")
    baseline = json.loads((tmp_path / "r" / "baseline.json").read_text())
    assert baseline["outcome"] == "passed"
    assert set(baseline["kinds"]) == set(KINDS)
    assert baseline["all"]["errors"] == 0
    assert baseline["conditions"]["workers"] == 2
    assert baseline["conditions"]["profile"]["journeys_per_second"] == RATE
    samples = read_samples(tmp_path / "r" / "samples.bin")
    assert samples.done
    assert samples.done["unfinished_journeys"] == 0
    assert samples.columns["start_us"].min() < 0
    measured = samples.measured()
    for first in ("list_tasks", "search_tasks", "list_categories"):
        assert len(measured.of_kind(first)) == 3 * TWENTY
    assert len(measured.of_kind("register")) == 3 * TWENTY / 2
    lags = measured.columns["lag_us"]
    assert (lags > 0).sum() == 3 * RATE
    assert 0.0 < samples.done["generator_cpu_share"] < 1.0


def test_a_stall_of_the_service_shows_in_full_and_keeps_nobody_away(
    fake: Callable[..., str], run_short: Callable[..., str], tmp_path: Path
) -> None:
    """Coordinated omission: a closed loop would have sent one request a user into the stall, and no more."""
    stall_us = 1_500_000
    run_short(fake(stall_after=1.5, stall_seconds=1.5), measure_seconds=4.0)
    measured = read_samples(tmp_path / "record" / "samples.bin").measured()
    firsts = measured.where(measured.columns["lag_us"] > 0)
    starts, latencies = firsts.columns["start_us"], firsts.columns["latency_us"].astype(int)
    assert len(firsts) == 4 * RATE
    by_second = np.histogram(starts, bins=4, range=(0, 4e6))[0]
    assert by_second.min() >= RATE * 0.95
    # Those that were due at the stall's beginning waited for all of it, the later ones for what was left.
    waited = latencies > 200_000
    ends = (starts + latencies)[waited]
    assert stall_us * 0.85 <= latencies.max() <= stall_us * 2
    assert waited.sum() >= RATE * 1.5 * 0.75
    # A busy machine takes a while for all that waited; had each waited for as long as the first, it were 1.2 s.
    assert np.percentile(ends, 90) - np.percentile(ends, 10) < 1_000_000


def test_a_slow_service_meets_as_many_arrivals(
    fake: Callable[..., str], run_short: Callable[..., str], tmp_path: Path
) -> None:
    run_short(fake(delay=0.3), minimum_samples=10, measure_seconds=2.0)
    measured = read_samples(tmp_path / "record" / "samples.bin").measured()
    assert (measured.columns["lag_us"] > 0).sum() == 2 * RATE
    assert measured.columns["latency_us"].min() >= 295_000


def test_a_service_that_dies_fails_the_run_at_once(
    fake: Callable[..., str], run_short: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtests.run.DEAD_AFTER_SECONDS", 2.0)
    began = time.monotonic()
    with pytest.raises(RunError, match=r"the service stopped answering .* got no answer \(ConnectionRefusedError\)"):
        run_short(fake(die_after=1.0), measure_seconds=40.0)
    assert time.monotonic() - began < 20
    baseline = json.loads((tmp_path / "record" / "baseline.json").read_text())
    assert baseline["outcome"] == "failed"
    assert "stopped answering" in baseline["failures"][0]


def test_a_service_that_fails_requests_fails_the_run(fake: Callable[..., str], run_short: Callable[..., str]) -> None:
    with pytest.raises(RunError, match=r"me: [0-9]+ x status 500"):
        run_short(fake(fail="GET /me"), measure_seconds=2.0)


def test_a_run_may_last_longer_than_a_token(
    fake: Callable[..., str], run_short: Callable[..., str], tmp_path: Path
) -> None:
    assert "0 errors" in run_short(fake(expires_in=3.0), measure_seconds=5.0)


def test_no_service_no_run(run_short: Callable[..., str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RunError, match="the run did not begin: no login: ConnectionRefusedError"):
        run_short(f"http://127.0.0.1:{port}")
    assert json.loads((tmp_path / "record" / "baseline.json").read_text())["outcome"] == "failed"


def test_a_generator_that_was_held_up_voids_the_run(
    fake: Callable[..., str], credentials: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "loadtests.run", "--host", fake(), "--credentials", str(credentials)]
    with running([*command, "--record", str(tmp_path), "--duration", "3"], tmp_path) as (child, locust):
        time.sleep(2)
        locust.suspend()
        time.sleep(0.7)
        locust.resume()
        _, error = child.communicate(timeout=40)
    assert child.returncode == 1
    assert "void: the load generator lagged behind its clock" in error


@contextmanager
def running(command: list[str], record: Path) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A run in a process of its own and the Locust below it, once requests come in."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        try:
            began = time.monotonic()
            while not recorded(record / "samples.bin"):
                assert child.poll() is None
                assert time.monotonic() - began < 30
                time.sleep(0.05)
            (locust,) = psutil.Process(child.pid).children()
            yield child, locust
        finally:
            child.kill()


def recorded(samples: Path) -> int:
    try:
        return len(read_samples(samples))
    except SamplesError:
        return 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ending_the_run_ends_the_generator(
    fake: Callable[..., str], credentials: Path, tmp_path: Path, number: int
) -> None:
    command = [sys.executable, "-m", "loadtests.run", "--host", fake(), "--credentials", str(credentials)]
    with running([*command, "--record", str(tmp_path)], tmp_path) as (child, locust):
        child.send_signal(number)
        _, error = child.communicate(timeout=30)
    psutil.wait_procs([locust], timeout=20)
    assert not locust.is_running() or locust.status() == psutil.STATUS_ZOMBIE
    if number == signal.SIGKILL:
        assert child.returncode == -signal.SIGKILL
    else:
        assert child.returncode == 130
        assert error == "load interrupted\n"
        assert not (tmp_path / "baseline.json").exists()


def test_main_prints_the_result(
    fake: Callable[..., str],
    credentials: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(PROFILES, "quick", SHORT)
    options = ["--host", f"{fake()}/", "--credentials", str(credentials), "--record", str(tmp_path / "r")]
    before = signal.getsignal(signal.SIGTERM)
    assert main([*options, "--rate", "30", "--duration", "1"]) == 0
    assert capsys.readouterr().out.endswith(" ms\n")
    assert signal.getsignal(signal.SIGTERM) == before


def test_main_names_the_cause_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--host", "http://127.0.0.1:1", "--credentials", str(tmp_path / "none"), "--record", str(tmp_path)]
    assert main(options) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_generator_that_does_not_begin_is_named(
    credentials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtests.run.LOCUSTFILE", tmp_path / "none.py")
    with pytest.raises(RunError, match=r"before it began: see locust\.log"):
        run(host="http://127.0.0.1:1", profile=SHORT, credentials=credentials, record=tmp_path / "r")


def test_a_generator_that_does_not_end_is_ended(
    credentials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = tmp_path / "hanging.py"
    hanging.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr("loadtests.run.LOCUSTFILE", hanging)
    monkeypatch.setattr("loadtests.run.PREPARATION_SECONDS", -20.0)
    began = time.monotonic()
    with pytest.raises(RunError, match="before it began"):
        run(host="http://127.0.0.1:1", profile=SHORT, credentials=credentials, record=tmp_path / "r")
    assert time.monotonic() - began < 40


def test_options_in_the_environment_do_not_reach_the_generator(
    fake: Callable[..., str], run_short: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "LOCUST_USERS", "1")
    monkeypatch.setitem(os.environ, "LOCUST_SKIP_LOG_SETUP", "true")
    run_short(fake(), measure_seconds=1.0, minimum_samples=1)


def test_progress_counts(make_samples: Callable[..., Samples]) -> None:
    assert _progress(make_samples({}), SHORT) == "load: logging in"
    text = _progress(make_samples({"me": [2_000] * 10}, errors={"me": 1}), SHORT)
    assert text.endswith("10 requests, p95 2 ms, 1 errors")

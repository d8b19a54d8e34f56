"""Runs a load profile against a service and leaves its samples and baseline: `python -m loadtests.run`.

Locust runs in a process of its own, without a terminal: it cannot disturb ours, it ends when we do, and its recording
is all that we need of it. Progress is read from that recording.
"""

import argparse
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from loadtests.baseline import failures, make_baseline, write_baseline
from loadtests.conditions import ConditionsError, observed_conditions, read_conditions
from loadtests.credentials import CredentialsError, read_credentials
from loadtests.journeys import KINDS
from loadtests.profiles import PROFILES, Profile
from loadtests.progress import Progress
from loadtests.recorder import Samples, SamplesError, read_samples
from loadtests.stats import quantile

__all__ = ["RunError", "main", "run"]

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
PREPARATION_SECONDS = 30.0  # for Locust's start and the logins
DRAIN_SECONDS = 15.0  # for the last journeys to end
DEAD_AFTER_SECONDS = 4.0  # without one answered request
DEAD_AFTER_REQUESTS = 30
INTERRUPTED = 130


class RunError(Exception):
    """The run failed; the message is the reason in one line."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived."""


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise Interrupted


@contextlib.contextmanager
def _locust(host: str, profile: Profile, credentials: Path, record: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"]
    command += ["--follow", str(os.getpid())]
    command += ["--exit-code-on-error", "0", "--host", host, "--credentials", str(credentials), "--record", str(record)]
    command += ["--users", str(profile.journeys_per_second), "--spawn-rate", str(profile.journeys_per_second)]
    command += ["--warm-up-seconds", str(profile.warm_up_seconds), "--measure-seconds", str(profile.measure_seconds)]
    # Options in variables or in files of the current folder would make another run of it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    with (record / "locust.log").open("wb") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end it
        )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=1.5)
        if child.poll() is None:
            child.kill()
            child.wait()


def _watch(child: subprocess.Popen[bytes], profile: Profile, samples_file: Path) -> str:
    """Wait for the child's end and show how far it is; returns why it had to be ended, or "" when it ended itself."""
    progress = Progress()
    total_seconds = profile.warm_up_seconds + profile.measure_seconds
    give_up_at = time.monotonic() + PREPARATION_SECONDS + total_seconds + DRAIN_SECONDS
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=1.0)
                return ""
            with contextlib.suppress(SamplesError):  # it may not have begun yet
                samples = read_samples(samples_file)
                if reason := _dead(samples):
                    return reason
                progress.update(_progress(samples, profile))
            if time.monotonic() > give_up_at:
                return "the load generator did not end in time"
    finally:
        progress.finish()


def _progress(samples: Samples, profile: Profile) -> str:
    if not len(samples):
        return "load: logging in"
    elapsed_seconds = float(samples.columns["start_us"].max()) / 1e6 + profile.warm_up_seconds
    total_seconds = profile.warm_up_seconds + profile.measure_seconds
    succeeded = samples.succeeded().columns["latency_us"]
    p95 = f", p95 {quantile(succeeded, 0.95) / 1e3:.0f} ms" if len(succeeded) else ""
    return (
        f"load: {max(elapsed_seconds, 0.0):.0f} of {total_seconds:.0f} s, {len(samples):,} requests{p95}, "
        f"{len(samples) - len(succeeded):,} errors"
    )


def _dead(samples: Samples) -> str:
    """Says so when the last seconds brought nothing but requests without answer."""
    if not len(samples):
        return ""
    ended_us = samples.columns["start_us"] + samples.columns["latency_us"]
    latest_us = int(ended_us.max())
    answered_us = ended_us[samples.columns["status"] > 0]
    last_us = int(answered_us.max()) if len(answered_us) else int(samples.columns["start_us"].min())
    since = samples.where(ended_us > last_us)
    if latest_us - last_us < DEAD_AFTER_SECONDS * 1e6 or len(since) < DEAD_AFTER_REQUESTS:
        return ""
    error = samples.errors[int(np.bincount(since.columns["error"]).argmax())]
    return (
        f"the service stopped answering {last_us / 1e6:.1f} s into the measurement: {len(since):,} requests since then "
        f"got no answer ({error})"
    )


def run(*, host: str, profile: Profile, credentials: Path, record: Path, conditions: Path | None = None) -> str:
    """Measure, and leave `samples.bin`, `baseline.json` and `locust.log` in `record`.

    Args:
        host: URL of the service, without path.
        profile: which load.
        credentials: file of the dataset's loader.
        record: folder to write into; made when missing.
        conditions: JSON file with what is known of the deploy (release, workers, target, ...).

    Returns:
        One line that sums up.

    Raises:
        RunError: nothing was measured, or what was measured must not count.
        CredentialsError, ConditionsError, SamplesError, OSError: a file is missing or unusable.
    """
    known = observed_conditions(read_credentials(credentials))
    known |= read_conditions(conditions) if conditions else {}
    record.mkdir(parents=True, exist_ok=True)
    samples_file = record / "samples.bin"
    for leftover in (samples_file, record / "baseline.json"):
        leftover.unlink(missing_ok=True)
    with _locust(host, profile, credentials, record) as child:
        ended_for = _watch(child, profile, samples_file)
    if not samples_file.exists():
        raise RunError(f"the load generator ended with exit code {child.returncode} before it began: see locust.log")
    samples = read_samples(samples_file)
    reasons = [ended_for] if ended_for else failures(samples, profile, KINDS)
    if not reasons and child.returncode:
        reasons = [f"the load generator ended with exit code {child.returncode}: see locust.log"]
    baseline = make_baseline(samples, profile=profile, reasons=reasons, conditions=known)
    write_baseline(record / "baseline.json", baseline)
    if reasons:
        raise RunError("; ".join(reasons))
    overall = baseline["all"]
    return (
        f"load passed: {overall['count']:,} requests at {baseline['requests_per_second']:,.0f}/s, {overall['errors']} "
        f"errors, p50 {overall['p50_ms']:.1f} ms, p95 {overall['p95_ms']:.1f} ms, p99 {overall['p99_ms']:.1f} ms"
    )


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.run", description=__doc__)
    parser.add_argument("--host", required=True, help="URL of the service, without path")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="quick")
    parser.add_argument("--credentials", required=True, type=Path, help="file of python -m loadtests.dataset")
    parser.add_argument("--record", required=True, type=Path, help="folder to leave samples and baseline in")
    parser.add_argument("--conditions", type=Path, help="JSON file: release, workers, target, ...")
    parser.add_argument("--rate", type=int, help="journeys a second, instead of the profile's")
    parser.add_argument("--duration", type=float, help="seconds of measurement, instead of the profile's")
    return parser.parse_args(arguments)


def _profile(options: argparse.Namespace) -> Profile:
    """The profile, with as many samples asked for as the changed rate and duration can bring."""
    profile = PROFILES[options.profile]
    rate = options.rate or profile.journeys_per_second
    seconds = options.duration or profile.measure_seconds
    share = rate * seconds / (profile.journeys_per_second * profile.measure_seconds)
    return dataclasses.replace(
        profile,
        journeys_per_second=rate,
        measure_seconds=seconds,
        minimum_samples=max(1, int(profile.minimum_samples * min(share, 1.0))),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code (0 passed, 1 failed with the reason on standard error, 130 interrupted)."""
    options = _arguments(arguments)
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        said = run(
            host=options.host.rstrip("/"),
            profile=_profile(options),
            credentials=options.credentials,
            record=options.record,
            conditions=options.conditions,
        )
    except (RunError, CredentialsError, ConditionsError, SamplesError, OSError) as error:
        sys.stderr.write(f"load failed: {error}\n")
        return 1
    except Interrupted:
        sys.stderr.write("load interrupted\n")
        return INTERRUPTED
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    sys.stdout.write(f"{said}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

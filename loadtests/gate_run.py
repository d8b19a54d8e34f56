"""Measures two releases side by side until the gate's verdict is clear, and leaves samples and verdict.

The measuring runs in a process of its own (`loadtests.side_by_side`); this one looks at its samples at the moments that
the plan names, and ends it as soon as more measuring could not change the verdict.
"""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from loadtests.comparisons import INCONCLUSIVE, Comparison
from loadtests.files import write_atomically
from loadtests.gate import Plan, Verdict, judge
from loadtests.progress import Progress
from loadtests.recorder import SamplesError, read_samples
from loadtests.side_by_side import SAMPLES, TIMEOUT_SECONDS, Service

__all__ = ["SCHEMA_VERSION", "VERDICT_FILE", "as_verdict_file", "judge_file", "run_gate", "write_verdict"]

SCHEMA_VERSION: Final = 1
VERDICT_FILE: Final = "verdict.json"
PREPARATION_SECONDS: Final = 120.0
FLUSHED_SECONDS: Final = 1.0
"""A sample reaches the file so long after its request at most."""


def run_gate(
    services: Sequence[Service],
    plan: Plan,
    record: Path,
    *,
    rate: float,
    credentials: Path | None = None,
    authority: Path | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Measure and judge.

    Args:
        services: running copies of both releases, at least one of either.
        plan: how the verdict is reached.
        record: folder for the samples; made when missing.
        rate: requests a second, over all copies.
        credentials: of the dataset; None: accounts are made for the measurement.
        authority: PEM file of whom to trust besides the system's authorities.
        seed: of the measurement's choices; None for one of its own.
        progress: is told how far it is; on standard error if left out.
    """
    record.mkdir(parents=True, exist_ok=True)
    samples = record / SAMPLES
    samples.unlink(missing_ok=True)
    progress = progress or Progress(sys.stderr)
    command = _command(services, plan, record, rate=rate, credentials=credentials, authority=authority, seed=seed)
    # Ctrl-C reaches us alone, and we end it; why it could not measure stands in its recording.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        verdict = _watch(child, samples, plan, progress.update)
    finally:
        _end(child)
        progress.finish()
    return verdict


def _command(
    services: Sequence[Service],
    plan: Plan,
    record: Path,
    *,
    rate: float,
    credentials: Path | None,
    authority: Path | None,
    seed: int | None,
) -> list[str]:
    return [
        *(sys.executable, "-m", "loadtests.side_by_side", "--record", str(record)),
        *(word for service in services for word in ("--service", json.dumps(asdict(service)))),
        *("--rate", f"{rate:g}", "--seconds", f"{plan.limit_seconds:g}"),
        *("--seed", str(time.time_ns() % 2**31 if seed is None else seed)),
        *(("--credentials", str(credentials)) if credentials else ()),
        *(("--ca-file", str(authority)) if authority else ()),
    ]


def _watch(child: subprocess.Popen[bytes], samples: Path, plan: Plan, say: Callable[[str], None]) -> Verdict:
    """Look at each moment of the plan, until it is clear or the child ends."""
    verdict = Verdict(INCONCLUSIVE, ("the plan has no look",))
    for look, moment in enumerate(plan.looks):
        goes_on = _wait_for(child, samples, moment + FLUSHED_SECONDS, plan, say)
        verdict = judge_file(samples, plan, look if goes_on else _last_look(samples, plan))
        if verdict.clear or not goes_on:
            break
    return verdict


def _last_look(samples: Path, plan: Plan) -> int:
    """The last look that a measurement which has ended reached."""
    with suppress(SamplesError):
        measured = read_samples(samples).measured().columns["start_us"]
        reached = float(measured.max()) / 1e6 if len(measured) else 0.0
        return max((look for look, moment in enumerate(plan.looks) if moment <= reached + FLUSHED_SECONDS), default=0)
    return 0


def judge_file(samples: Path, plan: Plan, look: int) -> Verdict:
    """What the samples in a file say at a look; inconclusive where there are none."""
    try:
        return judge(read_samples(samples), plan, look)
    except SamplesError as error:
        return Verdict(INCONCLUSIVE, (str(error),))


def _wait_for(
    child: subprocess.Popen[bytes], samples: Path, moment: float, plan: Plan, say: Callable[[str], None]
) -> bool:
    """Wait until the measurement is so many seconds old; whether it goes on (its last look comes after its end)."""
    give_up_at = time.monotonic() + PREPARATION_SECONDS + moment
    while time.monotonic() < give_up_at:
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=1.0)
            return False
        with suppress(SamplesError):
            usage = read_samples(samples).usage
            if usage:
                seconds = usage[-1]["at_us"] / 1e6
                say(f"gate: {max(0.0, seconds):.0f} s of {plan.limit_seconds:.0f} s at most")
                if seconds >= moment:
                    return True
    return False


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=TIMEOUT_SECONDS + 5)
    if child.poll() is None:
        child.kill()
        child.wait()


def as_verdict_file(verdict: Verdict, conditions: dict[str, Any]) -> dict[str, Any]:
    """The content of verdict.json, schema version 1.

    schema_version, judged_at, verdict, reasons, seconds, requests, noise {measure: log ratio}, conditions, and
    comparisons [{kind, measure, before, after, unit, change, low, high, allowed, detectable, verdict, needed_seconds}],
    whose change, low, high, allowed and detectable are ratios less 1 (of errors: differences of shares), null where the
    samples set no bound.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "judged_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "verdict": verdict.verdict,
        "reasons": list(verdict.reasons),
        "seconds": verdict.seconds,
        "requests": verdict.requests,
        "noise": dict(verdict.noise),
        "conditions": conditions,
        "comparisons": [_as_row(one) for one in verdict.comparisons],
    }


def _as_row(one: Comparison) -> dict[str, Any]:
    def told(value: float) -> float | None:
        if math.isinf(value):
            return None
        return round(value if one.unit == "share" else math.expm1(value), 5)

    return {
        "kind": one.kind,
        "measure": one.measure,
        "before": round(one.before, 6),
        "after": round(one.after, 6),
        "unit": one.unit,
        "change": told(one.change.estimate),
        "low": told(one.change.low),
        "high": told(one.change.high),
        "allowed": told(one.allowed),
        "detectable": told(one.detectable),
        "verdict": one.verdict,
        "needed_seconds": None if math.isinf(one.needed_seconds) else round(one.needed_seconds),
    }


def write_verdict(record: Path, content: dict[str, Any]) -> None:
    """Leave verdict.json in the record, whole or not at all."""
    write_atomically(record / VERDICT_FILE, (json.dumps(content, indent=1) + "\n").encode())

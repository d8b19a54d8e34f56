"""`slipway drills`: break each part of a throw-away environment on purpose, and tell what a steady reader saw."""

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from infra.embedded.layout import Layout, write_atomically
from loadtests.closed_loop import ClosedLoopError
from loadtests.conditions import machine
from loadtests.dataset import DatasetError
from loadtests.drill_chart import Seen, draw
from loadtests.phases import phases, recovery_seconds
from ops.drills.faults import Extent
from ops.drills.ground import Ground, throw_away
from ops.drills.promises import DRILLS, Drill
from ops.drills.watch import watching
from ops.errors import CheckFailedError, UsageError
from ops.steps import Steps

RATE = 50
"""Requests of the reader a second."""
BEFORE_SECONDS = 2.0
AFTER_SECONDS = 4.0


def drills(project: Layout, names: Sequence[str], extent: Extent, steps: Steps) -> tuple[dict[str, Any], list[str]]:
    """Run the drills, all of them where none is named; write `.slipway/drills.json` and `.slipway/drills.png`.

    Returns:
        The content of that file: `measured_at`, `machine`, `rate`, and for each of `drills` its `phases` and
        `recovery_seconds` (as in loadtests/phases.py), `fault_seconds`, what the fault `told`, and `broken` promises;
        and the lines of a table.

    Raises:
        UsageError: there is no such drill.
        CheckFailedError: a drill could not be carried out.
    """
    if unknown := [name for name in names if name not in DRILLS]:
        raise UsageError(f"there is no drill {unknown[0]!r}: choose from {', '.join(DRILLS)}")
    found: dict[str, dict[str, Any]] = {}
    seen: list[Seen] = []
    try:
        with contextlib.ExitStack() as stack:
            with steps.step("ground") as step:
                ground = stack.enter_context(throw_away(project))
                step.say(f"a throw-away environment on {ground.plan.address}")
            for name in names or DRILLS:
                with steps.step(name) as step:
                    found[name], one = _carry_out(ground, name, DRILLS[name], extent)
                    step.say("; ".join(found[name]["broken"]) or "as promised")
                seen.append(one)
    except (ClosedLoopError, DatasetError) as error:
        raise CheckFailedError(str(error)) from error
    result = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "rate": RATE,
        "drills": found,
    }
    picture = project.state / "drills.png"
    write_atomically(project.state / "drills.json", json.dumps(result, indent=2) + "\n")
    draw(picture, seen)
    return result, [*_table(found), "", f"drawn in {picture}"]


def broken(result: dict[str, Any]) -> list[str]:
    """The drills in which a promise was broken."""
    return [name for name, one in result["drills"].items() if one["broken"]]


def _carry_out(ground: Ground, name: str, drill: Drill, extent: Extent) -> tuple[dict[str, Any], Seen]:
    with watching(ground, RATE) as watch:
        time.sleep(BEFORE_SECONDS)
        began_us = watch.now_us()
        told = drill.fault(ground, extent)
        ended_us = watch.now_us()
        time.sleep(AFTER_SECONDS)
        samples = watch.end()
    in_phases, recovery = phases(samples, began_us, ended_us), recovery_seconds(samples, ended_us)
    result = {
        "phases": in_phases,
        "recovery_seconds": recovery,
        "fault_seconds": round((ended_us - began_us) / 1e6, 2),
        "told": dict(told),
        "broken": drill.promise.broken(in_phases, recovery, told),
    }
    return result, Seen(name, samples, began_us, ended_us)


def _table(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield f"{'':<18}{'':<8}{'requests':>9}{'p50':>9}{'p95':>9}{'p99':>9}{'max ms':>9}  errors"
    for name, one in found.items():
        for phase, summary in one["phases"].items():
            times = "".join(_milliseconds(summary[quantile]) for quantile in ("p50_ms", "p95_ms", "p99_ms", "max_ms"))
            errors = ", ".join(f"{times} x {what}" for what, times in summary["errors"].items()) or "none"
            yield f"{name if phase == 'before' else '':<18}{phase:<8}{summary['requests']:>9,}{times}  {errors}"
        told = "".join(f"; {what}: {times:,g}" for what, times in one["told"].items())
        verdict = f"BROKEN: {'; '.join(one['broken'])}" if one["broken"] else "as promised"
        yield f"{'':<18}{one['fault_seconds']:g} s; well again {one['recovery_seconds']:g} s after{told}; {verdict}"


def _milliseconds(value: float | None) -> str:
    return f"{'':>9}" if value is None else f"{value:>9,.1f}"

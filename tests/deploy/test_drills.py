"""`slipway drills`, from outside: a quick one, an interrupted one, and what is left of each: nothing but results."""

import json
import os
import signal
import subprocess
from typing import Any

import psutil
import pytest

from tests.deploy.conftest import SLIPWAY, Operator, wait_for


def start(operator: Operator, *words: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        (str(SLIPWAY), "drills", "--project", str(operator.project), *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    operator.children.append(child)
    return child


def left(operator: Operator) -> list[str]:
    """What the drills' folder holds, but for the lock."""
    return [path.name for path in (operator.layout.state / "drills").iterdir() if path.name != "lock"]


def is_stopped(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def test_a_drill_tells_what_a_reader_saw_and_leaves_nothing_running(operator: Operator) -> None:
    child = start(operator, "database-paused", "--seconds", "1")
    output, _ = child.communicate(timeout=150)
    result: dict[str, Any] = json.loads((operator.layout.state / "drills.json").read_text())
    [paused] = result["drills"].values()
    assert paused["phases"]["before"]["errors"] == {}
    assert paused["phases"]["during"]["requests"] >= 45
    assert paused["phases"]["during"]["p95_ms"] > 500, "the pause was felt"
    assert 1 <= paused["fault_seconds"] < 2
    assert paused["phases"]["after"]["requests"] >= 100
    assert child.returncode == (1 if paused["broken"] else 0), output
    assert "database-paused" in output
    assert (operator.layout.state / "drills.png").read_bytes().startswith(b"\x89PNG")
    assert operator.processes() == []
    assert left(operator) == []


def test_ctrl_c_in_the_middle_of_a_drill_leaves_nothing(operator: Operator) -> None:
    child = start(operator, "database-paused", "--seconds", "50")
    wait_for(lambda: any(is_stopped(process) for process in operator.processes()))
    refused, _ = start(operator).communicate(timeout=60)
    assert f"`slipway drills` (pid {child.pid}" in refused
    os.killpg(child.pid, signal.SIGINT)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 130, output
    assert "Traceback" not in output
    assert operator.processes() == []
    assert left(operator) == []


@pytest.mark.parametrize("words", [("no-such-drill",), ("--seconds", "0")])
def test_wrong_words_are_refused_before_anything_starts(operator: Operator, words: tuple[str, ...]) -> None:
    child = start(operator, *words)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 2
    assert output.count("\n") == 1
    assert not operator.layout.state.exists()

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops.pulumi_engine import locks
from ops.pulumi_engine.locks import Holder

HERE = socket.gethostname()
MESSAGE = """error: the stack is currently locked by 2 lock(s). Either wait for the other process(es) to end or delete
  file:///s/1.json?no_tmp_dir=true: created by anna@desk (pid 24042) at 2026-11-21T08:31:40Z
  file:///s/2.json?no_tmp_dir=true: created by bo@lap.example (pid 7) at 2026-11-21T08:32:00+01:00
"""


def now(ago: timedelta = timedelta()) -> str:
    return (datetime.now(UTC) - ago).isoformat(timespec="seconds").replace("+00:00", "Z")


def test_the_holders_are_read_from_a_refusal() -> None:
    found = locks.holders_named(MESSAGE)
    assert [str(holder) for holder in found] == [
        "anna@desk (pid 24042, since 2026-11-21T08:31:40Z)",
        "bo@lap.example (pid 7, since 2026-11-21T08:32:00+01:00)",
    ]
    assert str(locks.refusal("dev", found)) == (
        f"dev is being changed by {found[0]} and {found[1]}: wait for it to end; if it died, slipway unlock dev"
    )
    assert "another operator" in str(locks.refusal("dev", locks.holders_named("[409] Conflict: Another update")))


def test_the_holders_are_read_from_a_file_backend(tmp_path: Path) -> None:
    folder = tmp_path / "locks" / "organization" / "slipway" / "dev"
    folder.mkdir(parents=True)
    assert locks.holders(tmp_path, "slipway", "dev") == []
    content = {"pid": 9, "username": "anna", "hostname": "desk", "timestamp": "2026-11-21T08:31:40.130128528Z"}
    (folder / "a.json").write_text(json.dumps(content))
    (folder / "a.json.attrs").write_text("{}")
    (folder / "b.json").write_text("{")
    assert locks.holders(tmp_path, "slipway", "dev") == [Holder("anna", "desk", 9, "2026-11-21T08:31:40Z")]
    assert locks.holders(tmp_path, "slipway", "staging") == []


def test_a_holder_lives_dies_or_is_out_of_sight() -> None:
    assert Holder("a", HERE, os.getpid(), now()).lives is True
    assert Holder("a", "elsewhere.invalid", os.getpid(), now()).lives is None
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert Holder("a", HERE, child.pid, now()).lives is False


def test_a_younger_process_with_the_holders_number_is_not_the_holder() -> None:
    assert Holder("a", HERE, os.getpid(), now(timedelta(days=400))).lives is False


@pytest.mark.parametrize("found", ["", "dead", "dead dead", "dead alive", "away", "dead away"])
def test_a_lock_is_stale_when_all_its_holders_died_here(found: str) -> None:
    kinds = {
        "dead": Holder("a", HERE, os.getpid(), now(timedelta(days=400))),
        "alive": Holder("a", HERE, os.getpid(), now()),
        "away": Holder("a", "elsewhere.invalid", 1, now()),
    }
    assert locks.is_stale([kinds[name] for name in found.split()]) is (set(found.split()) == {"dead"})

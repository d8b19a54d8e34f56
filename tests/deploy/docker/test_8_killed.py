"""Proof 8: a process of each part is killed with SIGKILL under load; how long users notice, and what they see."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.deploy.docker.figures import keep
from tests.deploy.docker.ground import Environment, wait_for
from tests.deploy.docker.load import SETTLING_SECONDS, Load

BACK_SECONDS = 120


@pytest.mark.parametrize("part", ["api", "cache", "edge", "database"])
def test_a_killed_part_comes_back(part: str, environment: Environment, tmp_path: Path) -> None:
    victim = environment.containers(part)[0]
    process = int(environment.client.containers.get(victim.id).attrs["State"]["Pid"])
    with Load(environment, tmp_path, after_seconds=2 * SETTLING_SECONDS) as load:
        killed_at = time.monotonic()
        os.kill(process, signal.SIGKILL)
        wait_for(lambda: victim.id not in {one.id for one in environment.containers(part)}, 30)
        wait_for(lambda: environment.is_complete(part), BACK_SECONDS)
        whole_seconds = time.monotonic() - killed_at
    figures = {"whole_again_seconds": round(whole_seconds, 1), **load.since(killed_at)}
    keep(f"8 {part} killed", figures)
    assert figures["recovered_seconds"] <= whole_seconds + SETTLING_SECONDS, figures
    unchanged = environment.up("--no-probe")
    assert unchanged.changed == {}, unchanged.said.text

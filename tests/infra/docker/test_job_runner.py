import threading
import time
from typing import Any

import docker
import pytest

from infra.docker import engine as docker_engine
from infra.docker import job_runner
from infra.docker.engine import EngineError
from infra.docker.job import JobProvider
from tests.infra.docker.conftest import STANDIN


def props(name: str, script: str, **changes: Any) -> dict[str, Any]:
    """As Pulumi hands them to the plugin: all numbers are floats, and what is None is left out."""
    spec = {
        "image": STANDIN,
        "command": ["sh", "-c", script],
        "uid": 10001.0,
        "networks": [],
        "cpus": 0.5,
        "memory_mib": 64.0,
        "env": {"GREETING": "good day"},
        "files": [],
        "mounts": [{"path": "/tmp", "size_mib": 16.0}],
        "constraints": [],
    }
    return {"name": name, "seconds": 60.0, "labels": {}, "key": {}, "spec": spec} | changes


def test_a_job_runs_to_its_end_and_leaves_only_its_log(engine: docker.DockerClient, name: str) -> None:
    done = job_runner.run(
        props(name, "id -u; echo $GREETING; grep CapBnd /proc/self/status; touch /x 2>&1 || touch /tmp/x")
    )
    assert done["log"].splitlines()[:3] == ["  10001", "  good day", "  CapBnd:\t0000000000000000"]
    assert "Read-only file system" in done["log"]
    assert docker_engine.service(engine, name) is None
    assert engine.containers.list(all=True, filters={"name": name}) == []


def test_a_failed_job_says_its_exit_code_and_last_lines_and_is_gone(engine: docker.DockerClient, name: str) -> None:
    with pytest.raises(
        EngineError, match=rf"the job {name} failed: it ended with exit code 7; its last lines:\n  half way"
    ):
        job_runner.run(props(name, "echo half way; exit 7"))
    assert docker_engine.service(engine, name) is None


def test_an_image_that_is_not_there_fails_the_job(engine: docker.DockerClient, name: str) -> None:
    wrong = props(name, "true")
    wrong["spec"]["image"] = "slipway-standin/none:0"
    with pytest.raises(EngineError, match="No such image"):
        job_runner.run(wrong)


def test_a_job_that_takes_too_long_is_ended(engine: docker.DockerClient, name: str) -> None:
    with pytest.raises(EngineError, match=r"did not end within 8 s; its last lines:\n  begun"):
        job_runner.run(props(name, "echo begun; sleep 60", seconds=8.0))
    assert docker_engine.service(engine, name) is None


def test_one_that_a_killed_up_left_is_waited_for_and_another_one_removed(
    engine: docker.DockerClient, name: str
) -> None:
    left = props(name, "sleep 3; cat /proc/sys/kernel/random/uuid")
    job_runner._start(engine, left, job_runner._key(left))
    created = docker_engine.service(engine, name)["ID"]  # type: ignore[index]
    seen: list[str] = []
    watcher = threading.Thread(target=_watch, args=(engine, name, seen))
    watcher.start()
    job_runner.run(left)
    watcher.join()
    assert set(seen) == {created}
    job_runner._start(engine, left, "another")
    job_runner.run(props(name, "true"))
    assert docker_engine.service(engine, name) is None


def _watch(engine: docker.DockerClient, name: str, seen: list[str]) -> None:
    while there := docker_engine.service(engine, name):
        seen.append(there["ID"])
        time.sleep(0.2)


def test_only_what_a_job_is_made_of_makes_it_run_again() -> None:
    before = props("x", "true")
    diff = JobProvider().diff
    assert diff("x", before, before | {"host": "ssh://other", "seconds": 5.0}).changes is False
    assert diff("x", before, before | {"key": {"head": "0008"}}).changes is True
    assert diff("x", before, props("x", "false")).changes is True

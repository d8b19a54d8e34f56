from typing import Any

import docker
import pytest

from infra.docker import engine as docker_engine
from infra.docker import rollout_watch
from infra.docker.engine import EngineError
from infra.docker.names import SPEC_LABEL, TASK_VARIABLE
from infra.docker.rollout import RolloutProvider
from tests.infra.docker.conftest import STANDIN

SECOND = 10**9
SERVES = "trap 'exit 0' TERM; echo serving; while true; do sleep 0.2; done"


def asked(engine: docker.DockerClient, name: str, script: str, key: str, check: str = "true") -> dict[str, Any]:
    """Make or change a service of two replicas; what Pulumi would hand to the plugin then."""
    told: dict[str, Any] = {
        "task_template": {
            "ContainerSpec": {
                "Image": STANDIN,
                "Command": ["sh", "-c", script],
                "Env": [f"{TASK_VARIABLE}=task-{key}"],
                "Healthcheck": {
                    "Test": ["CMD", "sh", "-c", check],
                    "Interval": SECOND // 2,
                    "Timeout": SECOND,
                    "Retries": 2,
                    "StartPeriod": 0,
                },
                "StopGracePeriod": SECOND,
            },
            "RestartPolicy": {"Condition": "any", "Delay": SECOND // 2, "MaxAttempts": 5},
        },
        "name": name,
        "labels": {SPEC_LABEL: f"spec-{key}"},
        "mode": {"Replicated": {"Replicas": 2}},
        "update_config": {
            "Order": "start-first",
            "Parallelism": 1,
            "FailureAction": "rollback",
            "Monitor": 2 * SECOND,
            "MaxFailureRatio": 0,
        },
        "rollback_config": {"Order": "start-first", "Parallelism": 1, "FailureAction": "pause", "Monitor": SECOND},
        "endpoint_spec": {"Mode": "dnsrr"},
    }
    api = docker_engine.api_of(engine)
    there = docker_engine.service(engine, name)
    if there is None:
        api.create_service(**told)
    else:
        api.update_service(there["ID"], version=there["Version"]["Index"], **told)
    return {"service": name, "task": f"task-{key}", "spec": f"spec-{key}", "seconds": 40.0}


def test_a_service_that_stands_is_waited_for(engine: docker.DockerClient, name: str) -> None:
    told = asked(engine, name, SERVES, "1")
    assert rollout_watch.watch(told) == told
    assert rollout_watch.watch(asked(engine, name, SERVES + "; true", "2"))["spec"] == "spec-2"
    tasks = docker_engine.tasks(engine, name)
    running = [task for task in tasks if task["Status"]["State"] == "running" and task["DesiredState"] == "running"]
    assert [task["Spec"]["ContainerSpec"]["Env"] for task in running] == [[f"{TASK_VARIABLE}=task-2"]] * 2


def test_a_new_service_that_crashes_is_given_up_with_its_last_words(engine: docker.DockerClient, name: str) -> None:
    told = asked(engine, name, "echo no such table; exit 3", "1")
    with pytest.raises(EngineError) as caught:
        rollout_watch.watch(told)
    assert str(caught.value) == (
        f"{name} does not start: it ended with exit code 3; the failed container's last lines:\n  no such table"
    )


@pytest.mark.parametrize(
    ("script", "check", "why"),
    [
        ("echo boom; exit 3", "true", "it ended with exit code 3; {words}:\n  boom"),
        (
            SERVES,
            "echo 503 database; exit 1",
            "its health check failed (sh -c echo 503 database; exit 1): 503 database; {words}:\n  serving",
        ),
    ],
)
def test_a_bad_release_is_rolled_back_and_the_failed_check_named(
    engine: docker.DockerClient, name: str, script: str, check: str, why: str
) -> None:
    rollout_watch.watch(asked(engine, name, SERVES, "1"))
    told = asked(engine, name, script, "2", check)
    with pytest.raises(EngineError) as caught:
        rollout_watch.watch(told)
    assert str(caught.value) == f"{name} was rolled back and serves on as before: " + why.format(
        words="the failed container's last lines"
    )
    with pytest.raises(EngineError, match="was rolled back and serves on as before"):
        rollout_watch.watch(told)


def test_a_service_that_is_gone_or_slow_is_said_to_be(engine: docker.DockerClient, name: str) -> None:
    told = {"service": name, "task": "t", "spec": "s", "seconds": 1.0}
    with pytest.raises(EngineError, match=f"{name} is gone from the swarm"):
        rollout_watch.watch(told)
    told = asked(engine, name, SERVES, "1", check="sleep 0.9") | {"seconds": 1.0}
    with pytest.raises(EngineError, match=f"{name} does not stand after 1 s: its newest container is "):
        rollout_watch.watch(told)


def test_there_is_something_to_wait_for_when_the_service_changed() -> None:
    before = {"service": "x", "task": "1", "spec": "1", "seconds": 60.0}
    diff = RolloutProvider().diff
    assert diff("x", before, before | {"seconds": 90.0, "host": "ssh://other"}).changes is False
    assert diff("x", before, before | {"spec": "2"}).changes is True

"""Looks at a service until its rollout has ended, well or not. Works inside Pulumi's plugin, not in the program."""

import time
from collections.abc import Mapping
from typing import Any, Final

import docker

from infra.docker.engine import FAILED, POLL_SECONDS, EngineError, connect, last_lines, plainly, service, tasks, why
from infra.docker.names import SPEC_LABEL, TASK_VARIABLE

TRIES: Final = 3
"""Containers of a new service that may fail before it is given up: nothing is there to roll back to."""


def watch(props: Mapping[str, Any]) -> dict[str, Any]:
    """Wait until the service of these properties (`infra/docker/rollout.py`) runs as asked.

    Raises:
        EngineError: Swarm rolled it back or gave up, or it took too long; with the check that failed and the last lines
            of the container that failed it.
    """
    return plainly(lambda: _watch(props))


def _watch(props: Mapping[str, Any]) -> dict[str, Any]:
    client = connect(props.get("host"))
    try:
        name, deadline = str(props["service"]), time.monotonic() + float(props["seconds"])
        while time.monotonic() < deadline:
            if _stands(client, name, props):
                return dict(props)
            time.sleep(POLL_SECONDS)
        raise EngineError(f"{name} does not stand after {props['seconds']:g} s: {_diagnosis(client, name, props)}")
    finally:
        client.close()


def _stands(client: docker.DockerClient, name: str, props: Mapping[str, Any]) -> bool:
    """Whether it runs as asked; False while that may still become true.

    Raises:
        EngineError: it never will.
    """
    there = service(client, name)
    if there is None:
        raise EngineError(f"{name} is gone from the swarm: run up again, which looks at what is there first")
    state = (there.get("UpdateStatus") or {}).get("State", "")
    if state == "paused":
        raise EngineError(f"the update of {name} is paused: {_diagnosis(client, name, props)}")
    if there["Spec"]["Labels"].get(SPEC_LABEL) != props["spec"]:
        # A rollback has begun: what was before is the service's specification again.
        if state == "rollback_started":
            return False
        outcome = "and serves on as before" if state == "rollback_completed" else "and is not what was asked for"
        raise EngineError(f"{name} was rolled back {outcome}: {_diagnosis(client, name, props)}")
    ours = [task for task in tasks(client, name) if _made_from(task) == props["task"]]
    running = [t for t in ours if t["Status"]["State"] == "running" and t["DesiredState"] == "running"]
    if state in {"", "completed"} and len(running) == there["Spec"]["Mode"]["Replicated"]["Replicas"]:
        return True
    if not state and len([task for task in ours if task["Status"]["State"] in FAILED]) >= TRIES:
        raise EngineError(f"{name} does not start: {_diagnosis(client, name, props)}")
    return False


def _made_from(task: Mapping[str, Any]) -> str | None:
    """The digest of what a task's container was made from."""
    env: list[str] = task["Spec"]["ContainerSpec"].get("Env") or []
    return dict(line.partition("=")[::2] for line in env).get(TASK_VARIABLE)


def _diagnosis(client: docker.DockerClient, name: str, props: Mapping[str, Any]) -> str:
    """What became of the containers that were asked for: how the last one failed, and what it last wrote."""
    ours = [task for task in tasks(client, name) if _made_from(task) == props["task"]]
    ended = [task for task in ours if task["Status"]["State"] in {*FAILED, "complete"}]
    if ended:
        return f"{why(client, ended[0])}; the failed container's last lines:\n{last_lines(client, ended[0])}"
    waiting = next(iter(ours), None)
    if waiting is None:
        return "no container of it was started"
    said = waiting["Status"].get("Err") or waiting["Status"].get("Message") or waiting["Status"]["State"]
    return (
        f"its newest container is {waiting['Status']['State']} ({said}); its last lines:\n{last_lines(client, waiting)}"
    )

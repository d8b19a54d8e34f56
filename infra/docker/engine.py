"""The swarm as Docker's API shows it: tasks of a service, how they ended, and what they last said."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import docker
import docker.errors
import requests

POLL_SECONDS: Final = 0.25
SERVICE_LABEL: Final = "com.docker.swarm.service.name"
"""With which Swarm marks the containers of a service."""
LOG_LINES: Final = 30
SEARCHED_LINES: Final = 2000
"""How far back to look for the lines that matter."""
GRAVE: Final = ("warn", "warning", "error", "critical", "fatal", "panic")
"""Levels of JSON logs, the service's and Caddy's."""
FAILED: Final = ("failed", "rejected", "orphaned")
"""States of a task that ended as it should not (Docker manual, "Swarm task states")."""

STOPPED: Final = (137, 143)
"""Exit codes of a container that was killed or asked to stop (128 and the signal's number)."""


class EngineError(Exception):
    """Something in the swarm did not become what was asked for; the message says what, why, and what it last said."""


def connect(host: str | None) -> docker.DockerClient:
    """A client for this engine, or for the one that DOCKER_HOST names.

    Raises:
        EngineError: it does not answer.
    """
    where = host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    try:
        through_ssh = where.startswith("ssh:")
        if where == os.environ.get("DOCKER_HOST"):  # with its certificates, as DOCKER_CERT_PATH says
            client = docker.from_env(use_ssh_client=through_ssh)
        else:
            client = docker.DockerClient(base_url=where, use_ssh_client=through_ssh)
        client.ping()
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise EngineError(
            f"no Docker engine answers at {where}: {error}: start it, or set slipway:docker.host"
        ) from None
    return client


def api_of(client: docker.DockerClient) -> Any:
    """Docker's API call by call; the stubs say nothing of its swarm half."""
    return client.api


def plainly(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do the work of a dynamic resource; what goes wrong is shown without the plugin's own stack trace."""
    sys.tracebacklimit = 0  # the plugin prints the exception with traceback.format_exc(), which heeds this
    try:
        return work()
    except docker.errors.APIError as error:
        raise EngineError(f"Docker refused: {error.explanation or error}") from None


def service(client: docker.DockerClient, name: str) -> dict[str, Any] | None:
    """A service as the swarm has it; None where there is none of that name."""
    try:
        found: dict[str, Any] = api_of(client).inspect_service(name)
    except docker.errors.NotFound:
        return None
    return found


def tasks(client: docker.DockerClient, name: str) -> list[dict[str, Any]]:
    """All tasks of a service that the swarm remembers, newest first."""
    found: list[dict[str, Any]] = api_of(client).tasks(filters={"service": name})
    return sorted(found, key=lambda task: str(task["CreatedAt"]), reverse=True)


def remove(client: docker.DockerClient, name: str, *, seconds: float = 60) -> None:
    """Remove a service, and wait until its containers are gone; nothing where there is none."""
    if service(client, name) is None:
        return
    api_of(client).remove_service(name)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and _has_tasks(client, name):
        time.sleep(POLL_SECONDS)
    # Swarm forgets the containers of a job that ended, and one that was just being made; those on this engine can be
    # reached. On other nodes they stay until somebody prunes: Swarm has no word for it.
    for container in api_of(client).containers(all=True, filters={"label": f"{SERVICE_LABEL}={name}"}):
        with contextlib.suppress(docker.errors.APIError):
            api_of(client).remove_container(container["Id"], force=True)


def _has_tasks(client: docker.DockerClient, name: str) -> bool:
    try:
        return bool(tasks(client, name))
    except docker.errors.NotFound:
        return False


def why(client: docker.DockerClient, task: Mapping[str, Any]) -> str:
    """How a task ended, in words: its exit code, the check that failed, or what the engine could not do.

    Swarm stops a container whose check fails as it stops any other; where that ends well, the task is `complete`, and
    only the container knows better. It can be asked if it is on this engine's node.
    """
    status = task["Status"]
    container = status.get("ContainerStatus") or {}
    check = " ".join(task["Spec"]["ContainerSpec"].get("Healthcheck", {}).get("Test", [])[1:])
    health = _health(client, container.get("ContainerID"))
    said, code = str(status.get("Err") or ""), container.get("ExitCode") or 0
    if code and code not in STOPPED:
        return f"it ended with exit code {code}"
    if health is not None or "unhealthy" in said:
        return f"its health check failed ({check})" + (f": {health}" if health else "")
    if code:
        return f"it ended with exit code {code}"
    if status["State"] == "complete":
        return f"it ended by itself, or its health check failed ({check})"
    return said or str(status.get("Message") or status["State"])


def _health(client: docker.DockerClient, container: str | None) -> str | None:
    """What a container's failed health checks printed; None where the last one did not fail, or on another engine."""
    try:
        state = api_of(client).inspect_container(container)["State"] if container else {}
    except docker.errors.DockerException:
        return None
    # Not its status: every container that has stopped is called unhealthy.
    log = (state.get("Health") or {}).get("Log") or []
    if not log or not log[-1]["ExitCode"]:
        return None
    # The last one may have met a container that was already being stopped.
    first = next(each for each in log if each["ExitCode"])
    return " ".join(str(first["Output"]).split())[:500]


def last_lines(client: docker.DockerClient, task: Mapping[str, Any], *, lines: int = LOG_LINES) -> str:
    """The last lines that a task wrote, indented; wherever in the swarm it ran.

    Its lines of requests served are left out where it wrote any other, and what warns goes before what informs.
    """
    api = api_of(client)
    try:
        answer = api._get(  # noqa: SLF001 - docker-py has no method for the logs of one task
            api._url("/tasks/{0}/logs", task["ID"]),  # noqa: SLF001
            params={"stdout": 1, "stderr": 1, "tail": SEARCHED_LINES},
            timeout=10,
        )
        answer.raise_for_status()
    except (docker.errors.DockerException, requests.RequestException) as error:
        return f"  (no log: {error})"
    text = _unframed(answer.content).decode(errors="replace")
    found = [line.rstrip() for line in text.splitlines() if line.strip()]
    ranked = sorted(range(len(found)), key=lambda number: (_weight(found[number]), number))[-lines:]
    heaviest = _weight(found[ranked[-1]]) if ranked else 0
    shown = [found[number] for number in sorted(ranked) if heaviest == 0 or _weight(found[number])]
    return "\n".join(f"  {line[:500]}" for line in shown) or "  (it wrote nothing)"


def _weight(line: str) -> int:
    """0: a request that was served. 1: information. 2: a warning or worse, and what is no JSON, as a traceback is."""
    try:
        told = json.loads(line)
    except ValueError:
        return 2
    if not isinstance(told, dict):
        return 2
    if told.get("event") == "request" or str(told.get("logger", "")).startswith("http.log.access"):
        return 0
    return 2 if str(told.get("level", "")).lower() in GRAVE else 1


def _unframed(raw: bytes) -> bytes:
    """The content of Docker's log frames: 1 byte stream, 3 bytes nothing, 4 bytes length, then so many bytes."""
    content, at = b"", 0
    while at + 8 <= len(raw):
        length = int.from_bytes(raw[at + 4 : at + 8])
        content += raw[at + 8 : at + 8 + length]
        at += 8 + length
    return content

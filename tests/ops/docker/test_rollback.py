"""Back to the release before, against an engine that answers as it is told; tests/deploy/docker asks a real one."""

from collections.abc import Iterator
from typing import Any

import docker
import pytest

from ops import rollback
from ops.docker_host import Host
from ops.errors import CheckFailedError
from ops.rollback import Served, roll_back, served
from tests.ops.docker.engines import Engine, engine, service

SECRET = {"SecretID": "s1", "SecretName": "slipway-dev-app-password-1"}


def template(image: str) -> dict[str, Any]:
    return {"ContainerSpec": {"Image": image, "Secrets": [SECRET]}}


OLD, NEW = template("old"), template("new")


def api(now: dict[str, Any], before: dict[str, Any], state: str) -> dict[str, Any]:
    was, status = {"TaskTemplate": before}, {"State": state}
    found = service("api", 2, Version={"Index": 7}, PreviousSpec=was, UpdateStatus=status)
    found["Spec"]["TaskTemplate"] = now
    return found


class Swarm:
    """The engine, whose API was changed from OLD to NEW."""

    def __init__(self, told: Engine, host: Host) -> None:
        self.told = told
        self.host = host
        self.is_(api(NEW, OLD, "completed"))
        self.told.answers |= {"/secrets": [{"ID": "s1"}], "/configs": []}

    def is_(self, found: dict[str, Any]) -> None:
        self.told.answers |= {"/services": [found], "/services/api": found}


@pytest.fixture
def swarm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Swarm]:
    monkeypatch.setattr(rollback, "POLL_SECONDS", 0.01)
    with engine({}) as (address, told):
        client = docker.DockerClient(base_url=address, version="1.41")
        yield Swarm(told, Host(client, "dev", address))
        client.close()


def test_the_swarm_is_asked_and_waited_for(swarm: Swarm) -> None:
    states = iter(["rollback_started", "rollback_started", "rollback_completed"])
    swarm.told.on_post = lambda: swarm.is_(api(OLD, NEW, "rollback_started"))
    ask = swarm.told.answer

    def answer(path: str) -> Any:
        if swarm.told.told:
            swarm.is_(api(OLD, NEW, next(states, "asked once too often")))
        return ask(path)

    swarm.told.answer = answer  # type: ignore[method-assign]
    assert roll_back(swarm.host, Served(OLD)) is True
    assert swarm.told.told == ["/api/update?version=7&rollback=previous"]


def test_an_api_that_was_not_changed_or_is_new_has_nothing_to_go_back_to(swarm: Swarm) -> None:
    assert served(swarm.host) == Served(NEW)
    assert roll_back(swarm.host, served(swarm.host)) is False
    assert roll_back(swarm.host, Served({})) is False
    swarm.told.answers["/services"] = []
    assert served(swarm.host) == Served({})
    assert swarm.told.told == []


def test_nothing_else_is_undone(swarm: Swarm) -> None:
    with pytest.raises(CheckFailedError, match="changed more than once since: deploy the image that served before"):
        roll_back(swarm.host, Served(template("older still")))
    swarm.told.answers["/secrets"] = []
    with pytest.raises(
        CheckFailedError, match="needs the secret slipway-dev-app-password-1, which this deploy removed"
    ):
        roll_back(swarm.host, Served(OLD))
    assert swarm.told.told == []


def test_a_rollback_that_fails_is_told(swarm: Swarm) -> None:
    swarm.told.on_post = lambda: swarm.is_(api(OLD, NEW, "rollback_paused"))
    with pytest.raises(CheckFailedError, match="the rollback ended as 'rollback_paused': slipway logs"):
        roll_back(swarm.host, Served(OLD))

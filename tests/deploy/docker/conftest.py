"""Proofs on a real Docker Swarm with a real Pulumi engine; skipped, each with what is missing, where there is none."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import DockerException

from ops.docker_cli import find_docker
from ops.errors import UnreachableError
from tests.deploy.docker.ground import Environment, Ground, Up, a_ground
from tests.deploy.standins import STANDINS, StandinError, build

HERE = Path(__file__).parent
LONG_VARIABLE = "SLIPWAY_LONG_PROOFS"
REPLICAS = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help=f"repeat what must hold ten times (also: {LONG_VARIABLE}=1)")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """As they are numbered, whatever shuffles the others; and with the time that a swarm takes."""
    ours = sorted((item for item in items if HERE in item.path.parents), key=lambda item: item.location[:2])
    waiting = iter(ours)
    items[:] = [next(waiting) if HERE in item.path.parents else item for item in items]
    for item in ours:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def rounds(request: pytest.FixtureRequest) -> int:
    """How often to repeat what must hold ten times."""
    long = bool(request.config.getoption("--long", default=False) or os.environ.get(LONG_VARIABLE))
    return 10 if long else 2


@pytest.fixture(scope="session")
def client() -> Iterator["docker.DockerClient"]:
    """A Docker engine that manages a swarm."""
    if shutil.which("pulumi") is None:
        pytest.skip("needs the Pulumi CLI: there is no pulumi on the PATH")
    try:
        find_docker()
        client = docker.from_env(timeout=60)
    except (UnreachableError, DockerException) as error:
        pytest.skip(f"needs a Docker engine: {error}")
    info: dict[str, Any] = client.info()
    joined = info["Swarm"]["LocalNodeState"] == "active"
    if joined and not info["Swarm"]["ControlAvailable"]:
        pytest.skip("needs a Docker engine that manages a swarm; this one is a worker")
    if not joined:
        client.swarm.init(advertise_addr="127.0.0.1")
    yield client
    if not joined:
        client.swarm.leave(force=True)
    client.close()


@pytest.fixture(scope="session")
def ground(client: "docker.DockerClient") -> Iterator[Ground]:
    """A checkout, a registry with its releases, and every image that an environment needs."""
    try:
        build(STANDINS, say=lambda _: None)
    except StandinError as error:
        pytest.skip(f"needs stand-ins for public images: {error}")
    with a_ground(client) as made:
        made.releases.reference("first")
        yield made


@pytest.fixture(scope="session")
def first(ground: Ground) -> Iterator[tuple[Environment, Up]]:
    """An environment like staging that stood up from nothing, and how that went."""
    with ground.environment("staging", api={"replicas": REPLICAS, "workers": 1}) as environment:
        environment.verb("init").good()
        yield environment, environment.up()


@pytest.fixture
def environment(first: tuple[Environment, Up], ground: Ground) -> Environment:
    """That environment, with its first release and configuration, as no proof has left it."""
    found, _ = first
    found.configure(image=ground.releases.reference("first"))
    if found.version()["release"] != ground.releases.name_of("first") or not found.is_complete("api"):
        found.up("--no-probe")
    return found

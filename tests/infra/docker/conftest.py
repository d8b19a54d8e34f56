import sys
from collections.abc import Iterator

import docker
import pytest

from infra.docker.engine import EngineError, connect, remove

STANDIN = "slipway-standin/base:1"
"""Built by `python -m tests.deploy.standins`: a shell, and little else."""


@pytest.fixture(autouse=True)
def whole_tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin's work sets this for the plugin's process; here it is ours, and Pulumi looks at its own stack."""
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A swarm's manager with the smallest stand-in."""
    try:
        client = connect(None)
    except EngineError as error:
        pytest.skip(f"needs a Docker engine: {error}")
    try:
        if not client.info()["Swarm"].get("ControlAvailable"):
            pytest.skip("needs a swarm: docker swarm init")
        if not client.images.list(name=STANDIN):
            pytest.skip(f"needs {STANDIN}: python -m tests.deploy.standins")
        yield client
    finally:
        client.close()


@pytest.fixture
def name(engine: docker.DockerClient, request: pytest.FixtureRequest) -> Iterator[str]:
    """A name for a service, which is gone afterwards."""
    found = f"slipway-trial-{abs(hash(request.node.nodeid)) % 1_000_000}"
    yield found
    remove(engine, found)

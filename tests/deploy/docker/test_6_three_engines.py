"""Proof 6: three engines in one swarm; one loses its plug, and the service goes on without it."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.deploy.docker.engines import EnginesError, Machine, copy_images, machines
from tests.deploy.docker.figures import keep
from tests.deploy.docker.ground import Environment, Ground, wait_for
from tests.deploy.docker.load import Load
from tests.deploy.standins import image as standin

IMAGE = "slipway-machines:1"
REPLICAS = 3
ELSEWHERE_SECONDS = 90
IN_FLIGHT = 20
"""Requests that the lost machine may take along: what is under way on it, or on connections that still lead to it."""


@pytest.fixture
def swarm(ground: Ground) -> Iterator[list[Machine]]:
    """Three machines with the images that an environment needs."""
    ground.client.images.get(ground.releases.reference("first")).tag(*IMAGE.split(":"))
    try:
        with machines() as made:
            for machine in made:
                copy_images([IMAGE, *map(standin, ("postgres", "valkey", "caddy"))], machine)
            yield made
    except EnginesError as error:
        pytest.skip(f"needs machines in network namespaces: {error}")
    finally:
        ground.client.images.remove(IMAGE)


def test_an_engine_is_lost_and_the_service_goes_on(swarm: list[Machine], ground: Ground, tmp_path: Path) -> None:
    first, *others = swarm
    there = replace(ground, checkout=replace(ground.checkout, docker_host=first.host), client=first.client())
    sections = {
        "image": IMAGE,
        "api": {"replicas": REPLICAS, "workers": 1, "poolSize": 4},
        "database": {"maxConnections": 100},
        "uptime": {"enabled": False},
    }
    with first.network(), there.environment("dev", **sections) as environment:
        environment.configure(edge={"replicas": len(swarm)})
        environment.verb("init").good()
        up = environment.up("--no-probe")
        spread = nodes_of(environment)
        lost = others[0]
        with Load(environment, tmp_path) as load:
            lost_at = time.monotonic()
            lost.kill()
            told = wait_for(lambda: environment.status()["nodes"][lost.name].endswith("down"), ELSEWHERE_SECONDS)
            state = environment.status()
            elsewhere = wait_for(lambda: is_whole_without(environment, lost), ELSEWHERE_SECONDS)
        figures = {
            "up_seconds": round(up.said.seconds, 1),
            "replicas_by_node": spread,
            "node_told_down_seconds": round(told, 1),
            "replicas_elsewhere_seconds": round(told + elsewhere, 1),
            "replicas_by_node_then": nodes_of(environment),
            **load.since(lost_at),
        }
        keep("6 three engines", figures)
        assert spread == sorted(machine.name for machine in swarm)
        assert state["serving"] is True
        assert lost.name not in nodes_of(environment)
        assert figures["failed"] <= IN_FLIGHT, figures
    there.client.close()


def nodes_of(environment: Environment) -> list[str]:
    """The nodes with replicas of the API, as `slipway status` tells."""
    nodes: list[str] = environment.status()["parts"]["api"]["nodes"]
    return nodes


def is_whole_without(environment: Environment, lost: Machine) -> bool:
    """Whether all replicas run, none of them on a machine that is lost."""
    part = environment.status()["parts"]["api"]
    return part["running"] == part["wanted"] and lost.name not in part["nodes"]

"""Proof 7: `down` takes away all that `up` made and nothing else; production's data stays."""

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from docker.errors import APIError
from docker.types import EndpointSpec, ServiceMode

from ops import edge
from tests.deploy.docker.figures import keep
from tests.deploy.docker.ground import Environment, Ground
from tests.deploy.standins import image as standin

if TYPE_CHECKING:
    import docker

SMALL = {"api": {"replicas": 2, "workers": 1, "cpus": 1}, "uptime": {"enabled": False}}
OTHERS = re.compile(r"slipway-(?!bystander)")
KEEPER = {"email": "keeper@example.com", "password": "a long enough password", "full_name": "Keeper"}


@pytest.fixture
def bystanders(client: "docker.DockerClient") -> Iterator[dict[str, Any]]:
    """Somebody else's service, network, volume, secret and config, named almost as ours are."""
    name = f"slipway-bystander-{uuid4().hex[:6]}-database"
    made: dict[str, Any] = {"volume": client.volumes.create(name, labels={"slipway.part": "database"})}
    try:
        made["network"] = client.networks.create(name, driver="overlay")
        made["secret"] = client.secrets.create(name=name, data=b"nobody's")
        made["config"] = client.configs.create(name=name, data=b"nobody's")
        made["service"] = client.services.create(  # type: ignore[no-untyped-call]
            standin("valkey"),
            name=name,
            networks=[name],
            endpoint_spec=EndpointSpec(mode="dnsrr"),
            mode=ServiceMode("replicated", 1),
            labels={"slipway.part": "database"},
        )
        yield made
    finally:
        for kind in ("service", "config", "secret", "network", "volume"):
            if kind in made:
                remove(made[kind])


def remove(one: Any) -> None:
    """Take it away as soon as nobody uses it."""
    for _ in range(30):
        with contextlib.suppress(APIError):
            one.remove()
            return


def test_down_removes_what_up_made_and_nothing_else(ground: Ground, bystanders: dict[str, Any]) -> None:
    with ground.environment("staging", **SMALL) as environment:
        before = holdings(ground)
        environment.verb("init").good()
        environment.up()
        made = environment.left()
        refused = environment.verb("down")
        assert refused.code == 2
        down = environment.verb("down", "--yes", "--json").good()
        keep("7 down", {"seconds": round(down.seconds, 1), "made": len(made), "left": environment.left()})
        assert environment.left() == []
        assert holdings(ground) == before
        for one in bystanders.values():
            one.reload()
        again = environment.verb("down", "--yes").good()
        assert "was not up" in again.text


def test_in_production_the_data_stays(ground: Ground) -> None:
    pinned = {
        key: ground.pinned(name) for key, name in (("postgres", "postgres"), ("valkey", "valkey"), ("caddy", "caddy"))
    }
    with ground.environment("production", **SMALL) as environment:
        environment.configure(
            images=pinned_only(environment, pinned),
            network={"encrypted": False},
            database={"memoryMib": 512, "cpus": 1},
        )
        environment.verb("init").good()
        environment.up()
        with edge.client(environment.url, environment.authority) as http:
            http.post("/api/v1/auth/register", json=KEEPER).raise_for_status()
        refused = environment.verb("down", "--yes")
        wrong = environment.verb("down", "--confirm", "staging")
        down = environment.verb("down", "--confirm", environment.name, "--json").good()
        left = environment.left()
        back = environment.up()
        with edge.client(environment.url, environment.authority) as http:
            form = {"username": KEEPER["email"], "password": KEEPER["password"]}
            login = http.post("/api/v1/auth/login", data=form)
        keep(
            "7 production down",
            {"seconds": round(down.seconds, 1), "left": left, "up_again_seconds": round(back.said.seconds, 1)},
        )
        assert (refused.code, wrong.code) == (2, 2)
        assert f"volume {environment.service_name('database')}" in left
        assert all(one.startswith("volume ") for one in left), left
        assert login.status_code == httpx.codes.OK


def pinned_only(environment: Environment, pinned: dict[str, str]) -> dict[str, str]:
    """Of the other images those that are checked in, which nothing runs here."""
    from infra.stack_keys import Images

    return {field.alias or name: field.default for name, field in Images.model_fields.items()} | pinned


def holdings(ground: Ground) -> dict[str, set[str]]:
    """What the engine holds of what environments are made of, without what other ones do meanwhile."""
    kinds = ("services", "networks", "secrets", "configs")
    found = {kind: {str(one.name) for one in getattr(ground.client, kind).list()} for kind in kinds}
    found["volumes"] = {str(one.name) for one in ground.client.volumes.list()}
    used = {str(one.name) for one in ground.client.volumes.list(filters={"dangling": False})}
    others = {name for names in found.values() for name in names if OTHERS.match(name)} | used
    return {kind: names - others for kind, names in found.items()}

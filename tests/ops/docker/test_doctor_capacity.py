from typing import Any

import pytest

from infra.stack import Stack, read
from infra.stack_keys import Api, Backups, Cache, Database, Edge, Uptime
from ops.verbs.docker.doctor_capacity import CPU, asked, capacity
from tests.infra.docker.program import SECRETS, run
from tests.infra.docker.test_policies import SERVICE, config_of
from tests.ops.docker.engines import node, service

GIB = 1 << 30
STACK = Stack.model_construct(
    environment="dev",
    kind="dev",
    secrets=frozenset(),
    api=Api(replicas=2, cpus=1.5, memoryMib=1192),
    database=Database(cpus=0.5, memoryMib=256),
    cache=Cache(cpus=0.25, memoryMib=64),
    edge=Edge(cpus=0.25, memoryMib=64),
    backups=Backups(enabled=False),
    uptime=Uptime(enabled=False),
)


def machine(name: str, cpus: int, memory: int, **states: str) -> dict[str, Any]:
    told = node(name, **states)
    told["Description"]["Resources"] = {"NanoCPUs": cpus * CPU, "MemoryBytes": memory}
    return told


def found(nodes: list[dict[str, Any]], *services: dict[str, Any]) -> tuple[str, str, str]:
    class Swarm:
        """Of docker-py, what is asked for."""

        def __init__(self) -> None:
            self.nodes = {one["ID"]: one for one in nodes}
            self.client = self
            self.services = self

        def list(self) -> list[Any]:
            return [type("Service", (), {"name": one["Spec"]["Name"], "attrs": one}) for one in services]

    return capacity(STACK, Swarm())  # type: ignore[arg-type]


def test_what_fits_is_good() -> None:
    told = "0.40 CPUs and 692 MiB to be reserved, 2.00 CPUs and 8192 MiB left by other services"
    assert found([machine("a", 2, 8 * GIB)]) == ("ok", told, "")


def test_a_container_that_may_use_more_cpus_than_any_node_has_is_named_with_its_key() -> None:
    """The sum of the nodes is no help: a container runs on one."""
    state, said, remedy = found([machine("a", 1, 8 * GIB), machine("b", 1, 8 * GIB, role="worker")])
    assert (state, said) == ("failed", "api may use 1.5 CPUs, and no node has more than 1")
    assert remedy.startswith("lower slipway:api.cpus, or join another node")


def test_a_larger_node_that_takes_no_containers_does_not_count() -> None:
    small = machine("a", 1, 8 * GIB)
    for away in (machine("b", 8, 8 * GIB, availability="drain"), machine("b", 8, 8 * GIB, state="down")):
        assert found([small, away])[0] == "failed"
    assert found([machine("a", 8, 8 * GIB, state="down")])[:2] == ("failed", "no node of the swarm takes containers")


def test_reservations_that_do_not_fit_are_a_warning() -> None:
    state, said, remedy = found([machine("a", 2, GIB // 2)])
    assert state == "warning"
    assert said.endswith("Swarm leaves some containers pending")
    assert "memoryMib" in remedy


@pytest.mark.parametrize(("environment", "state"), [("other", "warning"), ("dev", "ok")])
def test_what_others_reserve_is_taken_and_what_this_environment_has_is_not(environment: str, state: str) -> None:
    there = service("api", 3, environment)
    there["Spec"]["TaskTemplate"]["Resources"] = {"Reservations": {"NanoCPUs": 6 * 10**8, "MemoryBytes": GIB}}
    assert found([machine("a", 2, 8 * GIB)], there)[0] == state


def test_it_counts_what_the_program_makes() -> None:
    config = config_of("production")
    config["uptime"] = config["uptime"] | {"grafana": True}
    counted = {
        part.part: (part.replicas, round(part.cpus * CPU), *part.reserved)
        for part in asked(read(config | SECRETS, set(SECRETS), "production"))
    }
    made = {}
    for one in run("production", config, SECRETS).of(SERVICE):
        told, replicas = one.inputs["taskSpec"]["resources"], one.inputs["mode"]["replicated"]["replicas"]
        kept = (told["reservation"]["nanoCpus"] * replicas, told["reservation"]["memoryBytes"] * replicas)
        made[one.name.removeprefix("slipway-production-")] = (replicas, told["limits"]["nanoCpus"], *kept)
    assert counted == made

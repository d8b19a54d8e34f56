"""Whether the swarm has the processors and the memory that the stack asks for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from infra.stack import Stack
from ops.docker_host import Host
from ops.verbs.docker.doctor_finding import FAILED, OK, WARNING, Found

MIB: Final = 1 << 20
CPU: Final = 1_000_000_000
"""One processor in Docker's words."""
LOWER: Final = "or join another node (docker swarm join-token worker says how)"


@dataclass(frozen=True)
class Asked:
    """What one part asks for.

    Args:
        part: its name.
        cpus: limit of one container.
        memory_mib: limit of one container.
        replicas: how many containers.
    """

    part: str
    cpus: float
    memory_mib: int
    replicas: int = 1

    @property
    def reserved(self) -> tuple[int, int]:
        """Billionths of processors and bytes that are kept free for all its containers (infra/docker/service.py)."""
        return round(self.cpus * CPU / 10) * self.replicas, self.memory_mib * MIB // 4 * self.replicas


def asked(stack: Stack) -> Iterator[Asked]:
    """Every service of an environment; a test holds this to what the Pulumi program makes."""
    yield Asked("api", stack.api.cpus, stack.api.memory_mib, stack.api.replicas)
    yield Asked("cache", stack.cache.cpus, stack.cache.memory_mib)
    yield Asked("edge", stack.edge.cpus, stack.edge.memory_mib, stack.edge.replicas)
    if stack.database.mode == "container":
        yield Asked("database", stack.database.cpus, stack.database.memory_mib)
    if stack.backups.enabled:
        yield Asked("backup", 0.5, 256)
    if stack.uptime.enabled:
        yield Asked("prometheus", 0.5, 512)
        for part in ("blackbox", "alertmanager", "postgres-exporter"):
            yield Asked(part, 0.2, 96)
        if stack.uptime.grafana:
            yield Asked("grafana", 0.5, 384)


def capacity(stack: Stack, host: Host) -> Found:
    """Compare limits with each node, which no container may exceed, and reservations with all nodes together."""
    nodes = [node for node in host.nodes.values() if _takes_tasks(node)]
    if not nodes:
        return FAILED, "no node of the swarm takes containers", "docker node ls says why"
    parts = list(asked(stack))
    most = max(_resources(node)[0] for node in nodes)
    if above := [part for part in parts if round(part.cpus * CPU) > most]:
        said = ", ".join(f"{part.part} may use {part.cpus:g} CPUs" for part in above)
        keys = " and ".join(f"slipway:{part.part}.cpus" for part in above)
        return FAILED, f"{said}, and no node has more than {most / CPU:g}", f"lower {keys}, {LOWER}"
    wanted = _sum(part.reserved for part in parts)
    left = tuple(a - b for a, b in zip(_sum(map(_resources, nodes)), _reserved_by_others(stack, host), strict=True))
    said = f"{_told(wanted)} to be reserved, {_told(left)} left by other services"
    if any(part > whole for part, whole in zip(wanted, left, strict=True)):
        return WARNING, f"{said}: Swarm leaves some containers pending", f"lower replicas, cpus or memoryMib, {LOWER}"
    return OK, said, ""


def _takes_tasks(node: dict[str, Any]) -> bool:
    return (node["Status"]["State"], node["Spec"].get("Availability", "active")) == ("ready", "active")


def _resources(node: dict[str, Any]) -> tuple[int, int]:
    found = node["Description"]["Resources"]
    return int(found["NanoCPUs"]), int(found["MemoryBytes"])


def _reserved_by_others(stack: Stack, host: Host) -> tuple[int, ...]:
    """What the swarm keeps free for services that are not this environment's."""
    mine = f"slipway-{stack.environment}-"
    specs = [one.attrs["Spec"] for one in host.client.services.list() if not one.name.startswith(mine)]
    return _sum(_reserved(spec) for spec in specs)


def _reserved(spec: dict[str, Any]) -> tuple[int, int]:
    kept = (spec["TaskTemplate"].get("Resources") or {}).get("Reservations") or {}
    replicas = int((spec["Mode"].get("Replicated") or {}).get("Replicas", 1))
    return int(kept.get("NanoCPUs", 0)) * replicas, int(kept.get("MemoryBytes", 0)) * replicas


def _sum(pairs: Any) -> tuple[int, ...]:
    return tuple(map(sum, zip((0, 0), *pairs, strict=True)))


def _told(resources: tuple[int, ...]) -> str:
    return f"{resources[0] / CPU:.2f} CPUs and {resources[1] // MIB} MiB"

"""What a killed `up` leaves in the state: operations that began, and nobody saw their end.

A creation under way is the one that matters. What it made in Docker has a name that the next attempt needs, and the
state does not know it. Networks, services, secrets and configs that were never finished serve nobody: they are removed
and made again. Volumes hold data and are found again under their name; jobs find their own again (infra/docker/job.py).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pulumi.automation import Deployment

REMOVABLE: Final[Mapping[str, str]] = {
    "docker:index/service:Service": "service",
    "docker:index/serviceConfig:ServiceConfig": "config",
    "docker:index/secret:Secret": "secret",
    "docker:index/network:Network": "network",
}
"""Pulumi's type, and what Docker calls it; in the order of removal: services use the others."""


@dataclass(frozen=True)
class Pending:
    """One operation without an end.

    Args:
        operation: `creating`, `updating`, `deleting`, ...
        type: Pulumi's type of the resource.
        name: the name in Docker, as far as it is known.
        urn: of the resource.
    """

    operation: str
    type: str
    name: str
    urn: str

    @property
    def label(self) -> str:
        """What it did to what, for people."""
        return f"{self.operation} {self.name or self.urn.rpartition('::')[2]}"


def nothing_pending(folder: Path, project: str, stack: str) -> bool:
    """Whether a file backend's state, read as it lies there, has no operation without an end; False where unsure."""
    try:
        content = json.loads((folder / "stacks" / project / f"{stack}.json").read_bytes())
        return not (content["checkpoint"].get("latest") or {}).get("pending_operations")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def pending(deployment: Deployment) -> list[Pending]:
    """The operations without an end in an exported state."""
    return [
        Pending(
            operation=str(entry.get("type", "")),
            type=str(entry["resource"]["type"]),
            name=_name(entry["resource"]),
            urn=str(entry["resource"]["urn"]),
        )
        for entry in (deployment.deployment or {}).get("pending_operations") or ()
    ]


def without_pending(deployment: Deployment) -> Deployment:
    """The same state, as if these operations had never begun."""
    content = {name: value for name, value in (deployment.deployment or {}).items() if name != "pending_operations"}
    return Deployment(version=deployment.version, deployment=content)


def clear_remains(operations: list[Pending], known: set[tuple[str, str]], remove: Callable[[str, str], bool]) -> int:
    """Remove from Docker what unfinished creations left, and nothing that the state knows; how many there were.

    Args:
        operations: without an end.
        known: (type, name) of what the state holds.
        remove: takes away (kind, name); says whether there was any.
    """
    order = list(REMOVABLE)
    creations = [one for one in operations if one.operation == "creating" and one.type in REMOVABLE and one.name]
    count = 0
    for one in sorted(creations, key=lambda one: order.index(one.type)):
        if (one.type, one.name) not in known:
            count += remove(REMOVABLE[one.type], one.name)
    return count


def known_names(deployment: Deployment) -> set[tuple[str, str]]:
    """(type, name in Docker) of all resources in a state."""
    resources = (deployment.deployment or {}).get("resources") or ()
    return {(str(resource["type"]), _name(resource)) for resource in resources}


def _name(resource: Mapping[str, Any]) -> str:
    """Its name in Docker. A secret one is encrypted in the state, and ours never are."""
    name = (resource.get("inputs") or {}).get("name", "")
    return name if isinstance(name, str) else ""

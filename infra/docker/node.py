"""The node of the engine that Pulumi talks to: where it makes volumes, and so where their containers must run."""

from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider


class NodeProvider(ResourceProvider):
    """What Pulumi calls for a node."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Ask the engine for its node."""
        from infra.docker import engine  # noqa: PLC0415 - see job.py

        def asked() -> dict[str, Any]:
            swarm = engine.connect(props.get("host")).info()["Swarm"]
            if not swarm.get("ControlAvailable"):
                raise engine.EngineError("this engine manages no swarm: docker swarm init, or name a manager")
            return {**props, "node": swarm["NodeID"]}

        made = engine.plainly(asked)
        return CreateResult(made["node"], made)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Volumes stay where they are, so their node does, too."""
        del olds, news
        return DiffResult(changes=False)


class Node(Resource, module="slipway", name="Node"):
    """The node that the environment's volumes are on."""

    node: pulumi.Output[str]
    """Its id in the swarm."""

    def __init__(self, name: str, *, host: str | None, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(NodeProvider(), name, {"host": host, "node": None}, opts)

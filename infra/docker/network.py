"""The two networks: what faces the world, and what never leaves the swarm."""

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from infra.docker.names import Names


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """What the networks depend on.

    Args:
        names: the environment's names.
        encrypted: whether traffic between nodes is encrypted.
    """

    names: Names
    encrypted: bool


class Network(pulumi.ComponentResource):
    """An edge network, from which the outside can be reached, and an internal one, from which it cannot.

    The database and the cache are on the internal one only; the API is on both, because it sends mail.
    """

    edge: pulumi.Output[str]
    """Id of the edge network."""
    internal: pulumi.Output[str]
    """Id of the internal network."""
    edge_subnet: pulumi.Output[str]
    """From which the edge's requests come, as 10.0.3.0/24."""

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:docker:Network", name, None, opts)
        edge = self._network("edge", args, internal=False)
        internal = self._network("internal", args, internal=True)
        self.edge, self.internal = (
            pulumi.Output.all(made.id, made.options).apply(lambda found: checked(found[0], found[1], args))
            for made in (edge, internal)
        )
        self.edge_subnet = edge.ipam_configs.apply(lambda configs: _subnet(list(configs or ())))
        self.register_outputs({"edge": self.edge, "internal": self.internal, "edge_subnet": self.edge_subnet})

    def _network(self, part: str, args: NetworkArgs, *, internal: bool) -> docker.Network:
        name = args.names.of(part)
        return docker.Network(
            name,
            name=name,
            driver="overlay",
            internal=internal,
            attachable=False,
            options={"encrypted": ""} if args.encrypted else None,
            labels=[docker.NetworkLabelArgs(label=k, value=v) for k, v in args.names.labels(part).items()],
            # The swarm adds options of its own. And Docker knows no second network of the same name.
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True, ignore_changes=["options"]),
        )


def checked(network: str, options: dict[str, str] | None, args: NetworkArgs) -> str:
    """The network's id, if it is encrypted or not as it should be: that is decided when it is made.

    Raises:
        ValueError: it is not.
    """
    if ("encrypted" in (options or {})) != args.encrypted:
        raise ValueError(
            "slipway:network.encrypted cannot change while the environment stands: change it back, or take the "
            f"environment down first (slipway down {args.names.environment})"
        )
    return network


def _subnet(configs: "list[docker.outputs.NetworkIpamConfig]") -> str:
    """The subnet that the swarm gave to a network."""
    return next((config.subnet for config in configs if config.subnet), "")

"""The edge: Caddy, which ends TLS and hands requests to those replicas that are ready."""

from dataclasses import dataclass
from typing import Final

import pulumi

from infra.docker.api import Api
from infra.docker.caddyfile import DATA_FOLDER, HEALTH_PORT, HTTP_TARGET, HTTPS_TARGET, Site, caddyfile
from infra.docker.mounts import Mount
from infra.docker.names import Names
from infra.docker.secrets import config
from infra.docker.service import Health, Limits, Port, Service, ServiceArgs
from infra.docker.volume import volume
from infra.stack_keys import Edge as Keys

UID: Final = 10002
"""Nobody's in the image: it runs as root by default, and needs not."""
CONFIGURATION: Final = "/etc/caddy/Caddyfile"
RESOLVER_OPTIONS: Final = ("ndots:1",)
"""Docker's resolver then says itself that the API's name, which has no dot, is not there; else it asks the node's DNS
server each time. Caddy looks a name up for one request after another, keeps no failure, and whoever waits for a replica
asks again: while none was there, lookups took so long that the waiting requests outgrew any memory."""


@dataclass(frozen=True, kw_only=True)
class EdgeArgs:
    """What the edge depends on.

    Args:
        names: the environment's names.
        keys: the stack's section `edge`.
        image: of Caddy.
        network: id of the edge network.
        api: whom it asks.
        constraints: the node that the environment's volumes are on.
        protect: keep its volume, which holds its account and certificates, for good.
        host: the engine; None for DOCKER_HOST's.
    """

    names: Names
    keys: Keys
    image: str
    network: pulumi.Output[str]
    api: Api
    constraints: list[pulumi.Output[str]]
    protect: bool
    host: str | None = None


class Edge(pulumi.ComponentResource):
    """The proxy, on the ports that the stack names of every node that it runs on.

    A change of its configuration or image replaces it, and on one node its ports are closed for about a second
    meanwhile: two containers cannot hold one port of a node. With several edges they change one after the other.
    Replicas that come and go change nothing here; it finds them by DNS.
    """

    service: pulumi.Output[str]
    ready: pulumi.Resource

    def __init__(self, name: str, args: EdgeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:docker:Edge", name, None, opts)
        keys, names = args.keys, args.names
        text = args.api.service.apply(
            lambda service: caddyfile(
                Site(
                    domain=keys.domain,
                    https_port=keys.https_port,
                    automatic=keys.tls == "automatic",
                    acme_email=keys.acme_email,
                    api=service,
                    api_port=args.api.port,
                )
            )
        )
        data = volume(names, "edge", "edge", parent=self, kept=args.protect)
        served = Service(
            names.of("edge"),
            ServiceArgs(
                names=names,
                part="edge",
                image=args.image,
                uid=UID,
                limits=Limits(cpus=keys.cpus, memory_mib=keys.memory_mib),
                health=health(),
                networks=[args.network],
                args=["caddy", "run", "--config", CONFIGURATION, "--adapter", "caddyfile"],
                env={
                    "XDG_DATA_HOME": DATA_FOLDER,
                    "XDG_CONFIG_HOME": "/tmp",  # noqa: S108 - memory of its own
                    "GOMEMLIMIT": go_memory(keys.memory_mib),
                },
                resolver_options=RESOLVER_OPTIONS,
                files=[config(names, "edge", "caddyfile", text, parent=self).at(CONFIGURATION, uid=UID)],
                mounts=[Mount("/var/tmp", volume=data.name), Mount("/tmp")],  # noqa: S108 - see mounts.py
                # The image's binary carries this capability, and the kernel runs none that it may not have.
                kept_capabilities=["NET_BIND_SERVICE"],
                ports=[
                    Port(published=keys.https_port, target=HTTPS_TARGET),
                    Port(published=keys.http_port, target=HTTP_TARGET),
                ],
                replicas=keys.replicas,
                # One edge stays where its certificates are, and where the domain's address leads.
                constraints=args.constraints if keys.replicas == 1 else (),
                one_a_node=keys.replicas > 1,
                stop_seconds=15,
                after=[args.api.ready],
            ),
            pulumi.ResourceOptions(parent=self),
            host=args.host,
        )
        self.service, self.ready = served.name, served.ready
        self.register_outputs({"service": self.service})


def go_memory(limit_mib: int) -> str:
    """From where on Go collects its garbage more eagerly, rather than grow to where the kernel ends it."""
    return f"{limit_mib * 4 // 5}MiB"


def health() -> Health:
    """The image has BusyBox' wget."""
    ask = ("CMD", "wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{HEALTH_PORT}/")
    return Health(command=ask, start_seconds=10)

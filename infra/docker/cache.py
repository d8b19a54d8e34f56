"""Valkey: counters of the rate limits. It holds nothing that a restart may not forget, and writes nothing to a disk."""

from dataclasses import dataclass
from typing import Final

import pulumi

from infra.docker.mounts import Mount
from infra.docker.names import Names
from infra.docker.secrets import Secrets, secret
from infra.docker.service import Health, Limits, Restart, Service, ServiceArgs
from infra.stack_keys import Cache as Keys

PORT: Final = 6379
UID: Final = 999
"""User `valkey` of the public image."""
CONFIGURATION: Final = "/run/secrets/valkey.conf"
PASSWORD: Final = "/run/secrets/cache_password"  # noqa: S105 - a path


@dataclass(frozen=True, kw_only=True)
class CacheArgs:
    """What the cache depends on.

    Args:
        names: the environment's names.
        keys: the stack's section `cache`.
        image: of Valkey.
        network: id of the internal network.
        password: of its default user; secret.
        secrets: with the same `cache_password`.
        host: the engine; None for DOCKER_HOST's.
    """

    names: Names
    keys: Keys
    image: str
    network: pulumi.Output[str]
    password: pulumi.Output[str]
    secrets: Secrets
    host: str | None = None


class Cache(pulumi.ComponentResource):
    """A Valkey server."""

    url: pulumi.Output[str]
    """Its address, without the password."""
    ready: pulumi.Resource
    """Depend on this to come after it answers."""

    def __init__(self, name: str, args: CacheArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:docker:Cache", name, None, opts)
        names = args.names
        text = args.password.apply(lambda password: configuration(password, args.keys.memory_mib))
        files = (
            (secret(names, "cache_configuration", text, parent=self), CONFIGURATION),
            (args.secrets["cache_password"], PASSWORD),
        )
        served = Service(
            names.of("cache"),
            ServiceArgs(
                names=names,
                part="cache",
                image=args.image,
                uid=UID,
                limits=Limits(cpus=args.keys.cpus, memory_mib=args.keys.memory_mib),
                health=health(),
                networks=[args.network],
                args=["valkey-server", CONFIGURATION],
                files=[file.at(path, uid=UID) for file, path in files],
                mounts=[Mount("/data")],
                restart=Restart(delay_seconds=1),
            ),
            pulumi.ResourceOptions(parent=self),
            host=args.host,
        )
        self.url = pulumi.Output.format("redis://{0}:{1}/0", served.name, PORT)
        self.ready = served.ready
        self.register_outputs({"url": self.url})


def configuration(password: str, memory_mib: int) -> str:
    """The server's configuration file; a secret, because of the password.

    A quarter of the memory is left for clients' buffers and for what the allocator wastes (Valkey manual, "Memory
    optimization"). Every key of ours has a time to live: those that end soonest go first.
    """
    return "\n".join(
        (
            f"port {PORT}",
            "bind * -::*",
            "dir /data",
            "daemonize no",
            'save ""',
            "appendonly no",
            f"maxmemory {memory_mib * 3 // 4}mb",
            "maxmemory-policy volatile-ttl",
            f"requirepass {password}",
            "",
        )
    )


def health() -> Health:
    """A PING as our user; the password comes from a file and stands on no command line."""
    ask = f'VALKEYCLI_AUTH="$(cat {PASSWORD})" REDISCLI_AUTH="$(cat {PASSWORD})" valkey-cli ping | grep -q PONG'
    return Health(command=("CMD-SHELL", ask), start_seconds=10)

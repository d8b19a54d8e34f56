"""What a part says of its service: the terms in which `infra/docker/service.py` makes one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import pulumi

from infra.docker.mounts import Mount, MountedFile
from infra.docker.names import Names

FOREVER: Final = 1_000_000
"""More restarts than any window holds. What has data or watches others must come back when, say, its disk has room."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a container may take at most, and what is kept free for it.

    Args:
        cpus: processors; a tenth of it is reserved.
        memory_mib: memory in MiB; a quarter of it is reserved.
    """

    cpus: float
    memory_mib: int


@dataclass(frozen=True, kw_only=True)
class Health:
    """How Swarm finds out that a container works. Until the first success it is in no DNS answer.

    Args:
        command: as Docker wants it: `CMD` or `CMD-SHELL`, then words.
        interval_seconds: from one check to the next.
        timeout_seconds: longest one may take.
        retries: failures in a row that make it unhealthy; then Swarm replaces it.
        start_seconds: after the start, during which failures do not count.
    """

    command: Sequence[str]
    interval_seconds: float = 2
    timeout_seconds: float = 3
    retries: int = 5
    start_seconds: float = 20


@dataclass(frozen=True, kw_only=True)
class Update:
    """How a changed service replaces its containers; what fails is rolled back.

    Args:
        order: `start-first` where two may live side by side.
        monitor_seconds: how long a new container is watched after it was ready.
        delay_seconds: from one container's readiness to the next one's turn.
    """

    order: Literal["start-first", "stop-first"] = "stop-first"
    monitor_seconds: float = 5
    delay_seconds: float = 0


@dataclass(frozen=True, kw_only=True)
class Restart:
    """How often Swarm replaces a container that ended.

    Args:
        delay_seconds: before each restart.
        attempts: within the window; then Swarm gives up, for good: it looks again only when the service changes.
        window_seconds: see above.
    """

    delay_seconds: int = 2
    attempts: int = FOREVER
    window_seconds: int = 120


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port of the node that leads to a container on it.

    Args:
        published: on the node.
        target: in the container.
    """

    published: int
    target: int


@dataclass(frozen=True, kw_only=True)
class ServiceArgs:
    """One service.

    Args:
        names: the environment's names.
        part: which part it is; its name, and its DNS name, follow from it.
        image: by digest, where that is known.
        uid: user and group that it runs as; never 0.
        limits: of each container.
        health: its check.
        networks: ids.
        command: what replaces the image's entry point; None leaves it.
        args: what replaces the image's command; None leaves it.
        env: environment variables; never a secret.
        resolver_options: of resolv.conf(5), where Docker's own are not right.
        files: secrets and configs.
        mounts: volumes and memory. All else is read-only.
        kept_capabilities: of Docker's default ones, which a file of the image needs to be run at all. Never more.
        ports: that the node publishes.
        replicas: how many containers.
        one_a_node: never two of them on one node.
        stop_seconds: from the stop signal to the kill.
        stop_signal: where it is another than the image's.
        update: see there.
        restart: see there.
        constraints: where it may run, as `node.id == ...`.
        wait_seconds: how long `up` waits until it stands.
        after: what must be there before.
    """

    names: Names
    part: str
    image: pulumi.Input[str]
    uid: int
    limits: Limits
    health: Health
    networks: Sequence[pulumi.Input[str]]
    command: Sequence[pulumi.Input[str]] | None = None
    args: Sequence[str] | None = None
    env: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    resolver_options: Sequence[str] = ()
    files: Sequence[MountedFile] = ()
    mounts: Sequence[Mount] = ()
    kept_capabilities: Sequence[str] = ()
    ports: Sequence[Port] = ()
    replicas: int = 1
    one_a_node: bool = False
    stop_seconds: int = 10
    stop_signal: str | None = None
    update: Update = Update()
    restart: Restart = Restart()
    constraints: Sequence[pulumi.Input[str]] = ()
    wait_seconds: int = 120
    after: Sequence[pulumi.Resource] = ()

    def __post_init__(self) -> None:
        """Refuse what no container of ours may be."""
        if self.uid == 0:
            raise ValueError(f"{self.part}: no container runs as root")

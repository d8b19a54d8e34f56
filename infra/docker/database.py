"""PostgreSQL 18: a container on a volume, or a managed one that a secret URL names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import certifi
import pulumi

from infra.contract import ADMIN_ROLE, DATABASE_NAME, IMAGE_UID
from infra.docker import database_settings
from infra.docker.mounts import Mount, MountedFile
from infra.docker.names import Names
from infra.docker.node import Node
from infra.docker.secrets import Secrets, config
from infra.docker.service import Health, Limits, Restart, Service, ServiceArgs
from infra.docker.volume import volume
from infra.managed_database import managed_database
from infra.stack_keys import Database as Keys

PORT: Final = 5432
UID: Final = 999
"""User `postgres` of the public image, which its files belong to."""
DATA_FOLDER: Final = "/var/lib/postgresql"
"""Of PostgreSQL 18's public image; the cluster is in 18/docker below, so that an upgrade finds both on one volume."""
CA_FILE: Final = "/etc/slipway/database-ca.pem"
STOP_SECONDS: Final = 120
"""A shutdown writes out what is in memory; a kill instead costs a recovery at the next start."""


@dataclass(frozen=True, kw_only=True)
class DatabaseArgs:
    """What the database depends on.

    Args:
        names: the environment's names.
        keys: the stack's section `database`.
        image: of PostgreSQL.
        network: id of the internal network.
        secrets: with `admin_password` where it runs here.
        keep_days: how long archived WAL is kept; None: none is archived.
        protect: whether its volumes outlive everything, as in production.
        url: of a managed one, secret; None where it runs here.
        project: the folder that `caFile` is relative to.
        host: the engine; None for DOCKER_HOST's.
    """

    names: Names
    keys: Keys
    image: str
    network: pulumi.Output[str]
    secrets: Secrets
    keep_days: int | None
    protect: bool
    url: pulumi.Output[str] | None = None
    project: Path = Path()
    host: str | None = None


class Database(pulumi.ComponentResource):
    """A PostgreSQL server, and how its clients reach it."""

    address: pulumi.Output[str]
    """Host name, or the service's name."""
    port: pulumi.Output[int]
    tls: bool
    """Whether clients verify its certificate; on the internal network it has none."""
    admin_url: pulumi.Output[str]
    """For the bootstrap, without the password."""
    constraints: list[pulumi.Output[str]]
    """Where its volumes are, and those of the parts around it."""
    volume: pulumi.Output[str] | None
    """The data's volume; None for a managed one."""
    wal_volume: pulumi.Output[str] | None
    """The archived WAL's volume; None for a managed one."""
    files: list[MountedFile]
    """What its clients of our image need to verify it."""
    authorities: list[MountedFile]
    """What its clients of public images need to verify it: some, PostgreSQL's for one, trust no authority at all."""
    ready: list[pulumi.Resource]
    """Depend on these to come after it answers."""

    def __init__(self, name: str, args: DatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:docker:Database", name, None, opts)
        self.files, self.authorities = [], []
        if args.url is None:
            self._in_a_container(args)
        else:
            self._managed(args, args.url)
        self.register_outputs({"address": self.address, "port": self.port, "volume": self.volume})

    def url(self, role: str, database: str = DATABASE_NAME) -> pulumi.Output[str]:
        """The address for one role, without its password."""
        return pulumi.Output.format("postgresql://{0}@{1}:{2}/{3}", role, self.address, self.port, database)

    @property
    def settings(self) -> dict[str, str]:
        """What clients of our image are told about TLS."""
        settings = {"SLIPWAY_DATABASE_TLS": "true" if self.tls else "false"}
        return settings | ({"SLIPWAY_DATABASE_CA_FILE": CA_FILE} if self.files else {})

    def _managed(self, args: DatabaseArgs, url: pulumi.Output[str]) -> None:
        # Only the password is a secret; where the server is stands in every client's settings.
        self.address = pulumi.Output.unsecret(url.apply(lambda text: managed_database(text).host))
        self.port = pulumi.Output.unsecret(url.apply(lambda text: managed_database(text).port))
        self.admin_url = pulumi.Output.unsecret(url.apply(lambda text: managed_database(text).admin_url))
        self.tls, self.volume, self.wal_volume = True, None, None
        self.constraints, self.ready = [self._here(args)], []
        ca_file = args.keys.ca_file
        text = certifi.contents() if ca_file is None else _certificates(args.project / ca_file)
        self.authorities = [config(args.names, "database", "ca", text, parent=self).at(CA_FILE, uid=IMAGE_UID)]
        if ca_file is not None:
            self.files = self.authorities

    def _in_a_container(self, args: DatabaseArgs) -> None:
        keys, names = args.keys, args.names
        storage = keys.storage or names.of("database")
        data = volume(names, "database", "database", parent=self, name=storage, kept=args.protect)
        wal = volume(names, "wal", "database", parent=self, name=f"{storage}-wal", kept=args.protect)
        self.constraints = [self._here(args)]
        told = database_settings.settings(
            memory_mib=keys.memory_mib,
            cpus=keys.cpus,
            max_connections=keys.max_connections,
            keep_days=args.keep_days,
        )
        password = "/run/secrets/admin_password"  # noqa: S105 - a path
        served = Service(
            names.of("database"),
            ServiceArgs(
                names=names,
                part="database",
                image=args.image,
                uid=UID,
                limits=Limits(cpus=keys.cpus, memory_mib=keys.memory_mib),
                health=health(),
                networks=[args.network],
                args=database_settings.arguments(told),
                env={
                    "POSTGRES_USER": ADMIN_ROLE,
                    "POSTGRES_DB": "postgres",
                    "POSTGRES_PASSWORD_FILE": password,
                    "POSTGRES_INITDB_ARGS": "--encoding=UTF8 --locale=C.UTF-8 --data-checksums",
                },
                files=[args.secrets["admin_password"].at(password, uid=UID)],
                mounts=[
                    Mount(DATA_FOLDER, volume=data.name),
                    Mount("/var/tmp", volume=wal.name),  # noqa: S108 - see mounts.py
                    Mount("/var/run/postgresql"),
                    Mount("/tmp", size_mib=64),  # noqa: S108 - memory of its own
                    Mount("/dev/shm", size_mib=keys.memory_mib // database_settings.SHARED_MEMORY_SHARE),  # noqa: S108
                ],
                stop_seconds=STOP_SECONDS,
                stop_signal="SIGINT",  # "fast": ends sessions and rolls back; SIGTERM would wait for them
                restart=Restart(delay_seconds=1),
                constraints=self.constraints,
            ),
            pulumi.ResourceOptions(parent=self),
            host=args.host,
        )
        self.address, self.port = served.name, pulumi.Output.from_input(PORT)
        self.admin_url = self.url(ADMIN_ROLE, "postgres")
        self.tls, self.volume, self.wal_volume = False, data.name, wal.name
        self.ready = [served.ready]

    def _here(self, args: DatabaseArgs) -> pulumi.Output[str]:
        """On the node of the engine that makes the volumes."""
        here = Node(args.names.of("node"), host=args.host, opts=pulumi.ResourceOptions(parent=self))
        return here.node.apply(lambda node: f"node.id=={node}")


def _certificates(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no text"
        raise pulumi.RunError(f"database.caFile {path}: {reason}: give its path from the project's folder") from None


def health() -> Health:
    """Over TCP: while the image makes its cluster, a server answers on a socket only."""
    command = ("CMD", "pg_isready", "--quiet", "--host=127.0.0.1", f"--username={ADMIN_ROLE}", "--dbname=postgres")
    # Crash recovery answers nobody, and on a slow disk replays max_wal_size for many minutes: a kill in the middle
    # would have it begin anew, for ever. The first success ends this period; `up` waits for wait_seconds at most.
    return Health(command=command, interval_seconds=2, timeout_seconds=3, retries=15, start_seconds=3600)

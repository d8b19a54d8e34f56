"""Backups: dumps of the database on a schedule, kept on a volume of their own.

Swarm has no schedule. A service whose container ends, to be started again after a delay, was rejected: Swarm counts
it as failed nearly all of the time, every update starts it anew, and nothing lives that a health check could ask. So
one small container of PostgreSQL's image lives on, sleeps, and dumps whenever the newest dump is older than the stack
says (files/backup.sh): a restart neither forgets what is due nor adds to it.

It dumps as `slipway_monitor`, which reads all rows and writes none. Dumps are as old as their start; recovery to any
point in time, drills, and an object store are not here yet.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pulumi

from infra.contract import DATABASE_NAME, IMAGE_UID, MONITOR_ROLE
from infra.docker.database import CA_FILE, Database
from infra.docker.mounts import Mount
from infra.docker.names import Names
from infra.docker.network import Network
from infra.docker.secrets import Secrets, config
from infra.docker.service import Health, Limits, Service, ServiceArgs
from infra.docker.volume import volume
from infra.stack_keys import Backups as Keys

SCRIPT: Final = Path(__file__).parent / "files" / "backup.sh"
SCRIPT_PATH: Final = "/etc/slipway/backup.sh"
PASSWORD_PATH: Final = "/run/secrets/monitor_password"  # noqa: S105 - a path
FOLDER: Final = "/var/tmp"  # noqa: S108 - a volume; see mounts.py for why there
FIGURES: Final = "/tmp"  # noqa: S108 - a volume, on the other folder that every image lets everybody write
SCRATCH: Final = "/dev/shm"  # noqa: S108 - memory of its own
RETRY_SECONDS: Final = 300
HOUR_SECONDS: Final = 3600
DAY_SECONDS: Final = 24 * HOUR_SECONDS


@dataclass(frozen=True, kw_only=True)
class BackupsArgs:
    """What the backups depend on.

    Args:
        names: the environment's names.
        keys: the stack's section `backups`.
        image: of PostgreSQL, not older than the server.
        network: both; the edge's only where the database is outside.
        database: what is dumped.
        secrets: with `monitor_password`.
        protect: whether the dumps outlive everything, as in production.
        after: what must be there before: the migrated schema.
        host: the engine; None for DOCKER_HOST's.
    """

    names: Names
    keys: Keys
    image: str
    network: Network
    database: Database
    secrets: Secrets
    protect: bool
    after: list[pulumi.Resource]
    host: str | None = None


class Backups(pulumi.ComponentResource):
    """The container that dumps, and the volume of its dumps."""

    service: pulumi.Output[str]
    volume: pulumi.Output[str]
    """Where the dumps are: `<UTC time>.dump`, for pg_restore."""
    figures: pulumi.Output[str]
    """The volume with the figures for Prometheus, which runs on the same node."""

    def __init__(self, name: str, args: BackupsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:docker:Backups", name, None, opts)
        if args.keys.url is not None:
            raise pulumi.RunError("slipway:backups.url: object stores are not supported yet: remove it")
        names = args.names
        dumps = volume(names, "backups", "backup", parent=self, kept=args.protect)
        figures = volume(names, "backup-figures", "backup", parent=self)
        script = config(names, "backup", "script", SCRIPT.read_text(), parent=self)
        served = Service(
            names.of("backup"),
            ServiceArgs(
                names=names,
                part="backup",
                image=args.image,
                uid=IMAGE_UID,
                limits=Limits(cpus=0.5, memory_mib=256),
                health=health(),
                networks=[args.network.internal if args.database.volume is not None else args.network.edge],
                command=["sh", SCRIPT_PATH, "run"],
                env=environment(args),
                files=[
                    script.at(SCRIPT_PATH, uid=IMAGE_UID),
                    args.secrets["monitor_password"].at(PASSWORD_PATH, uid=IMAGE_UID),
                    *args.database.authorities,
                ],
                mounts=[Mount(FOLDER, volume=dumps.name), Mount(FIGURES, volume=figures.name), Mount(SCRATCH)],
                constraints=args.database.constraints,
                after=args.after,
            ),
            pulumi.ResourceOptions(parent=self),
            host=args.host,
        )
        self.service, self.volume, self.figures = served.name, dumps.name, figures.name
        self.register_outputs({"service": self.service, "volume": self.volume})


def environment(args: BackupsArgs) -> dict[str, pulumi.Input[str]]:
    """What the script and libpq are told; no secret."""
    database, keys = args.database, args.keys
    return {
        "PGHOST": database.address,
        "PGPORT": database.port.apply(str),
        "PGDATABASE": DATABASE_NAME,
        "PGUSER": MONITOR_ROLE,
        **({"PGSSLMODE": "verify-full", "PGSSLROOTCERT": CA_FILE} if database.tls else {}),
        "PASSWORD_FILE": PASSWORD_PATH,
        "FOLDER": FOLDER,
        "FIGURES": FIGURES,
        "SCRATCH": SCRATCH,
        "EVERY_SECONDS": str(keys.every_hours * HOUR_SECONDS),
        "KEEP_SECONDS": str(keys.keep_days * DAY_SECONDS),
        "RETRY_SECONDS": str(RETRY_SECONDS),
    }


def health() -> Health:
    """That the loop lives, not that the last dump was good: no restart mends a full disk. An alert tells of that."""
    return Health(command=("CMD", "sh", SCRIPT_PATH, "alive"), interval_seconds=10, retries=3, start_seconds=10)

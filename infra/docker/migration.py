"""The jobs that prepare the database for a release: the bootstrap of roles and database, then the schema.

Both run from the release's own image, before the API changes, and again only when what keys them does.
"""

import re
from dataclasses import dataclass
from typing import Final

import pulumi

from infra.contract import (
    BOOTSTRAP_COMMAND,
    IMAGE_SECRETS_DIR,
    IMAGE_UID,
    MIGRATION_COMMAND,
    MIGRATOR_ROLE,
    SECRETS_DIR_SETTING,
    job_settings,
)
from infra.docker.database import Database
from infra.docker.job import Job, JobArgs
from infra.docker.mounts import Mount
from infra.docker.names import Names
from infra.docker.secrets import Secrets

BOOTSTRAP_SECONDS: Final = 120
MIGRATION_SECONDS: Final = 3600
"""The job bounds itself by lock and statement timeouts; this is the last resort."""
_SCHEMA = re.compile(r"schema is at (\S+?),")


@dataclass(frozen=True, kw_only=True)
class MigrationArgs:
    """What the jobs depend on.

    Args:
        names: the environment's names.
        kind: whose rules hold; the service's own `environment`.
        image: the release's.
        networks: ids; the edge network only for a managed database.
        database: what is prepared.
        secrets: with all roles' passwords.
        host: the engine; None for DOCKER_HOST's.
    """

    names: Names
    kind: str
    image: pulumi.Input[str]
    networks: list[pulumi.Input[str]]
    database: Database
    secrets: Secrets
    host: str | None = None


class Migration(pulumi.ComponentResource):
    """A database that this release can run on."""

    schema: pulumi.Output[str]
    """The head that the schema is at."""
    done: pulumi.Resource
    """Depend on this to come after it."""

    def __init__(self, name: str, args: MigrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:docker:Migration", name, None, opts)
        url = args.database.admin_url
        bootstrap = self._job("bootstrap", BOOTSTRAP_COMMAND, url, BOOTSTRAP_SECONDS, args, after=args.database.ready)
        url = args.database.url(MIGRATOR_ROLE)
        upgrade = self._job("migration", MIGRATION_COMMAND, url, MIGRATION_SECONDS, args, after=[bootstrap])
        self.schema = upgrade.log.apply(schema_of)
        self.done = upgrade
        self.register_outputs({"schema": self.schema})

    def _job(
        self,
        process: str,
        command: tuple[str, ...],
        url: pulumi.Output[str],
        seconds: int,
        args: MigrationArgs,
        *,
        after: list[pulumi.Resource],
    ) -> Job:
        env: dict[str, pulumi.Input[str]] = dict(job_settings(environment=args.kind, database_url=""))
        env |= {
            "SLIPWAY_DATABASE_URL": url,
            "SLIPWAY_DATABASE_START_WAIT_SECONDS": "60",
            SECRETS_DIR_SETTING: IMAGE_SECRETS_DIR,
            **args.database.settings,
        }
        return Job(
            args.names.of(process),
            JobArgs(
                names=args.names,
                part=process,
                image=args.image,
                command=command,
                uid=IMAGE_UID,
                networks=args.networks,
                env=env,
                files=[*args.secrets.of(process), *args.database.files],
                mounts=[Mount("/tmp")],  # noqa: S108 - memory of its own
                seconds=seconds,
                host=args.host,
            ),
            pulumi.ResourceOptions(parent=self, depends_on=after),
        )


def schema_of(log: str | None) -> str:
    """The head that the migration's last line names; `unknown` where it names none."""
    found = _SCHEMA.findall(log or "")
    return str(found[-1]) if found else "unknown"

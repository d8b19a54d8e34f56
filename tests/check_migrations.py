"""Whether the migrations make just the tables that the models describe (alembic check), on a real PostgreSQL."""

import sys

from infra.contract import MIGRATOR_ROLE, SECRETS_DIR_SETTING, job_settings
from infra.embedded import secrets
from infra.embedded.migration import command
from infra.embedded.processes import ProcessError, run_job
from tests.environments import ROOT, migrated_database


def main() -> int:
    """Migrate an empty database to the head and compare it with the models."""
    try:
        with migrated_database() as database:
            settings = job_settings(environment="local", database_url=database.url(MIGRATOR_ROLE)) | {
                SECRETS_DIR_SETTING: str(secrets.folder_of(database.layout, "migration"))
            }
            run_job(command("check"), settings=settings, folder=ROOT, timeout_seconds=60)
    except ProcessError as error:
        print(f"the migrations and the models differ: {error}; add a revision", file=sys.stderr)
        return 1
    print("the migrations make what the models describe")
    return 0


if __name__ == "__main__":
    sys.exit(main())

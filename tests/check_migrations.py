"""Whether the migrations make just the tables that the models describe (alembic check), on a real PostgreSQL."""

import sys
import tempfile
from pathlib import Path

from infra.contract import MIGRATOR_ROLE, SECRETS_DIR_SETTING, job_settings
from infra.embedded import secrets
from infra.embedded.database import Database
from infra.embedded.layout import Layout
from infra.embedded.migration import Migration, clean, command
from infra.embedded.processes import ProcessError, run_job

ROOT = Path(__file__).parent.parent


def main() -> int:
    """Migrate an empty database to the head and compare it with the models."""
    with tempfile.TemporaryDirectory(prefix="slipway-check-") as folder:
        layout = Layout(Path(folder))
        layout.create()
        secrets.ensure(layout)
        database = Database(layout)
        database.start()
        try:
            job = Migration(layout, ROOT)
            job.bootstrap()
            job.upgrade(layout.home / "migration.json")
            settings = job_settings(environment="local", database_url=database.url(MIGRATOR_ROLE)) | {
                SECRETS_DIR_SETTING: str(secrets.folder_of(layout, "migration"))
            }
            run_job(command("check"), environment=clean(settings), folder=ROOT, timeout_seconds=60)
        except ProcessError as error:
            print(f"the migrations and the models differ: {error}; add a revision", file=sys.stderr)
            return 1
        finally:
            database.stop()
    print("the migrations make what the models describe")
    return 0


if __name__ == "__main__":
    sys.exit(main())

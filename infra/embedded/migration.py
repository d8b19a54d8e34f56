"""The migration job and its bootstrap, run from a release's snapshot as a process of their own."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from infra.contract import ADMIN_ROLE, DATABASE_NAME, MIGRATION_MODULE, MIGRATOR_ROLE, SECRETS_DIR_SETTING, job_settings
from infra.embedded import secrets
from infra.embedded.database import Database
from infra.embedded.layout import Layout, write_atomically
from infra.embedded.processes import run_job

BOOTSTRAP_SECONDS = 60
MIGRATION_SECONDS = 3600
"""The job bounds itself by lock and statement timeouts; this is the last resort."""


@dataclass(frozen=True)
class Migration:
    """The jobs that prepare the database for one release.

    Args:
        layout: the environment's folders.
        snapshot: the release's folder, with `service/` and `release.json`.
    """

    layout: Layout
    snapshot: Path

    def bootstrap(self) -> None:
        """Make the database and the roles, or bring them to today's passwords and rights; nothing where they are.

        Raises:
            ProcessError: the job failed, with what it said.
        """
        done, wanted = Database(self.layout).bootstrapped, self._bootstrap_digest()
        if done.exists() and done.read_text() == wanted:
            return
        self._run("bootstrap", (), ADMIN_ROLE, "postgres", BOOTSTRAP_SECONDS)
        write_atomically(done, wanted)

    def _bootstrap_digest(self) -> str:
        """What the bootstrap does depends on its source and on the passwords it sets."""
        total = hashlib.sha256((self.snapshot / "service" / "migrations" / "bootstrap.py").read_bytes())
        for name in secrets.PASSWORDS:
            total.update(secrets.read(self.layout, name).encode())
        return total.hexdigest()

    def upgrade(self, report: Path) -> None:
        """Bring the schema to this release's head; the job writes its report there.

        Raises:
            ProcessError: the job failed, with what it said.
        """
        self._run("migration", ("--report", str(report)), MIGRATOR_ROLE, DATABASE_NAME, MIGRATION_SECONDS)

    def _run(self, process: str, words: tuple[str, ...], role: str, database: str, timeout_seconds: float) -> None:
        verb = "upgrade" if process == "migration" else process
        settings = job_settings(
            environment=self.layout.environment,
            database_url=Database(self.layout).url(role, database),
        ) | {SECRETS_DIR_SETTING: str(secrets.folder_of(self.layout, process))}
        run_job(command(verb, *words), settings=settings, folder=self.snapshot, timeout_seconds=timeout_seconds)


def command(*words: str) -> tuple[str, ...]:
    """The job's command line; `-m` puts the current folder, the snapshot, before everything installed."""
    return (sys.executable, "-m", MIGRATION_MODULE, *words)

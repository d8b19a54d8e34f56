"""An embedded environment's folders with their secrets, for tests that need real parts."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from infra.embedded import secrets
from infra.embedded.database import Database
from infra.embedded.layout import Layout
from infra.embedded.migration import Migration

ROOT = Path(__file__).parent.parent


@contextlib.contextmanager
def fresh_layout() -> Iterator[Layout]:
    """Folders and secrets; nothing runs yet, and whoever starts a part stops it."""
    # A short path of its own: pytest's own temporary folders are too deep for a socket's name.
    with tempfile.TemporaryDirectory(prefix="slipway-test-", ignore_cleanup_errors=True) as folder:
        layout = Layout(Path(folder))
        layout.create()
        secrets.ensure(layout)
        yield layout


@contextlib.contextmanager
def migrated_database() -> Iterator[Database]:
    """PostgreSQL with this checkout's schema and roles."""
    with fresh_layout() as layout:
        database = Database(layout)
        database.start()
        try:
            job = Migration(layout, ROOT)
            job.bootstrap()
            job.upgrade(layout.home / "migration.json")
            yield database
        finally:
            database.stop()


def untraced(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a process whose coverage would tell nothing new, and cost half as much time again."""
    return {name: value for name, value in variables.items() if not name.startswith("COVERAGE_")}


def copy_source(project: Path) -> None:
    """The source that a release is made of, as it stands in this checkout."""
    shutil.rmtree(project / "service", ignore_errors=True)
    shutil.copytree(ROOT / "service", project / "service", ignore=shutil.ignore_patterns("__pycache__"))
    (project / "requirements").mkdir(exist_ok=True)
    shutil.copy(ROOT / "requirements" / "service.txt", project / "requirements")
    shutil.copy(ROOT / "pyproject.toml", project)

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service.conftest import ROOT


@pytest.fixture
def snapshot(tmp_path: Path) -> Callable[..., Path]:
    """Makes a release's snapshot whose migrations go on after ours: `snapshot({"0003": "op.execute(...)"})`."""

    def make(revisions: dict[str, str], accepts_from: str = "0001") -> Path:
        folder = tmp_path / f"snapshot-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(ROOT / "service", folder / "service", ignore=shutil.ignore_patterns("__pycache__"))
        for revision, statement in revisions.items():
            content = (
                f'"""Revision {revision}."""\nimport time\nfrom alembic import op\nimport sqlalchemy as sa\n'
                f'revision = "{revision}"\ndown_revision = "{int(revision) - 1:04}"\naccepts_from = "{accepts_from}"\n'
                f"def upgrade() -> None:\n    {statement}\n"
            )
            (folder / f"service/migrations/versions/{revision}_more.py").write_text(content)
        return folder

    return make

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded.layout import Layout

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def project() -> Iterator[Layout]:
    """A copy of what a release is made of, to change at will; its path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="slipway-test-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        shutil.copytree(ROOT / "service", root / "service", ignore=shutil.ignore_patterns("__pycache__"))
        (root / "requirements").mkdir()
        shutil.copy(ROOT / "requirements" / "service.txt", root / "requirements")
        shutil.copy(ROOT / "pyproject.toml", root)
        layout = Layout(root)
        layout.create()
        yield layout

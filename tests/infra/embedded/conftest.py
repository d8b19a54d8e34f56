import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded import secrets
from infra.embedded.layout import Layout


@pytest.fixture
def layout() -> Iterator[Layout]:
    """A fresh environment's folders and secrets, for a test that stops and breaks things."""
    with tempfile.TemporaryDirectory(prefix="slipway-test-", ignore_cleanup_errors=True) as folder:
        layout = Layout(Path(folder))
        layout.create()
        secrets.ensure(layout)
        yield layout

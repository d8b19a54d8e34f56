import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded.layout import Layout
from tests.environments import copy_source


@pytest.fixture
def project() -> Iterator[Layout]:
    """A copy of what a release is made of, to change at will; its path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="slipway-test-", ignore_cleanup_errors=True) as folder:
        layout = Layout(Path(folder))
        copy_source(layout.project)
        layout.create()
        yield layout

from collections.abc import Iterator

import pytest

from infra.embedded.layout import Layout
from tests.environments import fresh_layout


@pytest.fixture
def layout() -> Iterator[Layout]:
    """A fresh environment's folders and secrets, for a test that stops and breaks things."""
    with fresh_layout() as layout:
        yield layout

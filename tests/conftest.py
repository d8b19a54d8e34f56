"""Real parts for the whole suite: one PostgreSQL and one Valkey for each test process, as the embedded target."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded import secrets
from infra.embedded.cache import Cache
from infra.embedded.database import Database
from infra.embedded.layout import Layout


@pytest.fixture(scope="session")
def parts() -> Iterator[Layout]:
    """An embedded environment's folder with its secrets; nothing in it runs yet."""
    # A short path of its own: pytest's own temporary folders are too deep for a socket's name.
    with tempfile.TemporaryDirectory(prefix="slipway-test-", ignore_cleanup_errors=True) as folder:
        layout = Layout(Path(folder))
        layout.create()
        secrets.ensure(layout)
        yield layout


@pytest.fixture(scope="session")
def postgres(parts: Layout) -> Iterator[Database]:
    """PostgreSQL 18, empty but for its superuser."""
    database = Database(parts)
    database.start()
    yield database
    database.stop()


@pytest.fixture(scope="session")
def valkey(parts: Layout) -> Iterator[Cache]:
    """Valkey 9 with a password."""
    cache = Cache(parts)
    cache.start()
    yield cache
    cache.stop()

"""Real parts for the whole suite: one PostgreSQL and one Valkey for each test process, as the embedded target."""

import signal
from collections.abc import Iterator

import pytest

from infra.embedded.cache import Cache
from infra.embedded.database import Database
from infra.embedded.layout import Layout
from tests.environments import fresh_layout

# A shell that starts us in the background lets us ignore it, our children would inherit that, and some must meet it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def parts() -> Iterator[Layout]:
    """An embedded environment's folder with its secrets; nothing in it runs yet."""
    with fresh_layout() as layout:
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

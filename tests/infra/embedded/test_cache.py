import time

import pytest

from infra.embedded.cache import Cache
from infra.embedded.layout import Layout


def test_it_starts_once_and_stops(layout: Layout) -> None:
    cache = Cache(layout)
    assert not cache.answers()
    try:
        assert cache.start()
        first = cache.process()
        assert not cache.start()
        assert cache.process() == first
        assert cache.configuration.stat().st_mode & 0o777 == 0o600
    finally:
        cache.stop()
    assert cache.process() is None


def test_it_comes_back_after_kill_9(layout: Layout) -> None:
    cache = Cache(layout)
    try:
        cache.start()
        server = cache.process()
        assert server is not None
        server.kill()
        server.wait(30)
        assert cache.start()
        assert cache.answers()
    finally:
        cache.stop()


def test_one_that_hangs_is_replaced(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.embedded.cache.STOP_SECONDS", 1)
    cache = Cache(layout)
    try:
        cache.start()
        server = cache.process()
        assert server is not None
        server.suspend()
        started = time.monotonic()
        assert cache.start()
        assert time.monotonic() - started < 30
        assert cache.answers()
    finally:
        cache.stop()

"""Valkey: what may be lost, and whose absence slows or loosens things but stops nothing.

Behind a circuit breaker: the first call that fails, or takes longer than `cache_timeout_seconds`, opens it. From then
on nobody waits for Valkey: calls fail at once, and a probe of our own, one at a time, closes the breaker when Valkey
does its work again. valkey-py's own timeouts and retries stay off, so that one time holds for a whole call.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from valkey.asyncio import ConnectionPool, Valkey
from valkey.exceptions import ValkeyError

from service.outages import Outage
from service.settings import Settings

_PROBE_SECONDS = 1.0
_FAILURES = (ValkeyError, OSError, TimeoutError)

T = TypeVar("T")


class CacheUnavailableError(Exception):
    """Valkey is away, too slow, full or refuses us; the cause is its `__cause__`, if this call met it."""


class Cache:
    """The way to Valkey; `available` is False while the breaker is open."""

    def __init__(self, settings: Settings) -> None:
        url = settings.cache_url
        tls = {"ssl_check_hostname": True} if url.startswith(("rediss://", "valkeys://")) else {}
        self.pool = ConnectionPool.from_url(
            url,
            password=settings.cache_password.get_secret_value() or None,
            max_connections=settings.cache_pool_size,
            socket_timeout=None,
            lib_name=None,  # or each connection would begin with two more commands
            lib_version=None,
            **tls,
        )
        self.client = Valkey(connection_pool=self.pool)
        self.available = True
        self._timeout_seconds = settings.cache_timeout_seconds
        # Not valkey-py's blocking pool: a call that is cancelled while it gives a connection back would keep it.
        self._places = asyncio.Semaphore(settings.cache_pool_size)
        self._outage = Outage("valkey")
        self._probe: asyncio.Task[None] | None = None

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Await `work()`, which uses `client` or `pool`, one command at a time, within `cache_timeout_seconds`.

        Raises:
            CacheUnavailableError: it failed or took too long, or a call before this one did.
        """
        if not self.available:
            raise CacheUnavailableError
        try:
            async with asyncio.timeout(self._timeout_seconds), self._places:
                return await work()
        except _FAILURES as error:
            self._open_breaker(error)
            raise CacheUnavailableError from error

    async def ping(self) -> None:
        """See whether Valkey would do its work: one that is full, or a replica, answers a PING but stores nothing.

        Raises:
            CacheUnavailableError: it would not, or did not a moment ago.
        """
        await self.call(self._store_something)

    async def close(self) -> None:
        """Close every connection."""
        if self._probe is not None:
            self._probe.cancel()
        with contextlib.suppress(TimeoutError):  # TLS says good-bye, and a Valkey that hangs never answers
            async with asyncio.timeout(self._timeout_seconds):
                await self.pool.disconnect()

    async def _store_something(self) -> None:
        await self.client.set("slipway:probe", 1, px=1000)

    def _open_breaker(self, error: BaseException) -> None:
        if not self.available:
            return
        self.available = False
        is_slow = isinstance(error, TimeoutError)
        self._outage.met(f"no answer within {self._timeout_seconds:g} s" if is_slow else repr(error))
        self._probe = asyncio.create_task(self._probe_until_available())

    async def _probe_until_available(self) -> None:
        while not self.available:
            await asyncio.sleep(_PROBE_SECONDS * random.uniform(0.8, 1))  # noqa: S311 - many workers, not in step
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await self._store_something()
            except _FAILURES:
                continue
            self.available = True
            self._outage.ended()

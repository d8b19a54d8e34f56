"""Kept HTTP/1.1 connections that cost a load generator little: one request at a time, no tasks, no streams."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import TypeAlias, cast
from urllib.parse import urlsplit

import httptools

__all__ = ["Done", "Exchange", "Exchanges"]

Done: TypeAlias = Callable[[int, bytes, float, str], None]
"""Called once a request with status (0: no answer), body, when it ended (performance counter), and what failed."""


class Exchange(asyncio.Protocol):
    """One connection. It parses answers with httptools, and is given back to its pool after each."""

    def __init__(self, pool: "Exchanges") -> None:
        self._pool = pool
        self._done: Done | None = None
        self._body = bytearray()
        self._parser = httptools.HttpResponseParser(self)
        self.asked_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready to be asked."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own classes do not derive from it

    def ask(self, request: bytes, done: Done) -> None:
        """Send a request; `done` is called when all of its answer is here, or none will come."""
        self._done = done
        self._body.clear()
        self.asked_at = perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """More of the answer."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(type(error).__name__)

    def on_body(self, data: bytes) -> None:
        """httptools: a piece of the body."""
        self._body += data

    def on_message_complete(self) -> None:
        """httptools: the answer is whole."""
        done, self._done = self._done, None
        if done is None:
            return
        ended = perf_counter()
        status = self._parser.get_status_code()
        if self._parser.should_keep_alive():
            self._parser = httptools.HttpResponseParser(self)
            self._pool.free(self)
        else:
            self._pool.forget(self)
        done(status, bytes(self._body), ended, "")

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed by either side."""
        self.fail(type(exc).__name__ if exc else "connection closed")

    def fail(self, reason: str) -> None:
        """Let go of the connection; whoever waits on it is told why."""
        done, self._done = self._done, None
        self._pool.forget(self)
        if done is not None:
            done(0, b"", perf_counter(), reason)


class Exchanges:
    """The connections to one server: as many as are needed at once, used in turn.

    Args:
        server: its URL, without path.
        trust: whom to trust where it is an https one.
    """

    def __init__(self, server: str, trust: ssl.SSLContext | None = None) -> None:
        self._url, self._trust = urlsplit(server), trust
        self.netloc = self._url.netloc
        self._idle: deque[Exchange] = deque()
        self._all: set[Exchange] = set()

    async def ask(self, request: bytes, done: Done) -> None:
        """Send a request over the connection that has been idle longest, or over a new one."""
        if self._idle:
            self._idle.popleft().ask(request, done)
            return
        try:
            exchange = await self._open()
        except OSError as error:
            done(0, b"", perf_counter(), type(error).__name__)
            return
        exchange.ask(request, done)

    def try_ask(self, request: bytes, done: Done) -> bool:
        """Send a request if a connection is idle, at once; whether one was."""
        if self._idle:
            self._idle.popleft().ask(request, done)
            return True
        return False

    async def open(self, count: int) -> None:
        """Have so many connections ready.

        Raises:
            OSError: the server takes none.
        """
        for exchange in [await self._open() for _ in range(count)]:
            self._idle.append(exchange)

    def free(self, exchange: Exchange) -> None:
        """It can be asked again."""
        self._idle.append(exchange)

    def forget(self, exchange: Exchange) -> None:
        """It cannot."""
        if exchange in self._all:
            self._all.discard(exchange)
            if exchange in self._idle:
                self._idle.remove(exchange)
            exchange.transport.abort()

    def expire(self, before: float) -> None:
        """Give up requests that were sent before this moment on the performance counter."""
        for exchange in [each for each in self._all if each not in self._idle and each.asked_at < before]:
            exchange.fail("timeout")

    def close(self) -> None:
        """All of them, at once."""
        for exchange in list(self._all):
            exchange.fail("closed")

    async def _open(self) -> Exchange:
        secure = self._url.scheme == "https"
        port = self._url.port or (443 if secure else 80)
        _, exchange = await asyncio.get_running_loop().create_connection(
            lambda: Exchange(self), self._url.hostname or "", port, ssl=self._trust if secure else None
        )
        self._all.add(exchange)
        return exchange

"""A client that asks again as soon as it is answered: how many answers a second a server gives, and how long one takes.

It sends bytes made beforehand over keep-alive connections and reads of an answer no more than where it ends: it must
never be what limits the rate (measured: several times the ceiling's rate).
"""

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle
from time import perf_counter
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import numpy as np

from loadtests.connection import request_bytes
from loadtests.journeys import Request
from loadtests.stats import Floats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["ClosedLoopError", "answers", "latencies_ms", "requests_per_second"]

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class ClosedLoopError(Exception):
    """A server did not answer as it should; the message says which one and what came, in one line."""


class _Load:
    """What the connections of one measurement share."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, reason: str) -> None:
        """End the measurement."""
        if not self.failure.done():
            self.failure.set_exception(ClosedLoopError(reason))


class _Connection(asyncio.Protocol):
    """Sends a request, and the next one as soon as it is answered."""

    def __init__(self, load: _Load, requests: Iterator[bytes], status: int) -> None:
        self.load, self.requests = load, requests
        self.expected = f"HTTP/1.1 {status} ".encode()
        self.pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own classes do not derive from it
        self._ask()

    def _ask(self) -> None:
        self.asked_at = perf_counter()
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        """Find the end of the answer."""
        if self.pending:
            data = self.pending + data
        head = data.find(b"\r\n\r\n")
        if head < 0:
            self.pending = data
            return
        if not data.startswith(self.expected):
            status_line = data.partition(b"\r\n")[0].decode("latin-1")
            self.load.fail(f"answered {status_line!r} instead of {self.expected.split()[1].decode()}")
            return
        length = CONTENT_LENGTH.search(data, 0, head)
        if length is None:
            self.load.fail("answered without Content-Length")
            return
        if len(data) < head + 4 + int(length[1]):
            self.pending = data
            return
        self.pending = b""
        self.load.latencies.append(perf_counter() - self.asked_at)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """The server must keep the connection for as long as it is used."""
        self.load.fail(f"closed a connection in use ({exc})" if exc else "closed a connection in use")


async def requests_per_second(server: str, requests: Sequence[Request], seconds: float) -> float:
    """How many requests a second `server` answers, on as many connections as there are requests, each with its own.

    Raises:
        ClosedLoopError: an answer had another status than its request expects, or a connection broke.
    """
    async with _asking(server, [[request] for request in requests]) as load:
        begun_at, before = perf_counter(), len(load.latencies)
        await asyncio.wait({load.failure}, timeout=seconds)
        elapsed_seconds, answered = perf_counter() - begun_at, len(load.latencies) - before
    return answered / elapsed_seconds


async def latencies_ms(server: str, requests: Sequence[Request], seconds: float) -> Floats:
    """How long each answer took on a single connection that sends these requests in turn; shape (n,), n >= 1.

    Raises:
        ClosedLoopError: as for `requests_per_second`.
    """
    async with _asking(server, [requests]) as load:
        await asyncio.wait({load.failure}, timeout=seconds)
    return np.array(load.latencies) * 1e3


async def answers(server: str, requests: Sequence[Request], count: int) -> None:
    """Have `count` requests answered, or some more, on as many connections as there are requests.

    Raises:
        ClosedLoopError: as for `requests_per_second`.
    """
    async with _asking(server, [[request] for request in requests]) as load:
        while len(load.latencies) < count and not load.failure.done():
            await asyncio.wait({load.failure}, timeout=0.05)


@asynccontextmanager
async def _asking(server: str, requests: Sequence[Sequence[Request]]) -> "AsyncIterator[_Load]":
    """One connection for each sequence of requests, asking it in turn, as long as the block lasts."""
    url = urlsplit(server)
    loop = asyncio.get_running_loop()
    load = _Load()
    opened: list[asyncio.BaseTransport] = []
    try:
        for sequence in requests:
            connection = _Connection(
                load, cycle([request_bytes(one, url.netloc) for one in sequence]), sequence[0].expects
            )
            transport, _ = await loop.create_connection(lambda it=connection: it, url.hostname or "", url.port or 80)  # type: ignore[misc]
            opened.append(transport)
        yield load
        if load.failure.done():
            load.failure.result()
    except (OSError, ClosedLoopError) as error:
        reason = f"cannot be reached: {error}" if isinstance(error, OSError) else str(error)
        raise ClosedLoopError(f"{server} on {requests[0][0].path}: {reason}") from error
    finally:
        load.failure.cancel()
        for each in opened:
            each.close()
    if not load.latencies:
        raise ClosedLoopError(f"{server} on {requests[0][0].path}: not one answer in time")

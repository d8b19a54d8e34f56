"""Measures how many reads a second two servers answer, in turns, so that a machine that drifts drifts for both.

The client is a closed loop over keep-alive connections that sends bytes made beforehand and reads of an answer no more
than where it ends: it must never be what limits the rate (measured: several times the ceiling's rate).
"""

import asyncio
import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

from loadtests.progress import Progress
from loadtests.stats import quantile, quantile_interval

__all__ = ["BenchError", "measure", "requests_per_second"]

CONNECTIONS = 16
WARM_UP_SECONDS = 1.0
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
OK = (b"HTTP/1.1 200", b"HTTP/1.0 200")


class BenchError(Exception):
    """A server did not answer as it should; the message says which one and what came, in one line."""


class Load:
    """What the connections of one measurement share."""

    def __init__(self) -> None:
        self.answered = 0
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, reason: str) -> None:
        """End the measurement."""
        if not self.failure.done():
            self.failure.set_exception(BenchError(reason))


class Connection(asyncio.Protocol):
    """Sends one request, and again as soon as it is answered."""

    def __init__(self, load: Load, request: bytes) -> None:
        self.load, self.request = load, request
        self.pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own classes do not derive from it
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Find the end of the answer."""
        if self.pending:
            data = self.pending + data
        head = data.find(b"\r\n\r\n")
        if head < 0:
            self.pending = data
            return
        if not data.startswith(OK):
            status_line = data.partition(b"\r\n")[0].decode("latin-1")
            self.load.fail(f"answered {status_line!r} instead of 200")
            return
        length = CONTENT_LENGTH.search(data, 0, head)
        if length is None:
            self.load.fail("answered without Content-Length")
            return
        if len(data) < head + 4 + int(length[1]):
            self.pending = data
            return
        self.pending = b""
        self.load.answered += 1
        self.transport.write(self.request)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server must keep the connection for as long as it is used."""
        self.load.fail(f"closed a connection in use ({exc})" if exc else "closed a connection in use")


async def requests_per_second(
    server: str, path: str, token: str, seconds: float, *, connections: int = CONNECTIONS
) -> float:
    """How many GETs of `path` a second `server` answers on so many connections at once.

    Raises:
        BenchError: an answer was not 200, or a connection broke.
    """
    url = urlsplit(server)
    host = url.hostname or "127.0.0.1"
    headers = f"Host: {url.netloc}\r\nAuthorization: Bearer {token}\r\nAccept: application/json\r\n"
    request = f"GET {path} HTTP/1.1\r\n{headers}\r\n".encode()
    loop = asyncio.get_running_loop()
    load = Load()
    transports: list[asyncio.BaseTransport] = []
    try:
        for _ in range(connections):
            transport, _ = await loop.create_connection(lambda: Connection(load, request), host, url.port or 80)
            transports.append(transport)
        begun_at, before = loop.time(), load.answered
        await asyncio.wait({load.failure}, timeout=seconds)
        elapsed_seconds, answered = loop.time() - begun_at, load.answered - before
        if load.failure.done():
            load.failure.result()
    except OSError as error:
        raise BenchError(f"{server} cannot be reached: {error}") from error
    except BenchError as error:
        raise BenchError(f"{server} on {path}: {error}") from error
    finally:
        load.failure.cancel()
        for opened in transports:
            opened.close()
    if not answered:
        raise BenchError(f"{server} on {path}: not one answer in {seconds:g} s")
    return answered / elapsed_seconds


@contextlib.contextmanager
def _pinned(core: int | None) -> Iterator[None]:
    """This process on one core, as long as the measurement lasts."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measure(
    servers: Mapping[str, str], *, token: str, task_id: str, rounds: int, seconds: float, core: int | None = None
) -> dict[str, dict[str, float]]:
    """Compare two servers on the same reads, round by round, each round in the other order than the one before.

    Args:
        servers: URLs of "ours" and "ceiling".
        token: bearer token that both take.
        task_id: one of the tasks of the token's account.
        rounds: pairs of measurements for each read, at least 1.
        seconds: length of one measurement.
        core: where the client runs; None for anywhere.

    Returns:
        For "list_20" and "get_one": `ours_rps` and `ceiling_rps` (medians of requests a second), `ratio` (median of the
        rounds' ratios) and `low`, `high` (its distribution-free 95 % interval; below six rounds their extremes).

    Raises:
        BenchError: a server answered anything but 200, broke a connection or is not there.
    """
    paths = {"list_20": "/api/v1/tasks?limit=20", "get_one": f"/api/v1/tasks/{task_id}"}
    with _pinned(core):
        return uvloop.run(_measure(servers, paths, token, rounds, seconds))


async def _measure(
    servers: Mapping[str, str], paths: Mapping[str, str], token: str, rounds: int, seconds: float
) -> dict[str, dict[str, float]]:
    progress, result = Progress(), {}
    for kind, path in paths.items():
        rates: dict[str, list[float]] = {"ours": [], "ceiling": []}
        for name in rates:
            await requests_per_second(servers[name], path, token, min(WARM_UP_SECONDS, seconds))
        for number in range(rounds):
            for name in ("ours", "ceiling") if number % 2 == 0 else ("ceiling", "ours"):
                rates[name].append(await requests_per_second(servers[name], path, token, seconds))
            ratio = rates["ours"][-1] / rates["ceiling"][-1]
            progress.update(f"{kind}: round {number + 1} of {rounds}, {ratio:.3f} of the ceiling")
        result[kind] = _summary(rates["ours"], rates["ceiling"])
    progress.finish()
    return result


def _summary(ours: list[float], ceiling: list[float]) -> dict[str, Any]:
    ratios = [one / other for one, other in zip(ours, ceiling, strict=True)]
    low, high = quantile_interval(ratios, 0.5)
    return {
        "ratio": round(quantile(ratios, 0.5), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "ours_rps": round(quantile(ours, 0.5), 1),
        "ceiling_rps": round(quantile(ceiling, 0.5), 1),
    }

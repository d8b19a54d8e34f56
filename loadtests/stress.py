"""Load that is meant to hurt, for the failure drills: floods, slow clients, and rows that somebody else has locked.

Each is an async context manager: it hurts as long as its block lasts and yields a count of what it did.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import asyncpg

from loadtests.connection import Connection
from loadtests.journeys import Request

__all__ = ["flood", "locked_task", "slow_clients"]

Tally: TypeAlias = Counter[str]

LONG_HEAD = b"GET /api/v1/tasks HTTP/1.1\r\nHost: slow\r\nX-Padding: " + b"s" * 4000


@contextlib.asynccontextmanager
async def flood(server: str, requests: list[Request]) -> AsyncIterator[Tally]:
    """Send each request over and over, each on a connection of its own; counts the answers by status."""
    tally: Tally = Counter()

    async def repeat(request: Request) -> None:
        while True:
            try:
                connection = await Connection.open(server)
                try:
                    while connection.usable:
                        tally[str((await connection.ask(request)).status)] += 1
                finally:
                    connection.close()
            except (OSError, EOFError, ValueError) as error:
                tally[type(error).__name__] += 1
                await asyncio.sleep(0.05)

    async with _many([lambda request=request: repeat(request) for request in requests]):  # type: ignore[misc]
        yield tally


@contextlib.asynccontextmanager
async def slow_clients(server: str, count: int) -> AsyncIterator[Tally]:
    """Open so many connections and send a byte of a request on each every second; counts those closed by the server."""
    tally: Tally = Counter()
    url = urlsplit(server)

    async def dawdle() -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(url.hostname, url.port or 80)
                tally["opened"] += 1
                try:
                    for byte in LONG_HEAD:
                        writer.write(bytes([byte]))
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(reader.read(1), 1.0)  # an answer, or the end
                            break
                    tally["closed by the server"] += 1
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.5)

    async with _many([dawdle] * count):
        yield tally


@contextlib.asynccontextmanager
async def locked_task(database_url: str, password: str, task_id: str) -> AsyncIterator[None]:
    """Keep the row of a task locked: whoever wants to change it waits."""
    connection = await asyncpg.connect(database_url, password=password, timeout=10)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM task WHERE id = $1::text::uuid FOR UPDATE", task_id)
            yield
    finally:
        await connection.close(timeout=5)


@contextlib.asynccontextmanager
async def _many(works: list[Callable[[], Coroutine[Any, Any, None]]]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(work()) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

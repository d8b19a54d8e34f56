"""The connections of one worker to PostgreSQL.

asyncpg has a pool, but it asks no connection whether it still lives, waits for the server when it gives one back, and
takes 15 microseconds and a task for what takes one here.
"""

import asyncio
import math
import random
import select
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

if TYPE_CHECKING:
    _Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    _Connection = asyncpg.Connection

_CLOSE_SECONDS = 1.0


class PooledConnection(_Connection):
    """A connection that knows when to be replaced."""

    __slots__ = ("_poll", "expires_at")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.expires_at = math.inf
        self._poll = select.poll()
        transport: asyncio.Transport = self._transport  # type: ignore[attr-defined] # the stubs leave out what is private
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def is_quiet(self) -> bool:
        """Whether the server has said nothing since the last answer; if it has, that is most likely good-bye."""
        return not self._poll.poll(0)


class Pool:
    """At most `size` connections, made when needed, one user at a time, first come first served.

    Args:
        connect: makes a connection.
        size: most connections.
        recycle_seconds: a connection is replaced at about this age, when nobody uses it.
    """

    def __init__(self, connect: Callable[[], Awaitable[PooledConnection]], size: int, recycle_seconds: float) -> None:
        self._connect = connect
        self._size = size
        self._recycle_seconds = recycle_seconds
        self._loop = asyncio.get_running_loop()
        self._free_places = size
        self.answered_at = -math.inf
        """When the server last answered somebody, in the loop's seconds."""
        self._idle: list[PooledConnection] = []
        self._waiters: dict[asyncio.Future[PooledConnection | None], None] = {}  # in order; None: a place
        self._known: set[PooledConnection] = set()
        self._farewells: set[asyncio.Task[None]] = set()
        self._closed = False
        self._sweeper = self._loop.call_later(recycle_seconds / 4, self._sweep)

    @property
    def idle(self) -> int:
        """Connections that nobody uses."""
        return len(self._idle)

    @property
    def in_use(self) -> int:
        """Connections that somebody uses or makes."""
        return self._size - self._free_places - len(self._idle)

    @property
    def is_full(self) -> bool:
        """Whether whoever comes next has to wait."""
        return not self._idle and not self._free_places

    @property
    def waiting(self) -> int:
        """How many wait for a connection."""
        return len(self._waiters)

    def take(self) -> PooledConnection | None:
        """Get the idle connection that was used last, if there is one that lives."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed() and connection.is_quiet():
                return connection
            self._part_with(connection)
        return None

    async def acquire(self) -> PooledConnection:
        """Get a connection that lives: an idle one, or a new one, or in turn; bound the time outside.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: a new connection was needed and failed.
        """
        if (idle := self.take()) is not None:
            return idle
        if self._free_places:
            self._free_places -= 1
        elif (handed := await self._wait()) is not None:
            return handed
        try:
            connection = await self._connect()
        except BaseException:
            self._pass_on(None)
            raise
        connection.expires_at = self._loop.time() + self._recycle_seconds * random.uniform(0.8, 1)  # noqa: S311 - no secret
        self._known.add(connection)
        if self._closed:  # while this one was being made
            self._part_with(connection)
            raise asyncpg.InterfaceError("the pool is closed")
        return connection

    def release(self, connection: PooledConnection, *, sound: bool = True) -> None:
        """Give a connection back; one that is not sound, left in the middle of something, is closed."""
        if sound:
            self.answered_at = now = self._loop.time()
            if connection.expires_at > now and not connection.is_closed():
                self._pass_on(connection)
                return
        self._part_with(connection)

    async def close(self) -> None:
        """Close every connection, at once where somebody still uses it; one given back later is closed at once, too."""
        self._sweeper.cancel()
        for connection in list(self._known):
            if connection in self._idle:
                self._say_farewell(connection)
            else:
                connection.terminate()
        self._idle.clear()
        self._closed = True
        if self._farewells:
            await asyncio.wait(self._farewells)

    async def _wait(self) -> PooledConnection | None:
        waiter = self._loop.create_future()
        self._waiters[waiter] = None
        try:
            return await waiter  # type: ignore[no-any-return] # a future's own type is Any
        except asyncio.CancelledError:
            if self._waiters.pop(waiter, self) is self and not waiter.cancelled():
                self._pass_on(waiter.result())  # it came at the very moment we gave up
            raise

    def _pass_on(self, connection: PooledConnection | None) -> None:
        """Hand a connection, or the place of one, to who waits longest; else keep it."""
        while self._waiters:
            waiter = next(iter(self._waiters))
            del self._waiters[waiter]
            if not waiter.done():
                waiter.set_result(connection)
                return
        if connection is None:
            self._free_places += 1
        else:
            self._idle.append(connection)

    def _part_with(self, connection: PooledConnection) -> None:
        self._say_farewell(connection)
        self._pass_on(None)

    def _say_farewell(self, connection: PooledConnection) -> None:
        """Close in the background: a round trip, and one more where a statement is being cancelled."""
        self._known.discard(connection)
        if self._closed or connection.is_closed():  # nobody waits for a farewell any more; or this tidies up
            connection.terminate()
            return
        task = self._loop.create_task(_close(connection))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    def _sweep(self) -> None:
        """Close what is idle and old."""
        now = self._loop.time()
        for connection in [one for one in self._idle if one.is_closed() or one.expires_at <= now]:
            self._idle.remove(connection)
            self._part_with(connection)
        self._sweeper = self._loop.call_later(self._recycle_seconds / 4, self._sweep)


async def _close(connection: PooledConnection) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):  # asyncpg's own bounds only the last step
            await connection.close()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()

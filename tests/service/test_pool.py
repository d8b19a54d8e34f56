"""The pool: connections that died, that are old, that hang, and who waits for one."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import bindparam, text

from service.database import Database, Statement
from service.errors import DatabaseUnavailableError
from tests.service.conftest import Host
from tests.service.pauses import paused

ONE = Statement(text("SELECT 1"))
PID = Statement(text("SELECT pg_backend_pid()"))
SLEEP = Statement(text("SELECT pg_sleep(:seconds)").bindparams(bindparam("seconds")))


@asynccontextmanager
async def opened(host: Host, name: str, **changes: Any) -> AsyncIterator[Database]:
    database = Database(host.settings(name, **changes))
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what it asks for has no event
            await asyncio.sleep(0.01)


def end_backends(host: Host, name: str) -> None:
    """End all connections to a database while our own loop stands still, so that it has heard nothing of it."""
    sql = f"SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE datname = '{name}'"
    thread = threading.Thread(target=lambda: asyncio.run(host.execute(sql)))
    thread.start()
    thread.join()


async def test_a_connection_that_died_idle_fails_nobody(host: Host, new_database: Any) -> None:
    name = await new_database("template0")
    async with opened(host, name) as database:
        await asyncio.gather(*(database.fetch_row(SLEEP, seconds=0.05) for _ in range(4)))
        assert database.pool.idle == 4
        end_backends(host, name)
        assert await database.fetch_value(ONE) == 1
        end_backends(host, name)
        async with database.transaction() as transaction:
            assert await transaction.fetch_value(ONE) == 1
        assert (database.pool.in_use, database.pool.idle) == (0, 1)


async def test_at_most_so_many_and_in_turn(host: Host, shared_database: str) -> None:
    async with opened(host, shared_database, database_pool_size=2) as database:
        pool = database.pool
        first, second = await pool.acquire(), await pool.acquire()
        order: list[int] = []

        async def wait(number: int) -> None:
            connection = await pool.acquire()
            order.append(number)
            await asyncio.sleep(0)
            pool.release(connection)

        tasks = [asyncio.create_task(wait(number)) for number in range(4)]
        await until(lambda: pool.waiting == 4)
        assert pool.is_full
        tasks[1].cancel()
        pool.release(first)
        pool.release(second, sound=False)  # its place goes to who waits, too
        await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(order) == [0, 2, 3]
        assert order[0] == 0
        assert (pool.waiting, pool.in_use, pool.is_full) == (0, 0, False)


async def test_who_gives_up_at_the_last_moment_passes_it_on(host: Host, shared_database: str) -> None:
    async with opened(host, shared_database, database_pool_size=1) as database:
        pool = database.pool
        connection = await pool.acquire()
        task = asyncio.create_task(pool.acquire())
        await until(lambda: pool.waiting == 1)
        pool.release(connection)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (pool.idle, pool.in_use) == (1, 0)


async def test_a_place_is_not_lost_when_connecting_fails(host: Host) -> None:
    async with opened(host, "no_such_database", database_pool_size=2) as database:
        for _ in range(3):
            with pytest.raises(DatabaseUnavailableError):
                await database.fetch_row(ONE)
        assert database.pool.in_use == 0


async def test_what_is_old_is_replaced(host: Host, shared_database: str) -> None:
    async with opened(host, shared_database, database_recycle_seconds=0.2) as database:
        first = await database.fetch_value(PID)
        await until(lambda: database.pool.idle == 0)
        assert await database.fetch_value(PID) != first
        await until(lambda: database.pool.idle == 0)
    async with opened(host, shared_database, database_recycle_seconds=0.2) as database:
        await database.fetch_row(SLEEP, seconds=0.3)  # it grew old in use
        assert database.pool.idle == 0


async def test_a_statement_past_its_deadline_leaves_its_place_at_once(host: Host, shared_database: str) -> None:
    async with opened(host, shared_database, database_pool_size=1, database_deadline_seconds=0.2) as database:
        with pytest.raises(DatabaseUnavailableError):
            await database.fetch_row(SLEEP, seconds=30)
        async with asyncio.timeout(10):
            assert await database.fetch_value(ONE) == 1


async def test_a_block_past_its_deadline_is_rolled_back(host: Host, new_database: Any) -> None:
    name = await new_database("template0")
    async with opened(host, name, database_deadline_seconds=0.3) as database:
        await host.execute("CREATE TABLE t (n int); GRANT ALL ON t TO slipway_app", name)
        insert = Statement(text("INSERT INTO t VALUES (1) RETURNING n"))

        async def too_slow() -> None:
            async with database.transaction() as transaction:
                await transaction.fetch_row(insert)
                await transaction.fetch_row(SLEEP, seconds=30)

        async def wrong() -> None:
            async with database.transaction() as transaction:
                await transaction.fetch_row(insert)
                raise ZeroDivisionError

        with pytest.raises(DatabaseUnavailableError):
            await too_slow()
        with pytest.raises(ZeroDivisionError):
            await wrong()
        assert await database.fetch_value(Statement(text("SELECT count(*) FROM t"))) == 0
        async with database.transaction() as transaction:
            await transaction.fetch_row(insert)
        assert await database.fetch_value(Statement(text("SELECT count(*) FROM t"))) == 1
        assert database.pool.idle == 1


async def test_a_server_that_stands_still_costs_nobody_more_than_the_deadline(host: Host, shared_database: str) -> None:
    async with opened(host, shared_database, database_pool_size=2, database_deadline_seconds=0.5) as database:
        assert await database.fetch_value(ONE) == 1
        with paused(host.server):
            async with asyncio.timeout(10):
                answers = await asyncio.gather(*(database.fetch_row(ONE) for _ in range(6)), return_exceptions=True)
            assert all(isinstance(answer, DatabaseUnavailableError) for answer in answers)
            with pytest.raises(DatabaseUnavailableError):
                async with database.transaction():
                    raise AssertionError("there is no connection to begin on")
        assert await database.fetch_value(ONE) == 1


async def test_a_block_whose_server_stands_still_ends_at_its_deadline(host: Host, shared_database: str) -> None:
    async with opened(host, shared_database, database_deadline_seconds=0.5) as database:

        async def stand_still() -> None:
            async with asyncio.timeout(10), database.transaction() as transaction:
                with paused(host.server):
                    await transaction.fetch_row(ONE)

        with pytest.raises(DatabaseUnavailableError):
            await stand_still()
        assert await database.fetch_value(ONE) == 1


async def test_busy_is_when_all_are_taken_but_others_are_answered(host: Host, shared_database: str) -> None:
    async with opened(host, shared_database, database_pool_size=2) as database:
        assert not database.busy
        await database.fetch_row(ONE)
        assert not database.busy
        taken = [await database.pool.acquire() for _ in range(2)]
        assert database.busy
        for connection in taken:
            database.pool.release(connection)
        assert not database.busy


async def test_what_is_made_or_given_back_while_it_closes_is_left_to_nobody(host: Host, shared_database: str) -> None:
    async with opened(host, shared_database) as database:
        connecting = asyncio.create_task(database.fetch_value(ONE))
        await asyncio.sleep(0)
        await database.close()
        with pytest.raises(DatabaseUnavailableError):
            await connecting
    async with opened(host, shared_database) as database:
        working = asyncio.create_task(database.fetch_row(SLEEP, seconds=30))
        await until(lambda: database.pool.in_use and database.pool.idle == 0)
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(database.close())
        working.cancel()
        await asyncio.wait([working, closing])
    assert asyncio.all_tasks() == {asyncio.current_task()}

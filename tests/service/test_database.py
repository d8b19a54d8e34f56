import asyncio

import asyncpg
import pytest
from sqlalchemy import bindparam, select, text
from sqlmodel import SQLModel

from service.connecting import connect
from service.database import Database, Statement
from service.errors import DatabaseUnavailableError, DatabaseUnreachableError
from service.pool import PooledConnection
from tests.service.conftest import Door, Host


async def test_statement_orders_named_parameters() -> None:
    account = SQLModel.metadata.tables["account"]
    statement = Statement(
        select(account.c.id).where(account.c.email == bindparam("email"), account.c.full_name == "Ann")
    )
    assert sorted(statement.arguments({"email": "a@example.com"})) == ["Ann", "a@example.com"]
    with pytest.raises(KeyError, match="email"):
        statement.arguments({})


async def test_server_ends_what_takes_too_long(host: Host, shared_database: str) -> None:
    database = Database(host.settings(shared_database, database_statement_timeout_seconds=0.1))
    await database.open()
    try:
        with pytest.raises(DatabaseUnavailableError) as caught:
            await database.fetch_row(Statement(text("SELECT pg_sleep(5)")))
        assert isinstance(caught.value.__cause__, asyncpg.QueryCanceledError)
        assert await database.fetch_value(Statement(text("SELECT 1"))) == 1
    finally:
        await database.close()


async def test_a_request_past_its_deadline_is_cancelled_in_the_database_too(host: Host, shared_database: str) -> None:
    database = Database(host.settings(shared_database, database_deadline_seconds=0.2))
    await database.open()
    try:
        with pytest.raises(DatabaseUnavailableError):
            await database.fetch_row(Statement(text("SELECT pg_sleep(30) AS this_one")))
        admin = await host.connect("slipway_admin", shared_database)
        sleeping = 1
        for _ in range(40):
            sleeping = await admin.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%this_one%' "
                "AND pid <> pg_backend_pid() AND datname = current_database()"
            )
            if not sleeping:
                break
            await asyncio.sleep(0.05)
        await admin.close()
        assert not sleeping
    finally:
        await database.close()


async def test_a_connection_that_the_server_ends_at_that_moment_counts_as_away(
    host: Host, shared_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen once in a restart of PostgreSQL under load; when the two cross is up to the kernel."""

    async def crossed(*_: object, **__: object) -> None:
        raise asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress")

    database = Database(host.settings(shared_database))
    await database.open()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(PooledConnection, "fetchrow", crossed)
            with pytest.raises(DatabaseUnavailableError):
                await database.fetch_row(Statement(text("SELECT 1")))
        assert await database.fetch_value(Statement(text("SELECT 1"))) == 1
    finally:
        await database.close()


async def test_not_open_is_unavailable(host: Host, shared_database: str) -> None:
    database = Database(host.settings(shared_database))
    with pytest.raises(DatabaseUnavailableError):
        await database.fetch_row(Statement(text("SELECT 1")))
    await database.close()


async def test_close_does_not_wait_for_what_hangs(host: Host, shared_database: str) -> None:
    database = Database(host.settings(shared_database))
    await database.open()
    taken = await database.pool.acquire()
    async with asyncio.timeout(15):
        await database.close()
    with pytest.raises(asyncpg.InterfaceError, match="closed"):
        await taken.execute("SELECT 1")


async def test_start_waits_for_a_server_that_is_coming(door: Door, shared_database: str) -> None:
    door.close("postgres")
    settings = door.settings(shared_database, database_start_wait_seconds=5)
    waiting = asyncio.create_task(connect(settings))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    door.open("postgres")
    connection = await waiting
    await connection.close()


@pytest.mark.parametrize("change", [{"database_password": "wrong"}, {"database_url": None}])
async def test_start_does_not_wait_for_what_no_time_mends(
    host: Host, shared_database: str, change: dict[str, str | None]
) -> None:
    if "database_url" in change:
        change = {"database_url": host.server.url("slipway_app", "no_such_database")}
    async with asyncio.timeout(15):
        with pytest.raises(DatabaseUnreachableError, match="cannot reach PostgreSQL at postgresql://"):
            await connect(host.settings(shared_database, database_start_wait_seconds=30, **change))


async def test_no_value_gets_into_the_servers_log(host: Host, shared_database: str) -> None:
    planted = "Pl4nted\n2026-01-01 00:00:00.000 UTC [1] root@slipway FATAL:  a forged line"
    admin = await host.connect("slipway_admin", shared_database)
    await admin.execute("SET log_min_duration_statement = 0")  # so that every statement is a slow one
    await admin.execute("CREATE TEMP TABLE rare (word text PRIMARY KEY, small text CHECK (length(small) < 3))")
    await admin.execute("INSERT INTO rare VALUES ($1)", planted)
    for values in ((planted, None), ("other", planted)):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await admin.execute("INSERT INTO rare VALUES ($1, $2)", *values)
    await admin.close()
    log = host.server.log.read_text()
    assert 'duplicate key value violates unique constraint "rare_pkey"' in log
    assert "Pl4nted\n" not in log
    assert "a forged line" not in log

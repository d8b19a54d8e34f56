"""PostgreSQL: one pool of connections, its limits and timeouts, and the one way to run a statement.

SQLAlchemy composes each statement once, from the SQLModel tables; asyncpg prepares it once per connection and runs it.
There is no session between the two: every request is one statement, which PostgreSQL itself commits or rolls back, so
there is nothing to flush, to expire or to forget to close, and PostgreSQL hands out finished JSON where it can.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
from sqlalchemy import (
    Column,
    ColumnElement,
    DateTime,
    Integer,
    Select,
    Text,
    TextClause,
    Uuid,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql.base import PGCompiler, PGDialect
from sqlalchemy.sql.dml import UpdateBase

from service.connecting import AWAY, connection_arguments
from service.errors import DatabaseUnavailableError
from service.pool import Pool, PooledConnection
from service.settings import Settings

# asyncpg speaks `$1`. PostgreSQL finds a parameter's type by what stands beside it; where nothing does, we cast.
_DIALECT = PGDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call] # SQLAlchemy leaves dialects untyped

_BUSY_SECONDS = 1.0

Row = asyncpg.Record


def identity_column() -> Column[UUID]:
    """A primary key that PostgreSQL makes: UUIDv7, so rows created together lie together in the index."""
    return Column(Uuid, primary_key=True, server_default=func.uuidv7())


def moment_column(*, server_default: ColumnElement[Any] | None = None, nullable: bool = False) -> Column[datetime]:
    """A moment with time zone."""
    return Column(DateTime(timezone=True), server_default=server_default, nullable=nullable)


def version_column() -> Column[int]:
    """How often a row was written, from 1: its ETag."""
    return Column(Integer, server_default=text("1"), nullable=False)


class Statement:
    """One statement, as text for asyncpg and the order of its named parameters.

    Args:
        query: what to run; parameters are `bindparam(name)`.
    """

    __slots__ = ("_constants", "_names", "sql")

    def __init__(self, query: Select[Any] | UpdateBase | TextClause) -> None:
        compiled = query.compile(dialect=_DIALECT)
        assert isinstance(compiled, PGCompiler)
        self.sql = str(compiled)
        self._names = tuple(compiled.positiontup or ())
        self._constants = {name: bind.value for bind, name in compiled.bind_names.items() if not bind.required}

    def arguments(self, values: dict[str, Any]) -> list[Any]:
        """The positional arguments for asyncpg; a missing name is a KeyError."""
        values = self._constants | values
        return [values[name] for name in self._names]


class Database:
    """The connections of one worker, made when first needed and replaced when they are found dead."""

    def __init__(self, settings: Settings) -> None:
        self._deadline_seconds = settings.database_deadline_seconds
        self._long_deadline_seconds = settings.database_long_deadline_seconds
        self._begin_long = f"BEGIN; SET LOCAL statement_timeout = {_milliseconds(self._long_deadline_seconds)}"
        # Constructing needs no loop and opens nothing; `open` binds it to the running loop.
        self._settings = settings
        self._pool: Pool | None = None

    async def open(self) -> None:
        """Make the pool; connects nowhere yet, so a worker starts even while PostgreSQL is away."""
        settings = self._settings
        arguments = connection_arguments(settings) | {
            "connection_class": PooledConnection,
            # Never by age: our statements are few, and preparing one again would cost a round trip.
            "max_cached_statement_lifetime": 0,
            "server_settings": _server_settings(settings),
        }

        async def connect() -> PooledConnection:
            connection: PooledConnection = await asyncpg.connect(**arguments)
            return connection

        self._loop = asyncio.get_running_loop()
        self._pool = Pool(connect, settings.database_pool_size, settings.database_recycle_seconds)

    async def close(self) -> None:
        """Close every connection, at once if one is stuck."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    @property
    def pool(self) -> Pool:
        """The connections.

        Raises:
            DatabaseUnavailableError: this is not open, or not any more.
        """
        if self._pool is None:
            raise DatabaseUnavailableError
        return self._pool

    @property
    def busy(self) -> bool:
        """Whether all connections are in use, and to some effect: PostgreSQL answered within the last second."""
        return self.pool.is_full and self._loop.time() - self.pool.answered_at < _BUSY_SECONDS

    async def fetch_row(self, statement: Statement, **values: Any) -> Row | None:
        """Run a statement in a transaction of its own and return its first row, or None.

        Raises:
            DatabaseUnavailableError: PostgreSQL is away or did not answer in time.
            asyncpg.PostgresError: PostgreSQL refused the statement, a broken constraint for example.
        """
        pool, arguments = self.pool, statement.arguments(values)
        seconds, sound = self._deadline_seconds, False
        try:
            connection = pool.take()
            if connection is None:
                give_up_at = self._loop.time() + seconds
                async with asyncio.timeout_at(give_up_at):
                    connection = await pool.acquire()
                seconds = give_up_at - self._loop.time()
            try:
                # asyncpg's own timer costs less than a block of asyncio.timeout.
                row = await connection.fetchrow(statement.sql, *arguments, timeout=seconds)
                sound = True
            except asyncpg.PostgresError:
                sound = True
                raise
            finally:
                pool.release(connection, sound=sound)
        except AWAY as error:
            raise DatabaseUnavailableError from error
        return row

    async def fetch_value(self, statement: Statement, **values: Any) -> Any:
        """Run a statement as `fetch_row` does and return the first column of its first row, or None."""
        row = await self.fetch_row(statement, **values)
        return None if row is None else row[0]

    @asynccontextmanager
    async def transaction(self, *, long: bool = False) -> AsyncIterator["Transaction"]:
        """Run several statements as one: committed where the block ends, rolled back where it raises.

        The block has `database_deadline_seconds` in all, so nothing slow but statements belongs in it. One that may
        change any number of rows is `long`: that many seconds go to its beginning, and `database_long_deadline_seconds`
        to the rest.

        Raises:
            DatabaseUnavailableError: PostgreSQL is away or did not answer in time.
        """
        pool = self.pool
        try:
            async with asyncio.timeout(self._deadline_seconds) as deadline:
                connection, sound = await pool.acquire(), False
                try:
                    await connection.execute(self._begin_long if long else "BEGIN")
                    if long:
                        deadline.reschedule(self._loop.time() + self._long_deadline_seconds)
                    try:
                        yield Transaction(connection)
                        await connection.execute("COMMIT")
                    except Exception:
                        await connection.execute("ROLLBACK")
                        sound = True
                        raise
                    sound = True
                finally:
                    # Past the deadline there is no time for a ROLLBACK: closing the connection is one.
                    pool.release(connection, sound=sound)
        except AWAY as error:
            raise DatabaseUnavailableError from error


class Transaction:
    """A transaction that is open; runs statements as `Database` does."""

    def __init__(self, connection: PooledConnection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Transaction"]:
        """Take part in this one: what is done in the block stands or falls with the rest."""
        yield self

    async def fetch_row(self, statement: Statement, **values: Any) -> Row | None:
        """Run a statement and return its first row, or None."""
        return await self._connection.fetchrow(statement.sql, *statement.arguments(values))

    async def fetch_value(self, statement: Statement, **values: Any) -> Any:
        """Run a statement and return the first column of its first row, or None."""
        row = await self.fetch_row(statement, **values)
        return None if row is None else row[0]


Runner: TypeAlias = Database | Transaction
"""Where a statement runs: by itself, or among others."""


def json_object(columns: Mapping[str, ColumnElement[Any]]) -> ColumnElement[str]:
    """Compose an expression for which PostgreSQL returns a row as the text of a JSON object with these keys.

    It stands wherever a column may stand, after RETURNING too. Of the ways to write it, this one is the fastest and
    its JSON has no blanks (PostgreSQL 18; json_build_object takes a tenth longer).
    """
    literal = {"literal_binds": True}
    named = ", ".join(
        f"{column.compile(dialect=_DIALECT, compile_kwargs=literal)} AS {key}" for key, column in columns.items()
    )
    sql = f"(SELECT row_to_json(object) FROM (SELECT {named}) AS object)::text"  # noqa: S608 - names and tables are ours
    return literal_column(sql, Text)


def utc_text(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Compose the RFC 3339 text of a moment, in UTC with Z and microseconds; sessions run in UTC."""
    return func.to_char(column, literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""))


def _milliseconds(seconds: float) -> str:
    return f"{int(seconds * 1000)}"


def _server_settings(settings: Settings) -> dict[str, str]:
    return {
        "application_name": "slipway-api",
        "timezone": "UTC",
        "statement_timeout": _milliseconds(settings.database_statement_timeout_seconds),
        "idle_in_transaction_session_timeout": _milliseconds(settings.database_idle_transaction_timeout_seconds),
        # Our statements read a few rows through an index: compiling them costs more than it saves.
        "jit": "off",
        # Every statement has one plan, made once for all accounts: making one at each call costs more than running it.
        # Where an index gives the order it takes that: the planner knows how many rows an account has on average, and
        # for one that has a thousand times as many a sort would read them all (docs/decisions/0011).
        "plan_cache_mode": "force_generic_plan",
        "enable_sort": "off",
    }

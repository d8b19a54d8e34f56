"""PostgreSQL: one pool of connections, its limits and timeouts, and the one way to run a statement.

SQLAlchemy composes each statement once, from the SQLModel tables; asyncpg prepares it once per connection and runs it.
There is no session between the two: every request is one statement, which PostgreSQL itself commits or rolls back, so
there is nothing to flush, to expire or to forget to close, and PostgreSQL hands out finished JSON where it can.
"""

import asyncio
import random
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import Column, ColumnElement, DateTime, Select, Text, TextClause, Uuid, func, literal_column
from sqlalchemy.dialects.postgresql.base import PGCompiler, PGDialect
from sqlalchemy.sql.dml import UpdateBase

from service.errors import DatabaseUnavailableError, DatabaseUnreachableError
from service.settings import ProcessSettings, Settings

# asyncpg speaks `$1`. PostgreSQL finds a parameter's type by what stands beside it; where nothing does, we cast.
_DIALECT = PGDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call] # SQLAlchemy leaves dialects untyped

# PostgreSQL is away, going away or full. What it says about our statements is not among them.
_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InsufficientResourcesError,  # too many connections, out of memory, disk full
    asyncpg.OperatorInterventionError,  # shutting down, starting up, statement timeout
    asyncpg.InvalidAuthorizationSpecificationError,  # a password being changed
    asyncpg.InvalidCatalogNameError,
)

Row = asyncpg.Record


def identity_column() -> Column[UUID]:
    """A primary key that PostgreSQL makes: UUIDv7, so rows created together lie together in the index."""
    return Column(Uuid, primary_key=True, server_default=func.uuidv7())


def moment_column(*, server_default: ColumnElement[Any] | None = None, nullable: bool = False) -> Column[datetime]:
    """A moment with time zone."""
    return Column(DateTime(timezone=True), server_default=server_default, nullable=nullable)


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
    """The pool of one worker. Connections are made when first needed and replaced when they are found dead."""

    def __init__(self, settings: Settings) -> None:
        self._deadline_seconds = settings.database_deadline_seconds
        # Constructing needs no loop and opens nothing; `open` binds it to the running loop.
        self._settings = settings
        self._pool: asyncpg.Pool[Row] | None = None

    async def open(self) -> None:
        """Make the pool; connects nowhere yet, so a worker starts even while PostgreSQL is away."""
        settings = self._settings
        self._pool = await asyncpg.create_pool(
            **connection_arguments(settings),
            min_size=0,
            max_size=settings.database_pool_size,
            max_inactive_connection_lifetime=settings.database_recycle_seconds,
            reset=_reset,
            # Never by age: our statements are few, and preparing one again would cost a round trip.
            max_cached_statement_lifetime=0,
            server_settings=_server_settings(settings),
        )

    async def close(self) -> None:
        """Close every connection, at once if one is stuck."""
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), timeout=2)
            except TimeoutError:
                self._pool.terminate()

    async def fetch_row(self, statement: Statement, **values: Any) -> Row | None:
        """Run a statement in a transaction of its own and return its first row, or None.

        Raises:
            DatabaseUnavailableError: PostgreSQL is away or did not answer in time.
            asyncpg.PostgresError: PostgreSQL refused the statement, a broken constraint for example.
        """
        pool = self._pool
        if pool is None:
            raise DatabaseUnavailableError
        try:
            async with asyncio.timeout(self._deadline_seconds):
                connection = await pool.acquire()
                try:
                    return await connection.fetchrow(statement.sql, *statement.arguments(values))
                finally:
                    await pool.release(connection, timeout=1)
        except _AWAY as error:
            raise DatabaseUnavailableError from error

    async def fetch_value(self, statement: Statement, **values: Any) -> Any:
        """Run a statement as `fetch_row` does and return the first column of its first row, or None."""
        row = await self.fetch_row(statement, **values)
        return None if row is None else row[0]


async def connect(settings: ProcessSettings, **options: Any) -> "asyncpg.Connection[Row]":
    """Open one connection for a job or a check at the start, waiting for a PostgreSQL that is still starting.

    Raises:
        DatabaseUnreachableError: no connection within `database_start_wait_seconds`, or the server refuses for good.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + settings.database_start_wait_seconds
    pause_seconds = 0.05
    while True:
        try:
            return await asyncpg.connect(**connection_arguments(settings), **options)
        except _AWAY as error:
            # A wrong password or database does not become right by waiting.
            final = isinstance(error, asyncpg.InvalidAuthorizationSpecificationError | asyncpg.InvalidCatalogNameError)
            if final or loop.time() + pause_seconds > give_up_at:
                raise DatabaseUnreachableError(
                    f"cannot reach PostgreSQL at {settings.database_url}: {_cause(error)}: "
                    "start it, or correct SLIPWAY_DATABASE_URL and its password"
                ) from error
        # Jitter: many processes that wait for one server must not knock all at once.
        await asyncio.sleep(pause_seconds * random.uniform(0.5, 1))  # noqa: S311 - spreads load, keeps no secret
        pause_seconds = min(1, pause_seconds * 2)


def connection_arguments(settings: ProcessSettings) -> dict[str, Any]:
    """What asyncpg needs to connect as these settings say."""
    return {
        "dsn": settings.database_url,
        # None, not "": asyncpg then looks for PGPASSWORD and a password file, as every PostgreSQL client does.
        "password": settings.database_password.get_secret_value() or None,
        "timeout": settings.database_connect_timeout_seconds,
    }


def json_object(columns: Mapping[str, ColumnElement[Any]]) -> ColumnElement[str]:
    """Compose an expression for which PostgreSQL returns a row as the text of a JSON object with these keys.

    It stands wherever a column may stand, after RETURNING too. Of the ways to write it, this one is the fastest and
    its JSON has no blanks (PostgreSQL 18; json_build_object takes a tenth longer).
    """
    literal = {"literal_binds": True}
    named = ", ".join(
        f"{column.compile(dialect=_DIALECT, compile_kwargs=literal)} AS {key}" for key, column in columns.items()
    )
    text = f"(SELECT row_to_json(object) FROM (SELECT {named}) AS object)::text"  # noqa: S608 - names and tables are ours
    return literal_column(text, Text)


def utc_text(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Compose the RFC 3339 text of a moment, in UTC with Z and microseconds; sessions run in UTC."""
    return func.to_char(column, literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""))


async def _reset(connection: "asyncpg.Connection[Row]") -> None:
    """Leave a returned connection as it is: nothing of ours outlives its transaction, and this saves a round trip."""


def _server_settings(settings: Settings) -> dict[str, str]:
    def milliseconds(seconds: float) -> str:
        return f"{int(seconds * 1000)}"

    return {
        "application_name": "slipway-api",
        "timezone": "UTC",
        "statement_timeout": milliseconds(settings.database_statement_timeout_seconds),
        "idle_in_transaction_session_timeout": milliseconds(settings.database_idle_transaction_timeout_seconds),
        # Our statements read a few rows through an index: compiling them costs more than it saves.
        "jit": "off",
    }


def _cause(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

"""The migration job: brings the schema to this release's head, alone, in bounded time, and says what it did."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from service.connecting import Row, connect
from service.errors import MigrationError
from service.imports import without
from service.migrations.bootstrap import APP_ROLE
from service.migrations.schema_range import SELECT_SCHEMA_STATE, SchemaRange
from service.settings import MigrationSettings

with without("pygments"):  # which Alembic's template engine takes when it is there, to colour its own errors
    import alembic.command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationInfo
    from alembic.script import Script, ScriptDirectory
    from alembic.util import CommandError

ADVISORY_LOCK = 0x511B_0A71
"""Key of the advisory lock that lets one migration job work at a time."""

_KEEP_STATE = text(
    "INSERT INTO schema_state (revision, accepts_from, migrated_at, release) "
    "VALUES (:revision, :accepts_from, now(), :release) ON CONFLICT (single) DO UPDATE "
    "SET revision = excluded.revision, accepts_from = excluded.accepts_from, "
    "migrated_at = excluded.migrated_at, release = excluded.release"
)
# Default privileges let the application write every table; what says which schema this is, is not its to change.
_PROTECT_STATE = (
    f"DO $$ BEGIN IF to_regrole('{APP_ROLE}') IS NOT NULL THEN "
    f"REVOKE INSERT, UPDATE, DELETE ON schema_state, alembic_version FROM {APP_ROLE}; END IF; END $$"
)


@dataclass
class Applied:
    """One revision that this run applied."""

    revision: str
    summary: str
    seconds: float


@dataclass
class Report:
    """What one run did; `before` and `after` are revisions, None for an empty database."""

    release: str
    before: str | None = None
    after: str | None = None
    applied: list[Applied] = field(default_factory=list)
    waited_for_lock_seconds: float = 0.0
    seconds: float = 0.0
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The report file's content; `error` is there only after a failure."""
        content = asdict(self)
        content |= {"from": content.pop("before"), "to": content.pop("after")}
        return content if self.error else {key: value for key, value in content.items() if key != "error"}


async def upgrade(settings: MigrationSettings, report: Report, say: Callable[[str], None]) -> None:
    """Apply the revisions that the database lacks, in order; `report` tells how far it came, also after an error.

    Raises:
        DatabaseUnreachableError: PostgreSQL did not answer.
        MigrationError: the lock was not free in time, or a revision failed.
        SchemaRangeError: the schema is newer than this release can run on.
    """
    raw = await connect(settings, server_settings=_server_settings())
    async with _as_sqlalchemy(raw) as connection:
        report.waited_for_lock_seconds = await _lock(raw, settings)
        report.before, accepts_from = await _state(raw)
        report.after = report.before
        head = SchemaRange.of_source()
        if report.before is not None and report.before > head.head:
            # An older release goes back into service: the schema stays if that release can run on it.
            head.require(report.before, accepts_from)
            say(f"schema {report.before} is newer than this release's {head.head}, which can run on it: nothing to do")
            return
        await connection.run_sync(_run_revisions, report, say)


async def check(settings: MigrationSettings) -> None:
    """Compare the tables of the models with those of a database at this release's head (`alembic check`).

    Raises:
        DatabaseUnreachableError: PostgreSQL did not answer.
        MigrationError: they differ, or the database is at another revision.
    """
    from sqlmodel import SQLModel  # noqa: PLC0415 - only this comparison needs the models

    import service.idempotency  # noqa: PLC0415 - as above
    import service.mail.queue  # noqa: PLC0415 - as above
    import service.tasks.models  # noqa: F401, PLC0415 - and those it knows, which fill SQLModel.metadata

    def compare(connection: Connection) -> None:
        try:
            alembic.command.check(_config(connection, metadata=SQLModel.metadata))
        except CommandError as error:
            raise MigrationError(f"{_one_line(error)}: write the missing revision, or run slipway-migrate") from error

    async with _as_sqlalchemy(await connect(settings)) as connection:
        await connection.run_sync(compare)


def _run_revisions(connection: Connection, report: Report, say: Callable[[str], None]) -> None:
    started = time.monotonic()

    def applied(*, ctx: Any, step: MigrationInfo, **_: Any) -> None:
        # Called inside the revision's transaction: schema and state change together.
        nonlocal started
        script = step.up_revision
        assert isinstance(script, Script)
        ctx.connection.execute(
            _KEEP_STATE,
            {
                "revision": script.revision,
                "accepts_from": script.module.accepts_from,
                "release": report.release,
            },
        )
        ctx.connection.execute(text(_PROTECT_STATE))
        done = Applied(script.revision, script.doc, round(time.monotonic() - started, 3))
        report.applied.append(done)
        report.after = done.revision
        say(f"{done.revision} {done.summary} {done.seconds:.3f} s")
        started = time.monotonic()

    config = _config(connection, on_version_apply=applied)
    try:
        alembic.command.upgrade(config, "head")
    except Exception as error:  # a revision is a program and may raise anything
        revision = _next_revision(config, report.after)
        cause = _one_line(error.orig if isinstance(error, DBAPIError) else error)
        raise MigrationError(
            f"revision {revision} failed: {cause}: nothing of it was kept; "
            "correct the cause and run slipway-migrate again"
        ) from error


async def _lock(raw: "asyncpg.Connection[Row]", settings: MigrationSettings) -> float:
    """Take the lock and set the session's timeouts; returns the seconds spent waiting."""
    started = time.monotonic()
    await raw.execute(f"SET lock_timeout = {_milliseconds(settings.migration_lock_wait_seconds)}")
    try:
        await raw.execute(f"SELECT pg_advisory_lock({ADVISORY_LOCK})")
    except asyncpg.LockNotAvailableError:
        raise MigrationError(
            f"another migration job held the lock for {settings.migration_lock_wait_seconds:g} s: "
            "wait for it to end, or look for it in pg_stat_activity, and run slipway-migrate again"
        ) from None
    await raw.execute(
        f"SET lock_timeout = {_milliseconds(settings.migration_lock_timeout_seconds)};"
        f"SET statement_timeout = {_milliseconds(settings.migration_statement_timeout_seconds)}"
    )
    return round(time.monotonic() - started, 3)


async def _state(raw: "asyncpg.Connection[Row]") -> tuple[str | None, str | None]:
    if not await raw.fetchval("SELECT to_regclass('schema_state') IS NOT NULL"):
        return None, None
    row = await raw.fetchrow(SELECT_SCHEMA_STATE)
    return (row["revision"], row["accepts_from"]) if row else (None, None)


@asynccontextmanager
async def _as_sqlalchemy(raw: "asyncpg.Connection[Row]") -> AsyncIterator[AsyncConnection]:
    async def creator() -> "asyncpg.Connection[Row]":
        return raw

    engine = create_async_engine("postgresql+asyncpg://", poolclass=NullPool, async_creator=creator)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


def _config(connection: Connection, **attributes: Any) -> Config:
    # The folder beside this file, so a release's snapshot runs the revisions it was built with.
    config = Config(attributes={"connection": connection, **attributes})
    config.set_main_option("script_location", str(Path(__file__).resolve().parent).replace("%", "%%"))
    return config


def _next_revision(config: Config, after: str | None) -> str:
    scripts = ScriptDirectory.from_config(config)
    return next((script.revision for script in scripts.walk_revisions() if script.down_revision == after), "?")


def _server_settings() -> dict[str, str]:
    # A killed job's server process notices within a second, even in the middle of a statement, and rolls back.
    return {"application_name": "slipway-migrate", "timezone": "UTC", "client_connection_check_interval": "1000"}


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _one_line(error: BaseException | None) -> str:
    return " ".join(str(error).split()) or type(error).__name__

"""Rows that nobody needs any more, deleted now and then: one worker at a time, in transactions that hold nobody up.

What goes: sessions that have expired and their tokens with them, refresh tokens that were used long ago, tokens from
mails that have expired, and idempotency keys older than a day. No account, and nothing that an account made.
"""

import asyncio
import contextlib
import random
from datetime import timedelta

import asyncpg
from sqlalchemy import Interval, Table, delete, func, select, text, tuple_
from sqlalchemy import cast as sql_cast
from sqlmodel import SQLModel

import service.accounts.models
import service.idempotency  # noqa: F401 - with the models, fills SQLModel.metadata
from service.database import Database, Statement
from service.errors import DatabaseUnavailableError
from service.logs import log
from service.outages import Outage
from service.settings import Settings

# A session's tokens go with it, so a batch of sessions is larger than it looks.
_BATCH = 200
_BREATH_SECONDS = 0.02

_IS_MY_TURN = Statement(text("SELECT pg_try_advisory_xact_lock(hashtext('slipway housekeeping'))"))


def _delete_some(table: Table, moment: str, age: timedelta) -> Statement:
    """Delete a batch of the rows whose moment is longer ago than `age`; the statement returns how many."""
    key = table.primary_key.columns.values()
    old = (
        select(*key)
        .where(table.c[moment] < func.now() - sql_cast(age, Interval))
        .limit(_BATCH)
        .with_for_update(skip_locked=True)
    )
    gone = delete(table).where(tuple_(*key).in_(old)).returning(key[0]).cte()
    return Statement(select(func.count()).select_from(gone))


_TABLES = SQLModel.metadata.tables
_STATEMENTS = {
    "sessions": _delete_some(_TABLES["session"], "expires_at", timedelta()),
    # What a second use of one gives away, its session knows without it (accounts/sessions.py).
    "refresh_tokens": _delete_some(_TABLES["refresh_token"], "used_at", timedelta(hours=1)),
    "mail_tokens": _delete_some(_TABLES["mail_token"], "expires_at", timedelta()),
    "idempotency_keys": _delete_some(_TABLES["idempotency_key"], "created_at", timedelta(hours=24)),
}


class Housekeeping:
    """The task that does it, in each worker."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._interval_seconds = settings.housekeeping_seconds
        self._outage = Outage("postgresql (housekeeping)")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to keep house now and then."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop; PostgreSQL rolls back a batch that is not done."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def keep_house(self) -> dict[str, int]:
        """Delete all there is to delete, or what is left when another worker begins.

        Returns:
            How many rows of each kind this worker deleted.

        Raises:
            DatabaseUnavailableError: PostgreSQL is away.
        """
        deleted = dict.fromkeys(_STATEMENTS, 0)
        for kind, statement in _STATEMENTS.items():
            while (batch := await self._delete(statement)) is not None:
                deleted[kind] += batch
                if batch < _BATCH:
                    break
                await asyncio.sleep(_BREATH_SECONDS)
            else:
                break
        return deleted

    async def _delete(self, statement: Statement) -> int | None:
        """Delete one batch; None if another worker is keeping house."""
        async with self._database.transaction() as transaction:
            if not await transaction.fetch_value(_IS_MY_TURN):
                return None
            batch: int = await transaction.fetch_value(statement)
            return batch

    async def _run(self) -> None:
        while True:
            # Workers start together and shall not all come at once.
            await asyncio.sleep(self._interval_seconds * random.uniform(0.5, 1.5))  # noqa: S311 - keeps no secret
            try:
                deleted = await self.keep_house()
            except (DatabaseUnavailableError, asyncpg.PostgresError) as error:
                self._outage.met(repr(error.__cause__ or error))
                continue
            self._outage.ended()
            if any(deleted.values()):
                log.info("old rows deleted", **deleted)

"""Whether this worker can serve: what /health/ready says, found out at most a few times a second."""

import asyncio
from typing import Any, TypedDict

from sqlalchemy import text

from service.cache import Cache
from service.database import Database, Row, Statement
from service.errors import SchemaRangeError
from service.migrations.schema_range import SELECT_SCHEMA_STATE, SchemaRange
from service.outages import Outage

SCHEMA_STATE = Statement(text(SELECT_SCHEMA_STATE))
"""The row with the database's schema."""

_SHARED_SECONDS = 0.25


class Readiness(TypedDict):
    """The answer: a status, and for each dependency its state and how long that took to tell."""

    status: str
    checks: dict[str, dict[str, Any]]


class Probe:
    """Asks the dependencies, all at once, and never longer than `timeout_seconds`.

    Whoever asks while it asks, or a quarter of a second later, gets the same answer: a flood of probes costs nothing.
    """

    def __init__(self, database: Database, cache: Cache, schema: SchemaRange, timeout_seconds: float) -> None:
        self._database = database
        self._cache = cache
        self._schema = schema
        self._timeout_seconds = timeout_seconds
        self._asking: asyncio.Task[Readiness] | None = None
        self._asked_at = 0.0
        self._outages = {name: Outage(name) for name in ("database", "schema")}  # the cache logs its own

    async def readiness(self) -> Readiness:
        """Say whether requests can be served; does not raise."""
        now = asyncio.get_running_loop().time()
        if self._asking is None or (self._asking.done() and now - self._asked_at > _SHARED_SECONDS):
            self._asking = asyncio.create_task(self._ask())
            self._asked_at = now
        # One who gives up must not take the answer from the others.
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Readiness:
        loop = asyncio.get_running_loop()
        started = loop.time()

        async def ask(question: Any) -> tuple[Any, BaseException | None, float]:
            answer, error = None, None
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    answer = await question
            except Exception as caught:  # noqa: BLE001 - whatever it is, the dependency did not answer
                error = caught
            return answer, error, round((loop.time() - started) * 1000, 2)

        (row, away, database_ms), (_, cache_away, cache_ms) = await asyncio.gather(
            ask(self._ask_database()), ask(self._cache.ping())
        )
        unfit = away or self._unfit(row)
        self._log(database=away, schema=None if away else unfit)
        states = {
            "database": (away, database_ms),
            "schema": (unfit, database_ms),
            "cache": (cache_away, cache_ms),
        }
        checks = {
            name: {"state": "down" if error else "up", "milliseconds": milliseconds}
            for name, (error, milliseconds) in states.items()
        }
        return {"status": "unavailable" if unfit else "degraded" if cache_away else "ready", "checks": checks}

    async def _ask_database(self) -> Row | None:
        # Requests that wait for a connection are no reason to send them elsewhere, as long as others are answered.
        return None if self._database.busy else await self._database.fetch_row(SCHEMA_STATE)

    def _unfit(self, row: Row | None) -> Exception | None:
        """Whether the schema has become one that this release cannot run on; nobody looked if there is no row."""
        try:
            if row is not None:
                self._schema.require(*row)
        except SchemaRangeError as error:
            return error
        return None

    def _log(self, **errors: BaseException | None) -> None:
        for name, error in errors.items():
            if error is None:
                self._outages[name].ended()
            else:
                self._outages[name].met(repr(error.__cause__ or error))

"""Health for load balancers and people: alive, ready, and which release this is."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

from fastapi import APIRouter
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import JSONResponse

from service.database import Statement
from service.errors import DatabaseUnavailableError
from service.logs import log
from service.migrations.schema_range import SELECT_SCHEMA_STATE
from service.parts import Parts

router = APIRouter(tags=["health"])

_SCHEMA_STATE = Statement(text(SELECT_SCHEMA_STATE))


@router.get("/health/live")
async def live() -> JSONResponse:
    """Say that the process answers; asks nobody else, so that a database's trouble restarts no worker."""
    return JSONResponse({"status": "ok"})


@router.get("/health/ready")
async def ready(request: Request) -> JSONResponse:
    """Say whether requests can be served: 503 without PostgreSQL, and `degraded` without Valkey.

    Answers within a second. Says what is down, not why: the reason is in the log.
    """
    parts = Parts.of(request)
    timeout_seconds = parts.settings.health_timeout_seconds
    database, cache = await asyncio.gather(
        _check("database", parts.database.fetch_row(_SCHEMA_STATE), timeout_seconds),
        _check("cache", parts.cache.ping(), timeout_seconds),
    )
    up = {"state": "up"}.items()
    status = "unavailable" if not up <= database.items() else "ready" if up <= cache.items() else "degraded"
    content = {"status": status, "checks": {"database": database, "cache": cache}}
    return JSONResponse(content, 503 if status == "unavailable" else 200)


@router.get("/version")
async def version(request: Request) -> JSONResponse:
    """Name the release, since when this worker runs it, and the schema; `database` is null while PostgreSQL is away."""
    parts = Parts.of(request)
    release = parts.release
    try:
        revision = await parts.database.fetch_value(_SCHEMA_STATE)
    except DatabaseUnavailableError:
        revision = None
    schema = release.schema
    content = {
        "release": release.name,
        "version": release.version,
        "digest": release.digest,
        "started_at": parts.started_at.isoformat(),
        "schema": {"database": revision, "head": schema.head, "oldest": schema.oldest, "newest": schema.newest},
    }
    return JSONResponse(content)


async def _check(name: str, answer: Awaitable[Any], timeout_seconds: float) -> dict[str, Any]:
    started = time.perf_counter()
    state = "up"
    try:
        async with asyncio.timeout(timeout_seconds):
            await answer
    except Exception as error:  # noqa: BLE001 - whatever it is, the dependency did not answer
        state = "down"
        log.warning("dependency is down", dependency=name, cause=repr(error.__cause__ or error))
    return {"state": state, "milliseconds": round((time.perf_counter() - started) * 1000, 2)}

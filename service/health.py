"""What operators ask: alive, ready, which release this is, and its figures."""

import asyncio
from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service import metrics
from service.errors import DatabaseUnavailableError, NotFoundError
from service.http.client_address import came_through_proxy
from service.http.routing import Route
from service.parts import Parts
from service.probe import SCHEMA_STATE

router = APIRouter(tags=["operations"], route_class=Route)


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Dependency(BaseModel):
    """How one dependency answered."""

    state: Literal["up", "down"]
    milliseconds: float = Field(description="how long it took to tell")


class Readiness(BaseModel):
    """Whether requests can be served."""

    status: Literal["ready", "degraded", "unavailable", "stopping"] = Field(
        description="degraded: served, but without the cache"
    )
    checks: dict[Literal["database", "schema", "cache"], Dependency]


class SchemaState(BaseModel):
    """The database's schema, and which ones the release runs on."""

    database: str | None = Field(description="null while PostgreSQL is away")
    head: str
    oldest: str
    newest: str


class RunningRelease(BaseModel):
    """What runs here."""

    release: str
    version: str
    digest: str = Field(description="empty where it runs from a source tree")
    started_at: datetime = Field(description="when this worker began")
    schema_state: SchemaState = Field(alias="schema")


@router.get("/health/live", response_model=Liveness)
async def live() -> JSONResponse:
    """Say that the process answers; asks nobody else, so that a database's trouble restarts no worker."""
    return JSONResponse({"status": "ok"})


@router.get("/health/ready", response_model=Readiness, responses={503: {"model": Readiness}})
async def ready(request: Request) -> JSONResponse:
    """Say whether requests can be served: 503 without PostgreSQL or while stopping, `degraded` without Valkey.

    Answers within a second. Says what is down, not why: the reason is in the log.
    """
    if request.app.state.replica_ends():
        return JSONResponse({"status": "stopping", "checks": {}}, 503)
    readiness = await Parts.of(request).probe.readiness()
    return JSONResponse(readiness, 503 if readiness["status"] == "unavailable" else 200)


@router.get("/metrics", include_in_schema=False)
async def figures(request: Request) -> Response:
    """Hand Prometheus the figures of all workers, and nobody else: what came through a proxy came from outside."""
    if came_through_proxy(request.scope, Parts.of(request).proxies):
        raise NotFoundError
    metrics.publish()
    content, media_type = await asyncio.to_thread(metrics.exposition, request.headers.get("accept", ""))
    return Response(content, media_type=media_type)


@router.get("/version", response_model=RunningRelease)
async def version(request: Request) -> JSONResponse:
    """Name the release, since when this worker runs it, and the schema; `database` is null while PostgreSQL is away."""
    parts = Parts.of(request)
    release = parts.release
    try:
        revision = await parts.database.fetch_value(SCHEMA_STATE)
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

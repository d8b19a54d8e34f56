"""The application: `gunicorn -c <conf> 'service.main:create_app()'`."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
from fastapi import FastAPI
from starlette.types import ASGIApp

from service import metrics
from service.accounts.letters import Letters
from service.accounts.passwords import Passwords
from service.accounts.tokens import Tokens
from service.cache import Cache
from service.connecting import connect
from service.database import Database
from service.errors import StartError
from service.housekeeping import Housekeeping
from service.http.body_limit import BodyLimit
from service.http.client_address import TrustedProxies
from service.http.compression import Gzip
from service.http.cors import Cors, Preflights
from service.http.envelope import Envelope
from service.http.routing import Route, own_literal_paths
from service.http.security_headers import SecurityHeaders
from service.imports import without
from service.mail.delivery import Delivery
from service.mail.transports import transport_of
from service.migrations.schema_range import SELECT_SCHEMA_STATE
from service.parts import Parts
from service.probe import Probe
from service.rate_limits.limits import RateLimits
from service.release import Release, read_release
from service.settings import Settings
from service.telemetry import Telemetry
from service.turns import Turns

with without("pydantic.v1"):  # which FastAPI looks for in every annotation of a route
    import service.accounts.me
    import service.accounts.routes
    import service.categories.routes
    import service.export.routes
    import service.health
    import service.tasks.category_routes
    import service.tasks.routes

_BULKS_AT_ONCE = 1
"""Of one worker: each may keep a core of PostgreSQL busy for a second."""


def create_app() -> FastAPI:
    """Make the application, or end the process with one line that says what to do.

    Called once in gunicorn's master, before any worker exists: a wrong setting or schema stops the start, and never a
    worker that is replaced while PostgreSQL happens to be away.
    """
    try:
        settings = Settings.load()
        release = read_release(settings.release_file)
        app = build_app(settings, release)
        asyncio.run(_require_schema(settings, release))
    except StartError as error:
        print(f"slipway: {error}", file=sys.stderr, flush=True)  # noqa: T201 - for whoever starts the process
        raise SystemExit(1) from None
    return app


def build_app(settings: Settings, release: Release) -> FastAPI:
    """Wire the application; reaches for nothing outside the process before its lifespan begins.

    Raises:
        SettingsError: the key ring is not one.
    """
    tokens = Tokens.from_settings(settings)
    telemetry = Telemetry(settings, release)
    transport = transport_of(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database, cache = Database(settings), Cache(settings)
        housekeeping = Housekeeping(settings, database)
        delivery = Delivery(settings, database, transport, Letters(settings).compose)
        parts = Parts(
            settings=settings,
            release=release,
            database=database,
            cache=cache,
            probe=Probe(database, cache, release.schema, settings.health_timeout_seconds),
            limits=RateLimits(settings, cache),
            proxies=TrustedProxies(settings.trusted_proxies),
            delivery=delivery,
            tokens=tokens,
            passwords=Passwords(settings),
            bulk_turns=Turns(_BULKS_AT_ONCE, settings.database_deadline_seconds),
        )
        await database.open()
        app.state.parts = parts
        housekeeping.start()
        delivery.start()
        try:
            with metrics.watching(_gauges(parts)):
                async with telemetry.running():
                    yield
        finally:
            await asyncio.gather(housekeeping.stop(), delivery.stop())
            parts.passwords.close()
            await asyncio.gather(cache.close(), database.close())

    app = FastAPI(
        title="Slipway",
        version=release.version,
        lifespan=lifespan,
        openapi_url="/openapi.json" if settings.serves_docs else None,
        docs_url="/docs" if settings.serves_docs else None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=telemetry.of_fastapi,
    )
    app.state.settings = settings
    app.state.replica_ends = bool  # False, until a worker knows better
    app.router.route_class = Route
    for part in (
        service.tasks.routes,
        service.tasks.category_routes,
        service.categories.routes,
        service.accounts.me,
        service.accounts.routes,
        service.export.routes,
        service.health,
    ):
        # Not include_router: it would build every route a second time, in each worker, at the first request.
        app.router.routes.extend(part.router.routes)
    app.openapi = partial(_document, app)  # type: ignore[method-assign] # as FastAPI's manual has it
    own_literal_paths(app.router.routes)
    # The server has use for it, too: what it refuses itself gets the same form.
    app.state.around = partial(_around, settings)
    app.middleware_stack = _stack(app.router, settings)
    return app


def _stack(router: ASGIApp, settings: Settings) -> ASGIApp:
    """What a request goes through before it is routed, from the inside out."""
    inner = Gzip(BodyLimit(router, settings.body_limit_bytes))
    return _around(settings, Preflights(inner, settings.cors_origins) if settings.cors_origins else inner)


def _around(settings: Settings, inner: ASGIApp) -> ASGIApp:
    """What surrounds every answer, a refusal too."""
    enveloped = Envelope(inner, SecurityHeaders(behind_tls=settings.environment != "local"))
    return Cors(enveloped, settings.cors_origins) if settings.cors_origins else enveloped


def _gauges(parts: Parts) -> metrics.Gauges:
    """What is read now and then for Prometheus."""
    pool = parts.database.pool
    return {
        metrics.RELEASE.labels(parts.release.name): lambda: 1,
        metrics.RESIDENT_MEMORY.labels(metrics.slot_name()): metrics.resident_bytes,
        metrics.CONNECTIONS.labels("in_use"): lambda: pool.in_use,
        metrics.CONNECTIONS.labels("idle"): lambda: pool.idle,
        metrics.WAITING.labels("database"): lambda: pool.waiting,
        metrics.WAITING.labels("passwords"): lambda: parts.passwords.at_once,
        metrics.WAITING.labels("bulk"): lambda: parts.bulk_turns.waiting,
        metrics.BREAKERS_OPEN.labels("cache"): lambda: not parts.cache.available,
    }


def _document(app: FastAPI) -> dict[str, Any]:
    from service.http.documentation import document  # noqa: PLC0415 - only who reads it pays for it

    app.openapi_schema = app.openapi_schema or document(app)
    return app.openapi_schema


async def _require_schema(settings: Settings, release: Release) -> None:
    connection = await connect(settings)
    try:
        row = await connection.fetchrow(SELECT_SCHEMA_STATE)
    except asyncpg.UndefinedTableError:
        row = None
    finally:
        await connection.close()
    release.schema.require(*(row or (None, None)))

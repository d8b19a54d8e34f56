"""The application: `gunicorn -c <conf> 'service.main:create_app()'`."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI

from service import errors
from service.accounts.passwords import Passwords
from service.accounts.tokens import Tokens
from service.body_limit import BodyLimit
from service.cache import Cache
from service.database import Database, connect
from service.errors import StartError
from service.imports import without
from service.logs import RequestLog
from service.migrations.schema_range import SELECT_SCHEMA_STATE
from service.parts import Parts
from service.release import Release, read_release
from service.settings import Settings

with without("pydantic.v1"):  # which FastAPI looks for in every annotation of a route
    import service.accounts.routes
    import service.categories.routes
    import service.health
    import service.tasks.routes


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

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = Parts(
            settings=settings,
            release=release,
            database=Database(settings),
            cache=Cache(settings),
            tokens=tokens,
            passwords=Passwords(settings),
        )
        await parts.database.open()
        app.state.parts = parts
        yield
        parts.passwords.close()
        await parts.database.close()

    app = FastAPI(
        title="Slipway",
        version=release.version,
        lifespan=lifespan,
        openapi_url="/openapi.json" if settings.serves_docs else None,
        docs_url="/docs" if settings.serves_docs else None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.settings = settings
    errors.install(app)
    app.add_middleware(BodyLimit, limit_bytes=settings.body_limit_bytes)
    app.add_middleware(RequestLog)  # added last, so outermost
    for part in (service.health, service.accounts.routes, service.categories.routes, service.tasks.routes):
        # Not include_router: it would build every route a second time, in each worker, at the first request.
        app.router.routes.extend(part.router.routes)
    return app


async def _require_schema(settings: Settings, release: Release) -> None:
    connection = await connect(settings)
    try:
        row = await connection.fetchrow(SELECT_SCHEMA_STATE)
    except asyncpg.UndefinedTableError:
        row = None
    finally:
        await connection.close()
    release.schema.require(*(row or (None, None)))

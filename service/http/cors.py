"""Which web pages of other origins may use the API from a browser: those that the settings name, and no other.

Starlette's middleware in two places, so that errors get their headers, and preflights their line in the log.
"""

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

_MAX_AGE_SECONDS = 600
_SENT = ("Authorization", "Idempotency-Key", "If-Match", "If-None-Match", "X-Request-ID")
_READ = ("ETag", "Location", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Retry-After", "X-Request-ID")


class Cors(CORSMiddleware):
    """Adds headers to what the application answers; goes around everything.

    Tokens travel in the Authorization header, never in cookies, so there are no credentials to allow.
    """

    def __init__(self, app: "ASGIApp", origins: "Sequence[str]") -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("DELETE", "GET", "PATCH", "POST", "PUT"),
            allow_headers=_SENT,
            expose_headers=_READ,
            max_age=_MAX_AGE_SECONDS,
        )

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        else:
            await self.simple_response(scope, receive, send, request_headers=Headers(scope=scope))


class Preflights(Cors):
    """Answers preflight requests; goes where the log sees it."""

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one request.

        Raises:
            HTTPException: a preflight asks for more than is allowed.
        """
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            headers = Headers(scope=scope)
            if "origin" in headers and "access-control-request-method" in headers:
                response = self.preflight_response(headers)
                if response.status_code != HTTPStatus.OK:
                    raise HTTPException(response.status_code, bytes(response.body).decode())
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)

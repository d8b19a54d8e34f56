"""What surrounds every request: its id, the answer to whatever it raises, common headers, its access line."""

import os
import re
import time
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service import metrics
from service.errors import ProblemError
from service.http.problems import problem_of
from service.http.security_headers import SecurityHeaders
from service.logs import log

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CLIENT_GONE = 499
"""What the log says of a request whose client left before it had sent it; nginx's number."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Envelope:
    """The outermost layer, around the rest of the application.

    It takes the place of Starlette's stack of exception handlers: one `try` for a request instead of five, and no task
    and queues of BaseHTTPMiddleware. What the layers inside leave in `scope["state"]` - `account_id`, more `headers`
    for the answer, more fields of the `log` line - it puts where it belongs.
    """

    def __init__(self, app: "ASGIApp", security: SecurityHeaders) -> None:
        self._app = app
        self._complete = security.complete

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        method = scope["method"]
        if method == "HEAD":  # answered as GET; the server leaves the body out (RFC 9110, section 9.3.2)
            scope = {**scope, "method": "GET"}
        request_id = _request_id(scope["headers"])
        state: dict[str, Any] = {"request_id": request_id.decode()}
        scope["state"] = state
        status = 0

        async def send_in_envelope(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._complete(
                    [*message["headers"], *state.get("headers", ()), (b"x-request-id", request_id)]
                )
            await send(message)

        try:
            await self._app(scope, receive, send_in_envelope)
        except ClientDisconnect:
            status = _CLIENT_GONE
        except Exception as error:
            if not isinstance(error, ProblemError | HTTPException):
                log.exception("unexpected error", request_id=state["request_id"])
            elif error.__cause__ is not None:
                state["log"] = {"cause": repr(error.__cause__)}
            if status:  # half an answer is on its way: only cutting the connection can tell the client
                raise
            await problem_of(error, scope)(scope, receive, send_in_envelope)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", None)
            metrics.observe(method, route, status, seconds)
            log.info(
                "request",
                request_id=state["request_id"],
                method=method,
                route=route,
                status=status,
                duration_ms=round(seconds * 1000, 2),
                account_id=state.get("account_id"),
                **state.get("log", {}),
            )


def _request_id(headers: list[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value
    return os.urandom(16).hex().encode()

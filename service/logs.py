"""Logs: one JSON object a line on stdout, from us, uvicorn and gunicorn alike, and one line for each request."""

import contextlib
import json
import logging
import os
import re
import sys
import time
from typing import TYPE_CHECKING, Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from service.errors import problem
from service.imports import without

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

with without("rich"):  # which structlog's console renderer takes when it is there, with pygments behind it
    import structlog

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

_STAMPS = (structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True))
_AS_JSON = (
    structlog.processors.format_exc_info,
    # ASCII, so no character of a client's can end a line or move a terminal's cursor.
    structlog.processors.JSONRenderer(serializer=json.dumps, default=str),
)


class _Output:
    """Writes each line whole and at once, to whatever stdout is at that moment."""

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a full disk costs us the log, and no client its answer
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    info = warning = error = critical = msg


structlog.configure(
    processors=[*_STAMPS, *_AS_JSON],
    wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    logger_factory=lambda *_: _Output(),
    cache_logger_on_first_use=True,
)
log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class GunicornLogger(Logger):  # type: ignore[misc] # gunicorn is untyped
    """gunicorn's log, which uvicorn's worker shares, in our form."""

    def setup(self, cfg: Any) -> None:
        """Replace gunicorn's handler."""
        super().setup(cfg)
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=list(_STAMPS),
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_AS_JSON],
            )
        )
        self.error_log.handlers = [handler]


class RequestLog:
    """The outermost layer: gives each request its id, turns what nobody foresaw into a 500, writes the access line.

    Pure ASGI: Starlette's BaseHTTPMiddleware costs a task and two queues for every request.
    """

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope["headers"])
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0

        async def send_with_id(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("unexpected error", request_id=request_id)
            if status:  # half an answer is on its way: only cutting the connection can tell the client
                raise
            response = problem(500, "internal", "Something went wrong on our side.", request_id=request_id)
            await response(scope, receive, send_with_id)
        finally:
            log.info(
                "request",
                request_id=request_id,
                method=scope["method"],
                route=getattr(scope.get("route"), "path", None),
                status=status,
                duration_ms=round((time.perf_counter() - started) * 1000, 2),
                account_id=state.get("account_id"),
                **state.get("log", {}),
            )


def _request_id(headers: list[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode()
    return os.urandom(16).hex()

"""The largest request body we take, declared or chunked; anything longer is a 413.

Starlette has such a limit, but answers in plain text.
"""

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from service.errors import CODES, problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class BodyLimit:
    """Refuses bodies of more than `limit_bytes`, before they are read if their length is declared."""

    def __init__(self, app: "ASGIApp", limit_bytes: int) -> None:
        self._app = app
        self._limit_bytes = limit_bytes
        self._detail = f"The body is larger than {limit_bytes} bytes."

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        chunked = False
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > self._limit_bytes:
                # Closing spares us the rest of a body that nobody will read.
                response = problem(
                    _TOO_LARGE,
                    CODES[_TOO_LARGE],
                    self._detail,
                    request_id=scope["state"]["request_id"],
                    headers={"Connection": "close"},
                )
                await response(scope, receive, send)
                return
            chunked = chunked or name == b"transfer-encoding"
        await self._app(scope, self._counted(receive) if chunked else receive, send)

    def _counted(self, receive: "Receive") -> "Receive":
        received_bytes = 0

        async def counted() -> "Message":
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > self._limit_bytes:
                # Of all exceptions, FastAPI lets only this one out of reading a body.
                raise HTTPException(_TOO_LARGE, self._detail, {"Connection": "close"})
            return message

        return counted

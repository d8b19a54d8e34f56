"""gzip, for whoever asks for it (RFC 9110, section 12.5.3), where it is worth it and safe.

Not worth it below a kilobyte. Not safe where an answer holds a secret beside what a client sent (BREACH): such answers
say `Cache-Control: no-store`. Not right where a strong ETag stands for the very bytes (RFC 9110, section 8.8.1).
"""

import asyncio
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LEAST_BYTES = 1024
_LEVEL = 4
_BLOCKING_BYTES = 128 * 1024
"""What takes longer than some milliseconds is compressed in a thread."""
_GZIP_WINDOW = 31  # zlib.compressobj's word for a gzip header and the largest window


class Gzip:
    """Compresses the answers of an application."""

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one request."""
        for name, value in scope.get("headers", ()):
            if name == b"accept-encoding" and _accepts_gzip(value):
                send = _Answer(send).send
                break
        await self._app(scope, receive, send)


class _Answer:
    """One answer, whose head waits until the first piece of its body is seen."""

    def __init__(self, send: "Send") -> None:
        self._send = send
        self._head: Message | None = None
        self._compressor: Any = None

    async def send(self, message: "Message") -> None:
        """Pass on a message of the application, compressed if it fits."""
        if message["type"] == "http.response.start":
            self._head = message
            return
        head, self._head = self._head, None
        if head is not None and _fits(head, message):
            self._compressor = zlib.compressobj(_LEVEL, wbits=_GZIP_WINDOW)
        if self._compressor is not None:
            message = {**message, "body": await self._compress(message)}
        if head is not None:
            if self._compressor is not None:
                _relabel(head, message)
            await self._send(head)
        await self._send(message)

    async def _compress(self, message: "Message") -> bytes:
        compressor, body = self._compressor, message.get("body", b"")

        def compress() -> bytes:
            compressed: bytes = compressor.compress(body)
            return compressed if message.get("more_body", False) else compressed + compressor.flush()

        return compress() if len(body) < _BLOCKING_BYTES else await asyncio.to_thread(compress)


def _fits(head: "Message", first: "Message") -> bool:
    """Whether an answer is long enough to be compressed, and may be."""
    if len(first.get("body", b"")) < _LEAST_BYTES and not first.get("more_body", False):
        return False
    headers = dict(head["headers"])
    return (
        b"content-encoding" not in headers
        and b"no-store" not in headers.get(b"cache-control", b"")
        and headers.get(b"etag", b"W/").startswith(b"W/")
    )


def _relabel(head: "Message", first: "Message") -> None:
    """Say in the head what its body is like now."""
    headers = [pair for pair in head["headers"] if pair[0] != b"content-length"]
    if not first.get("more_body", False):
        headers.append((b"content-length", str(len(first["body"])).encode()))
    head["headers"] = [*headers, (b"content-encoding", b"gzip")]


def _accepts_gzip(value: bytes) -> bool:
    for part in value.lower().split(b","):
        name, _, weight = part.partition(b";")
        if name.strip() == b"gzip":
            return weight.replace(b" ", b"").rstrip(b"0.") != b"q="  # q=0 is a no
    return False

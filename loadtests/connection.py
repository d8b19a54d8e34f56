"""A plain HTTP/1.1 connection that tells what happened to each request, in few distinct words."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from loadtests.journeys import Request

__all__ = ["Answer", "Connection", "request_bytes"]

HEADER = re.compile(rb"\r\n([^:\r\n]+):[ \t]*([^\r\n]*)")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Args:
        status: of HTTP.
        headers: values by name in lower case.
        body: as it came.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """One connection to a server. Not for several requests at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, netloc: str) -> None:
        self._reader, self._writer, self._netloc = reader, writer, netloc
        self._usable = True

    @classmethod
    async def open(cls, server: str, trust: ssl.SSLContext | None = None) -> Self:
        """Connect to the server of a URL; OSError when it does not take connections.

        Args:
            server: its URL, without path.
            trust: whom to trust where it is an https one.
        """
        url = urlsplit(server)
        secure = url.scheme == "https"
        streams = await asyncio.open_connection(
            url.hostname, url.port or (443 if secure else 80), ssl=trust if secure else None
        )
        return cls(*streams, url.netloc)

    @property
    def usable(self) -> bool:
        """Whether another request can be sent: nobody closed it or said that it ends."""
        return self._usable and not self._reader.at_eof()

    async def ask(self, request: Request) -> Answer:
        """Send a request and wait for the whole answer.

        Raises:
            OSError: the connection broke.
            EOFError: it was closed before the answer was whole.
            ValueError: what came is not HTTP.
        """
        self._usable = False
        self._writer.write(request_bytes(request, self._netloc))
        head = await self._reader.readuntil(b"\r\n\r\n")
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in HEADER.findall(head)}
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        self._usable = headers.get("connection", "").lower() != "close"
        return Answer(int(head[9:12]), headers, body)  # after "HTTP/1.1 "

    def close(self) -> None:
        """Let go of it, at once."""
        with contextlib.suppress(OSError):
            self._writer.transport.abort()


def request_bytes(request: Request, netloc: str) -> bytes:
    """A request as it goes over the wire."""
    body = (request.body or "").encode()
    headers = {"Host": netloc, "Accept": "application/json", **request.headers}
    if request.body is not None:
        headers["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{request.method} {request.path} HTTP/1.1\r\n{head}\r\n".encode() + body

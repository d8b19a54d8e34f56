"""HTTP/1.1 on one connection: uvicorn's, with bounds on what a client may send and on how long it may take.

What does not get as far as the application is refused in the application's own form. A request that arrives in one
piece, as nearly all do, pays for it with a few comparisons, and saves uvicorn's timer: limits of time are deadlines,
which the worker looks at once a second (`expire`).
"""

import asyncio
import math
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.errors import (
    BodyTooLargeError,
    HeadersTooLargeError,
    MalformedRequestError,
    RefusedRequestError,
    RequestTimeoutError,
    UrlTooLongError,
)
from service.http.heads import require_sound

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send
    from uvicorn._types import ASGIReceiveEvent

    from service.settings import Settings

_OF_A_BODY = frozenset({b"content-length", b"transfer-encoding"})
_LINGER_SECONDS = 2.0
_WIRE_BYTES_PER_BODY_BYTE = 8
"""Chunked into single bytes, a body takes six times its length."""


class _Stage(Enum):
    BETWEEN = "between two requests"
    HEAD = "in a request's line or headers"
    BODY = "in a request's body"


class _Bounds(NamedTuple):
    head_bytes: int
    headers: int
    url_bytes: int
    wire_bytes: int
    seconds: dict[_Stage, float]

    @classmethod
    def of(cls, settings: "Settings", keep_alive_seconds: float) -> "_Bounds":
        return cls(
            head_bytes=settings.header_limit_bytes,
            headers=settings.header_limit_count,
            url_bytes=settings.url_limit_bytes,
            wire_bytes=settings.header_limit_bytes + settings.body_limit_bytes * _WIRE_BYTES_PER_BODY_BYTE,
            seconds={
                _Stage.BETWEEN: keep_alive_seconds,
                _Stage.HEAD: settings.header_timeout_seconds,
                _Stage.BODY: settings.body_timeout_seconds,
            },
        )


class BoundedProtocol(HttpToolsProtocol):
    """One connection; the bounds stand in the settings that the application's state holds."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        state = cast("Any", self.config.app).state
        self._bounds = _Bounds.of(state.settings, self.timeout_keep_alive)
        self._around: Callable[[ASGIApp], ASGIApp] = state.around
        self._stage = _Stage.BETWEEN
        self._timed: _Stage | None = None
        self._upload: _Upload | None = None
        self._fed_bytes = self._foreign_bytes = self._piece_bytes = 0
        self._deadline = math.inf
        self._deaf = False
        self._lingering = False

    def connection_made(self, transport: "asyncio.Transport") -> None:  # type: ignore[override] # uvicorn's own form
        """Begin; who connects and says nothing does not stay."""
        super().connection_made(transport)
        self._due(_Stage.HEAD)

    def data_received(self, data: bytes) -> None:
        """Parse what came; the parser calls what follows below."""
        if self._deaf:
            return
        if self._stage is _Stage.BETWEEN:
            self._fed_bytes = self._foreign_bytes = 0
            # The parser would pass over a second blank, as RFC 9112 (section 3) allows; others would not.
            blank = data.find(b" ")
            if data[blank : blank + 2] == b"  ":
                self._refuse(MalformedRequestError())
                return
        self._piece_bytes = len(data)
        self._fed_bytes += self._piece_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request is answered as if it had not asked; what follows it may be of any protocol.
            self._deaf = True
            self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            refusal = error.__context__
            self._refuse(refusal if isinstance(refusal, RefusedRequestError) else MalformedRequestError())
        else:
            if self._stage is not _Stage.BETWEEN:
                self._bound_rest()

    def pause_writing(self) -> None:
        """The client reads slower than we write: it has as long as an idle connection."""
        super().pause_writing()
        self._due(_Stage.BETWEEN)

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        if not self.cycle.response_complete:
            self._deadline = math.inf

    # What the parser calls; it hands on what is raised here to `data_received`

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        super().on_message_begin()
        self._stage = _Stage.HEAD
        self._timed = self._upload = None

    def on_headers_complete(self) -> None:
        """Hand the request to the application, unless its head is out of bounds."""
        self._require_short_url()
        bounds = self._bounds
        if len(self.headers) > bounds.headers or (
            self._fed_bytes > bounds.head_bytes
            and sum(len(name) + len(value) for name, value in self.headers) > bounds.head_bytes
        ):
            raise HeadersTooLargeError
        require_sound(self.headers, self.parser.get_http_version())
        if self.parser.should_upgrade() and any(name in _OF_A_BODY for name, _ in self.headers):
            # The parser would take the body for the next request: a way to smuggle one past a proxy.
            raise MalformedRequestError("A request that asks for an upgrade cannot have a body.")
        super().on_headers_complete()
        self._stage = _Stage.BODY
        self.headers = []  # what comes now are trailers, and none of the application's business

    def on_message_complete(self) -> None:
        """Note that a request is here as a whole: uvicorn's, without a look at WebSockets."""
        self._stage = _Stage.BETWEEN
        # What begins in the same piece cannot be told from what ends in it: the next piece is all its own.
        self._fed_bytes = self._foreign_bytes = self._piece_bytes
        if self.cycle.response_complete:
            self._due(_Stage.BETWEEN)
        else:
            self.cycle.more_body = False
            self.cycle.message_event.set()
            self._deadline = math.inf  # the application's time, which has limits of its own

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for it: uvicorn's, but for its timer."""
        self.server_state.total_requests += 1
        if self._lingering:
            return
        # Also where the connection is being closed: who does not read the answer must not stay for ever.
        self._due(self._stage)
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._deadline = math.inf
            self._start_asgi_task(*self.pipeline.pop())

    def expire(self, now: float) -> None:
        """Part with a client that takes too long; `now` is the loop's time in seconds."""
        if now < self._deadline:
            return
        if self._lingering or self.transport.is_closing():
            self.transport.abort()
        elif self._deaf or self._stage is _Stage.BETWEEN:
            self.transport.close()
            self._deadline = now + _LINGER_SECONDS
        else:
            self._refuse(RequestTimeoutError())

    def close(self) -> None:
        """Close as the client needs it: see `linger`."""
        if self._stage is _Stage.BETWEEN:
            self.transport.close()
        else:
            self.linger()

    def linger(self) -> None:
        """Close such that what we wrote arrives.

        A socket that is closed with unread bytes in it resets the connection, and the reset overtakes the answer
        (RFC 9112, section 9.6). So we only stop writing, and give the client a moment to do the same.
        """
        self._deaf = self._lingering = True
        self._deadline = self.loop.time() + _LINGER_SECONDS
        self.flow.resume_reading()
        if not self.transport.is_closing():
            self.transport.write_eof()

    def _due(self, stage: _Stage) -> None:
        self._deadline = self.loop.time() + self._bounds.seconds[stage]

    def _bound_rest(self) -> None:
        """Bound a request of which a part is still to come: the time it may take, and its bytes."""
        if self._timed is not self._stage:
            self._timed = self._stage
            self._due(self._stage)
            if self._stage is _Stage.BODY:
                self._upload = _Upload(self, self.cycle)
        try:
            if self._stage is _Stage.HEAD:
                self._require_short_url()
                if self._own_bytes > self._bounds.head_bytes + self._bounds.url_bytes:
                    raise HeadersTooLargeError
            elif self._own_bytes > self._bounds.wire_bytes:
                raise BodyTooLargeError
        except RefusedRequestError as refusal:
            self._refuse(refusal)

    @property
    def _own_bytes(self) -> int:
        """Of this request, without those that came in one piece with the end of another."""
        return self._fed_bytes - self._foreign_bytes

    def _require_short_url(self) -> None:
        if len(self.url) > self._bounds.url_bytes:
            raise UrlTooLongError

    def _refuse(self, refusal: RefusedRequestError) -> None:
        """Let the refusal be the answer to the request that is coming in, after those before it; then close."""
        self._deaf = True
        if self._stage is not _Stage.BODY:
            self._answer(refusal)
        elif self.cycle.response_complete:
            self.linger()
            return
        else:
            self._upload = self._upload or _Upload(self, self.cycle)
            self._upload.refuse(refusal)
        self._due(_Stage.BETWEEN)

    def _answer(self, refusal: RefusedRequestError) -> None:
        """Serve a request whose head cannot be read."""
        if self._stage is _Stage.BETWEEN:
            self.on_message_begin()
        before: RequestResponseCycle | None = self.cycle
        self.scope |= {"method": "", "path": "", "raw_path": b"", "query_string": b""}
        self.cycle = RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )
        _Upload(self, self.cycle)
        application = cast("Any", self._around(_refusing(refusal)))
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, application)
        else:
            self.pipeline.appendleft((self.cycle, application))


class _Upload:
    """A request of which a part is still to come, as the application sees it: what it receives and where it writes."""

    def __init__(self, protocol: BoundedProtocol, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._refusal: RefusedRequestError | None = None
        self._receive = cycle.receive
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing
        self.close = protocol.close
        cycle.receive = self.receive  # type: ignore[method-assign] # its task has not begun, and will find this one
        cycle.transport = cast("asyncio.Transport", self)

    async def receive(self) -> "ASGIReceiveEvent":
        """Receive as uvicorn lets it.

        Raises:
            RefusedRequestError: the rest will not come.
        """
        message = await self._receive()
        if self._refusal is not None:
            raise self._refusal
        return message

    def refuse(self, refusal: RefusedRequestError) -> None:
        """Tell the application, when it reads, that the rest will not come."""
        self._refusal = refusal
        self._cycle.keep_alive = False
        self._cycle.message_event.set()


def _refusing(refusal: RefusedRequestError) -> "ASGIApp":
    async def refuse(scope: "Scope", receive: "Receive", send: "Send") -> None:
        del scope, receive, send
        raise refusal

    return refuse

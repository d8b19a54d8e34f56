"""What a connection takes and what it refuses, byte by byte, on a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from service.http.cors import Cors
from service.http.envelope import Envelope
from service.http.protocol import BoundedProtocol
from service.http.security_headers import SecurityHeaders

BOUNDS = {
    "url_limit_bytes": 200,
    "header_limit_bytes": 1000,
    "header_limit_count": 10,
    "body_limit_bytes": 1000,
    "header_timeout_seconds": 10.0,
    "body_timeout_seconds": 30.0,
}
KEEP_ALIVE_SECONDS = 75
PAGE = "https://app.example.com"


async def until(condition: Callable[[], Any]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what it asks for has no event
            await asyncio.sleep(0.01)


class Echo:
    """Answers with what it was asked, after having read all of it."""

    def __init__(self) -> None:
        security = SecurityHeaders(behind_tls=True)
        self.state = SimpleNamespace(
            settings=SimpleNamespace(**BOUNDS), around=lambda app: Cors(Envelope(app, security), [PAGE])
        )
        self.calls: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()
        self._app = Envelope(self._answer, security)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        call = {"method": scope["method"], "path": scope["path"], "headers": scope["headers"], "body": b""}
        self.calls.append(call)
        await self.open.wait()
        more = not scope["path"].startswith("/at-once")
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            call["body"] += message["body"]
            more = message["more_body"]
        content = b"x" * (8_000_000 if scope["path"] == "/large" else 3)
        headers = [(b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


class Served:
    """The echo, served on a port of loopback."""

    def __init__(self, echo: Echo, state: ServerState, port: int) -> None:
        self.echo, self.state, self.port = echo, state, port
        self.clients: list[Client] = []

    async def connect(self) -> "Client":
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.clients.append(Client(reader, writer))
        return self.clients[-1]

    async def ask(self, *pieces: bytes) -> "Answer":
        """Send on a connection of its own, and read one answer."""
        client = await self.connect()
        await client.send(*pieces)
        return await client.answer()

    def pass_time(self, seconds: float) -> None:
        """Let the worker look, this much later."""
        for connection in list(self.state.connections):
            connection.expire(asyncio.get_running_loop().time() + seconds)  # type: ignore[union-attr]


class Answer:
    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = [line.split(": ", 1) for line in lines if line]
        self.body = body

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name]
        assert len(found) < 2, found
        return found[0] if found else None


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            if len(pieces) > 1:
                await asyncio.sleep(0.01)  # so that most of them arrive apart

    async def answer(self) -> Answer:
        async with asyncio.timeout(30):
            head = await self.reader.readuntil(b"\r\n\r\n")
            answer = Answer(head, b"")
            answer.body = await self.reader.readexactly(int(answer.header("content-length") or 0))
            return answer

    async def ended(self) -> bytes:
        """What comes until the other side closes."""
        async with asyncio.timeout(30):
            return await self.reader.read()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    echo, state, loop = Echo(), ServerState(), asyncio.get_running_loop()
    config = Config(echo, http=BoundedProtocol, ws="none", lifespan="off", log_config=None, access_log=False)
    config.timeout_keep_alive = KEEP_ALIVE_SECONDS

    def protocol() -> BoundedProtocol:
        return BoundedProtocol(config=config, server_state=state, app_state={}, _loop=loop)

    server = await loop.create_server(protocol, "127.0.0.1", 0)
    served = Served(echo, state, server.sockets[0].getsockname()[1])
    yield served
    server.close()
    echo.open.set()
    for client in served.clients:
        client.writer.transport.abort()
    for connection in list(state.connections):
        connection.transport.abort()
    await until(lambda: not (state.tasks or state.connections))


def refusal(answer: Answer, status: int, code: str) -> None:
    """It is a problem like every other, and the last word."""
    assert answer.status == status
    assert answer.header("content-type") == "application/problem+json"
    assert answer.header("connection") == "close"
    content = json.loads(answer.body)
    assert content["type"] == f"/problems/{code}"
    assert content["status"] == status
    assert content["request_id"] == answer.header("x-request-id")
    assert len(content["request_id"]) == 32
    assert answer.header("x-content-type-options") == "nosniff"


POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
MALFORMED = {
    "length and chunks": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "two lengths that differ": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "list of lengths": POST + b"Content-Length: 3, 3\r\n\r\nabc",
    "length in letters": POST + b"Content-Length: abc\r\n\r\nabc",
    "negative length": POST + b"Content-Length: -1\r\n\r\nabc",
    "signed length": POST + b"Content-Length: +3\r\n\r\nabc",
    "length with underscore": POST + b"Content-Length: 1_0\r\n\r\nabc",
    "endless length": POST + b"Content-Length: 99999999999999999999999\r\n\r\nabc",
    "empty length": POST + b"Content-Length: \r\n\r\nabc",
    "folded length": POST + b"Content-Length:\r\n 3\r\n\r\nabc",
    "folded header": GET + b"X: a\r\n b\r\n\r\n",
    "folded start": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "chunks twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks, then something": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "blank before colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "bad chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\nZ\r\nx\r\n0\r\n\r\n",
    "endless chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx\r\n0\r\n\r\n",
    "chunk without CR": POST + b"Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
    "NUL in a value": GET + b"X: a\0b\r\n\r\n",
    "NUL in a name": GET + b"X\0: a\r\n\r\n",
    "bare CR": GET + b"X: a\rb\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "letter beyond ASCII in a name": GET + b"X\xe9: a\r\n\r\n",
    "no name": GET + b": a\r\n\r\n",
    "NUL in the path": b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "raw UTF-8 in the path": "GET /é HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "no path": b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT": b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "unknown method": b"FROBNICATE / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/0.9 with a header": b"GET /\r\nHost: a\r\n\r\n",
    "two blanks after the method": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: b\r\n\r\n",
    "the same host twice": GET + b"Host: a\r\n\r\n",
    "a blank in the host": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "a path in the host": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a user in the host": b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "a query in the host": b"GET / HTTP/1.1\r\nHost: a?b#c\r\n\r\n",
    "a port in letters": b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
    "two ports": b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n",
    "half a bracket": b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "a broken escape in the host": b"GET / HTTP/1.1\r\nHost: a%2\r\n\r\n",
    "a byte beyond ASCII in the host": b"GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n",
    "upgrade with a body": POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_is_refused(served: Served, request_bytes: bytes) -> None:
    client = await served.connect()
    await client.send(request_bytes)
    refusal(await client.answer(), 400, "malformed")
    assert await client.ended() == b""  # one answer to whatever it was
    assert all(call["path"] == "/" for call in served.echo.calls)  # at most begun, and only where the body is at fault


@pytest.mark.parametrize("host", ["a", "a.example:8080", "127.0.0.1:1", "[::1]:80", "[v1.x]", "%41", "a_b", "", "a:"])
async def test_hosts_that_are_one(served: Served, host: str) -> None:
    assert (await served.ask(b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n")).status == 200


async def test_each_request_of_a_connection_needs_its_host(served: Served) -> None:
    client = await served.connect()
    for _ in range(2):
        await client.send(GET + b"\r\n")
        assert (await client.answer()).status == 200
    await client.send(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
    refusal(await client.answer(), 400, "malformed")


async def test_http_1_0_knows_no_host(served: Served) -> None:
    assert (await served.ask(b"GET / HTTP/1.0\r\n\r\n")).status == 200


@pytest.mark.parametrize(
    "coding",
    [
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: xchunked",
    ],
)
async def test_a_transfer_coding_that_is_not_decoded_is_refused(served: Served, coding: bytes) -> None:
    answer = await served.ask(POST + coding + b"\r\n\r\n0\r\n\r\n")
    refusal(answer, 501, "unknown-transfer-coding")
    assert served.echo.calls == []


async def test_expectations(served: Served) -> None:
    refusal(await served.ask(POST + b"Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx"), 417, "expectation-failed")
    assert served.echo.calls == []
    client = await served.connect()
    await client.send(POST + b"Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n")
    assert (await client.answer()).status == 100
    await client.send(b"x")
    assert (await client.answer()).status == 200


BODY_OF_UPGRADE = POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 39\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_the_body_of_an_upgrade_is_no_request(served: Served) -> None:
    refusal(await served.ask(BODY_OF_UPGRADE, SMUGGLED), 400, "malformed")
    assert served.echo.calls == []


async def test_an_upgrade_is_ignored_and_what_follows_it_too(served: Served) -> None:
    client = await served.connect()
    await client.send(GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", SMUGGLED)
    assert (answer := await client.answer()).status == 200
    assert answer.header("connection") == "close"
    assert await client.ended() == b""
    assert [call["path"] for call in served.echo.calls] == ["/"]


@pytest.mark.parametrize("target", [b"/%ff%fe", b"/%00", b"/%ed%a0%80", b"/?q=%ff%zz", b"/%", b"http://a/b?c"])
async def test_odd_targets_reach_the_application_as_text(served: Served, target: bytes) -> None:
    assert (await served.ask(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
    served.echo.calls[0]["path"].encode()  # no half of a surrogate pair


async def test_trailers_are_not_headers(served: Served) -> None:
    body = b"1\r\nx\r\n0\r\nAuthorization: Bearer stolen\r\n\r\n"
    assert (await served.ask(POST + b"Transfer-Encoding: chunked\r\n\r\n", body)).status == 200
    assert served.echo.calls[0]["body"] == b"x"
    assert b"authorization" not in dict(served.echo.calls[0]["headers"])


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET /" + b"a" * 195 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 200, ""),
        (b"GET /" + b"a" * 205 + b" HTTP/1.1\r\n\r\n", 414, "url-too-long"),
        (b"GET /?" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", 414, "url-too-long"),
        (GET + b"X: " + b"a" * 900 + b"\r\n\r\n", 200, ""),
        (GET + b"X: " + b"a" * 1000 + b"\r\n\r\n", 431, "headers-too-large"),
        (GET + b"X: " + b"a" * 5000 + b"\r\n\r\n", 431, "headers-too-large"),
        (GET + b"X" * 5000 + b": a\r\n\r\n", 431, "headers-too-large"),
        (GET + b"X: a\r\n" * 9 + b"\r\n", 200, ""),
        (GET + b"X: a\r\n" * 10 + b"\r\n", 431, "headers-too-large"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 5000, 431, "headers-too-large"),
    ],
)
async def test_heads_are_bounded(served: Served, pieces: int, head: bytes, status: int, code: str) -> None:
    if pieces == 1 and not head.endswith(b"\r\n\r\n"):
        pieces = 2
    size = -(-len(head) // pieces)
    answer = await served.ask(*(head[start : start + size] for start in range(0, len(head), size)))
    if status == 200:
        assert answer.status == 200
    else:
        refusal(answer, status, code)
        assert served.echo.calls == []


async def test_a_request_id_is_kept_when_the_head_is_refused(served: Served) -> None:
    answer = await served.ask(b"GET / HTTP/1.1\r\nX-Request-ID: mine\r\nX: a\0b\r\n\r\n")
    assert answer.header("x-request-id") == "mine"


@pytest.mark.parametrize("wrong", [b"X: a\0b", b"X: " + b"a" * 5000, b"Expect: 200-ok", b"Host: b"])
async def test_a_page_can_read_why_its_request_was_refused(served: Served, wrong: bytes) -> None:
    answer = await served.ask(GET + b"Origin: " + PAGE.encode() + b"\r\n" + wrong + b"\r\n\r\n")
    assert answer.status >= 400
    assert answer.header("access-control-allow-origin") == PAGE


async def test_bodies_are_bounded_on_the_wire(served: Served) -> None:
    piece = b"1;" + b"a" * 500 + b"\r\nx\r\n"  # one byte of body
    answer = await served.ask(POST + b"Transfer-Encoding: chunked\r\n\r\n", *[piece] * 20)
    refusal(answer, 413, "body-too-large")


async def test_trailers_are_bounded(served: Served) -> None:
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    refusal(await served.ask(head, *[b"X: " + b"a" * 2000 + b"\r\n"] * 6), 413, "body-too-large")


async def test_pieces_are_one_request(served: Served) -> None:
    request = POST + b"Content-Length: 4\r\n\r\nabcd"
    client = await served.connect()
    await client.send(*(request[i : i + 1] for i in range(len(request))))
    assert (await client.answer()).status == 200
    assert served.echo.calls[0]["body"] == b"abcd"
    await client.send(GET + b"\r\n")  # and the connection is as good as before
    assert (await client.answer()).status == 200


async def test_slow_heads(served: Served) -> None:
    client = await served.connect()
    await client.send(b"GET / HT")
    await until(lambda: served.state.connections)
    served.pass_time(5)
    await client.send(b"TP/1.1\r\n", b"Host: a\r\n")
    served.pass_time(9)
    await client.send(b"X: ")
    served.pass_time(11)  # however steadily it drips
    refusal(await client.answer(), 408, "request-timeout")
    assert await client.ended() == b""
    assert served.echo.calls == []


async def test_slow_bodies(served: Served) -> None:
    client = await served.connect()
    await client.send(POST + b"Content-Length: 9\r\n\r\n", b"abc")
    served.pass_time(29)
    await client.send(b"def")
    served.pass_time(31)
    refusal(await client.answer(), 408, "request-timeout")
    assert await client.ended() == b""


async def test_silent_connections_are_closed(served: Served) -> None:
    client = await served.connect()
    await until(lambda: served.state.connections)
    served.pass_time(9)
    assert served.state.connections
    served.pass_time(11)
    assert await client.ended() == b""


async def test_kept_connections_are_closed_when_idle(served: Served) -> None:
    client = await served.connect()
    await client.send(GET + b"\r\n")
    assert (await client.answer()).status == 200
    served.pass_time(KEEP_ALIVE_SECONDS - 1)
    await client.send(GET + b"\r\n")
    assert (await client.answer()).status == 200
    served.pass_time(KEEP_ALIVE_SECONDS + 1)
    assert await client.ended() == b""


async def test_the_application_may_take_its_time(served: Served) -> None:
    served.echo.open.clear()
    client = await served.connect()
    await client.send(GET + b"\r\n")
    await until(lambda: served.echo.calls)
    served.pass_time(1000)
    served.echo.open.set()
    assert (await client.answer()).status == 200


async def test_who_does_not_read_the_answer_is_cut_off(served: Served) -> None:
    client = await served.connect()
    await client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: served.echo.calls and next(iter(served.state.connections)).transport.get_write_buffer_size())
    served.pass_time(KEEP_ALIVE_SECONDS + 1)
    assert served.state.connections  # asked to close, with the answer still to be sent
    served.pass_time(KEEP_ALIVE_SECONDS + 10)
    await until(lambda: not served.state.connections)


async def test_who_reads_slowly_gets_it_all(served: Served) -> None:
    client = await served.connect()
    await client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: served.echo.calls)
    assert len((await client.answer()).body) == 8_000_000
    served.pass_time(KEEP_ALIVE_SECONDS - 1)
    await client.send(GET + b"\r\n")
    assert (await client.answer()).status == 200


async def test_an_early_answer_survives_the_rest_of_the_body(served: Served) -> None:
    client = await served.connect()
    await client.send(b"POST /at-once HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5000000\r\n\r\nabc")
    for _ in range(50):  # the client goes on, as most do, without a look at the answer
        await client.send(b"x" * 100_000)
    assert (await client.answer()).status == 200
    assert await client.ended() == b""
    await until(lambda: served.state.connections)
    served.pass_time(3)  # it is still sending: enough
    await until(lambda: not served.state.connections)


async def test_an_early_answer_keeps_the_connection_if_the_body_ends(served: Served) -> None:
    client = await served.connect()
    await client.send(b"POST /at-once HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
    assert (await client.answer()).status == 200
    served.pass_time(29)
    await client.send(b"def")
    await client.send(GET + b"\r\n")
    assert (await client.answer()).status == 200


async def test_an_early_answer_does_not_wait_for_the_body_for_ever(served: Served) -> None:
    client = await served.connect()
    await client.send(b"POST /at-once HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
    assert (await client.answer()).status == 200
    served.pass_time(31)
    assert await client.ended() == b""


async def test_pipelined_requests_are_answered_in_order_and_what_is_wrong_last(served: Served) -> None:
    served.echo.open.clear()
    client = await served.connect()
    first_two = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
    await client.send(first_two + b"GET /3 HT\0P", b"GET /4 HTTP/1.1\r\n\r\n")
    served.echo.open.set()
    assert (await client.answer()).status == 200
    assert (await client.answer()).status == 200
    refusal(await client.answer(), 400, "malformed")
    assert await client.ended() == b""
    assert [call["path"] for call in served.echo.calls] == ["/1", "/2"]


@pytest.mark.parametrize(
    ("many", "answers"),
    [
        (POST + b"Content-Length: 900\r\n\r\n" + b"x" * 900, 1),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 900 + b"0\r\n\r\n", 1),
        ((GET + b"\r\n") * 100, 100),
    ],
)
async def test_a_head_is_not_charged_for_what_came_before_it(served: Served, many: bytes, answers: int) -> None:
    client = await served.connect()
    await client.send(many * 3 + b"GET /last HT")
    for _ in range(3 * answers):
        assert (await client.answer()).status == 200
    await client.send(b"TP/1.1\r\nHost: a\r\n", b"\r\n")
    assert (await client.answer()).status == 200
    assert served.echo.calls[-1]["path"] == "/last"


async def test_a_head_that_begins_behind_another_request_is_bounded_too(served: Served) -> None:
    client = await served.connect()
    await client.send(GET + b"\r\nGET / HTTP/1.1\r\nHost: a\r\nX: ", b"a" * 700, b"a" * 700)
    assert (await client.answer()).status == 200
    refusal(await client.answer(), 431, "headers-too-large")


async def test_a_refusal_makes_one_access_line(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    await served.ask(b"GET /secret-in-the-path HTTP/1.1\r\nX: \0\r\n\r\n")
    await until(lambda: not served.state.tasks)
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert line["event"] == "request"
    assert line["status"] == 400
    assert line["route"] is None
    assert "secret" not in json.dumps(line)

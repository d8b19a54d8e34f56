"""No input gives a 500, and every answer is one that the document knows: hand-made nasties, over every operation."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from tests.service.contract.calls import OPERATIONS, Operation, Resident
from tests.service.contract.nasties import BODIES, HEADERS, IDS, QUERIES, TEXTS, TOKENS, VALUES

# Thousands of requests through lines that a few have covered: to trace them doubles the time they take.
pytestmark = pytest.mark.no_cover


class Attacker:
    """Somebody who sends a valid request with one thing in it changed, again and again."""

    def __init__(self, resident: Resident, operation: Operation) -> None:
        self._resident = resident
        self._operation = operation
        self.answers = 0

    async def send(
        self,
        what: str,
        *,
        path_ids: Mapping[str, str] = {},
        query: bytes | None = None,
        headers: Mapping[str, bytes] = {},
        content: bytes | None = None,
        pieces: bool = False,
    ) -> None:
        """Send one request and look at the answer; some operations end the session, or the account."""
        for attempt in range(2):
            request = self._resident.request(self._operation, path_ids=path_ids, content=content)
            for name, value in headers.items():
                request.headers.pop(name, None)
                request.headers.raw.append((name.lower().encode(), value))
            answer = await exchange(self._resident.http, request, query, pieces=pieces)
            if attempt or answer.status_code != 401 or "Authorization" in headers:
                self.judge(what, answer)
                return
            self._resident = await Resident.settle(self._resident.http)

    def judge(self, what: str, answer: httpx.Response) -> None:
        """An answer that the document lists, in the form that it promises."""
        self.answers += 1
        told = f"{self._operation.name}, {what}: {answer.status_code} {answer.text[:300]}"
        assert answer.status_code < 500, told
        # Another path or method than this operation's is reached by some of the ids.
        assert str(answer.status_code) in {*self._operation.described["responses"], "404", "405"}, told
        assert answer.headers["x-request-id"], told
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json", told
            assert answer.json()["status"] == answer.status_code, told


async def exchange(
    http: httpx.AsyncClient, request: httpx.Request, query: bytes | None, *, pieces: bool
) -> httpx.Response:
    """Hand a request to the application as its server would, and bytes in it that httpx would refuse to send."""
    assert isinstance(http._transport, httpx.ASGITransport)
    content = request.content
    size = 64 * 1024 if pieces else len(content) + 1
    waiting = [content[start : start + size] for start in range(0, len(content), size)] or [b""]
    headers = [
        (name.lower(), value)
        for name, value in request.headers.raw
        if not (pieces and name.lower() == b"content-length")
    ]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": unquote(request.url.raw_path.partition(b"?")[0].decode()),
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query if query is None else query,
        "headers": [*headers, *([(b"transfer-encoding", b"chunked")] if pieces else [])],
        "client": ("127.0.0.1", 50000),
        "server": ("api", 80),
        "root_path": "",
        "state": {},
    }
    sent: list[Any] = []

    async def receive() -> Any:
        if not waiting:
            await asyncio.Event().wait()  # a client that waits for its answer
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message: Any) -> None:
        sent.append(message)

    await http._transport.app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=body)


@pytest.fixture
async def attacker(http: httpx.AsyncClient, name: str) -> Attacker:
    return Attacker(await Resident.settle(http), OPERATIONS[name])


LARGE = 100_000
"""Bytes: what a server hands over in more than one piece."""
BODIED = [name for name, operation in OPERATIONS.items() if operation.media_type]
WITH_IDS = [name for name, operation in OPERATIONS.items() if operation.path_parameters]


@pytest.mark.parametrize("name", BODIED)
async def test_bodies(attacker: Attacker, name: str) -> None:
    for what, content in BODIES.items():
        await attacker.send(what, content=content)
        if len(content) > LARGE:
            await attacker.send(f"{what} in pieces", content=content, pieces=True)
    assert attacker.answers > len(BODIES)


@pytest.mark.parametrize("name", [name for name in BODIED if "json" in str(OPERATIONS[name].media_type)])
async def test_values_in_bodies(attacker: Attacker, name: str) -> None:
    for field, body in with_a_hole(OPERATIONS[name].body):
        for what, value in VALUES.items():
            await attacker.send(f"{field} is {what}", content=body.replace(HOLE, value).encode())
    assert attacker.answers > len(VALUES)


HOLE = '"<here>"'


def with_a_hole(body: Any, where: str = "body") -> Iterator[tuple[str, str]]:
    """The text of a body, once for each of its values, with a hole where that one stood."""
    yield where, HOLE
    children = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, child in children:
        for place, text in with_a_hole(child, f"{where}.{key}"):
            copied = body.copy()
            copied[key] = "<filled>"
            yield place, json.dumps(copied).replace('"<filled>"', text)
    if isinstance(body, dict):
        yield f"{where}.unknown", json.dumps({**body, "unknown": "<here>"})


@pytest.mark.parametrize("name", BODIED)
async def test_values_in_forms(attacker: Attacker, name: str) -> None:
    if "json" in str(OPERATIONS[name].media_type):
        return
    body = OPERATIONS[name].body or {}
    for field in (*body, "unknown"):
        for what, text in TEXTS.items():
            content = "&".join(f"{key}={text if key == field else 'x'}" for key in (*body, "unknown"))
            await attacker.send(f"{field} is {what}", content=content.encode())


@pytest.mark.parametrize("name", WITH_IDS)
async def test_ids_in_paths(attacker: Attacker, name: str) -> None:
    for parameter in OPERATIONS[name].path_parameters:
        for what, text in IDS.items():
            await attacker.send(f"{parameter} is {what}", path_ids={parameter: text})


@pytest.mark.parametrize("name", OPERATIONS)
async def test_queries(attacker: Attacker, name: str) -> None:
    for what, query in QUERIES.items():
        await attacker.send(what, query=query.encode("latin-1"))
    for parameter in OPERATIONS[name].parameters("query"):
        for what, text in TEXTS.items():
            query = f"{parameter['name']}={text}"
            await attacker.send(f"{parameter['name']} is {what}", query=query.encode())
        await attacker.send(f"{parameter['name']} twice", query=f"{query}&{query}".encode())


@pytest.mark.parametrize("name", OPERATIONS)
async def test_headers(attacker: Attacker, name: str) -> None:
    for what, headers in HEADERS.items():
        await attacker.send(what, headers=headers)
    if OPERATIONS[name].needs_token:
        for what, token in TOKENS.items():
            await attacker.send(f"a token of {what}", headers={"Authorization": token})

import asyncio
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from service.errors import NotFoundError
from service.http.envelope import Envelope
from service.http.security_headers import SecurityHeaders


def client(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(Envelope(app, SecurityHeaders(behind_tls=False)), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://api")


def raising(error: Exception) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (NotFoundError(), 404, "not-found"),
        (HTTPException(400, "no"), 400, "malformed"),
        (HTTPException(418), 418, "http"),
        (RuntimeError("secret"), 500, "internal"),
        (RecursionError(), 500, "internal"),
    ],
)
async def test_turns_whatever_is_raised_into_a_problem(error: Exception, status: int, kind: str) -> None:
    answer = await client(raising(error)).get("/")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"/problems/{kind}"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text


async def test_cuts_an_answer_that_fails_half_way() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await httpx.AsyncClient(transport=httpx.ASGITransport(Envelope(app, SecurityHeaders(behind_tls=False)))).get(
            "http://api/"
        )


async def test_adds_the_headers_that_the_layers_inside_left() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["headers"] = [(b"ratelimit-limit", b"7")]
        await JSONResponse({})(scope, receive, send)

    assert (await client(app).get("/")).headers["ratelimit-limit"] == "7"


async def test_answers_head_as_get() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse({"method": scope["method"]})(scope, receive, send)

    assert (await client(app).head("/")).status_code == 200
    assert (await client(app).get("/")).json() == {"method": "GET"}


async def test_logs_a_request_that_was_cancelled(capsys: pytest.CaptureFixture[str]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await client(app).get("/")
    assert '"status": 0' in capsys.readouterr().out

"""Every refusal is a problem (RFC 9457), whoever refuses."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from service import errors
from service.errors import ProblemError
from service.main import build_app
from service.release import Release
from tests.service.conftest import Host, User, running


def problem_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check the form of a problem and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    content: dict[str, Any] = answer.json()
    assert content["type"] == f"/problems/{code}"
    assert content["status"] == status
    assert content["title"]
    assert content["detail"]
    assert content["request_id"] == answer.headers["x-request-id"]
    return content


async def test_unknown_path(http: httpx.AsyncClient) -> None:
    problem_of(await http.get("/nothing"), 404, "not-found")
    problem_of(await http.get("/api/v1/tasks/"), 404, "not-found")


async def test_wrong_method_names_all_right_ones(http: httpx.AsyncClient) -> None:
    answer = await http.put("/api/v1/tasks")
    problem_of(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST"
    answer = await http.post(f"/api/v1/tasks/{uuid4()}")
    assert answer.headers["allow"] == "DELETE, GET, HEAD, PATCH, PUT"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer x", "Basic YTpi", "bearer a.b.c"])
async def test_no_good_token(http: httpx.AsyncClient, header: str | None) -> None:
    answer = await http.get("/api/v1/me", headers={} if header is None else {"Authorization": header})
    problem_of(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_invalid_body_names_fields_and_repeats_no_value(http: httpx.AsyncClient) -> None:
    body = {"email": "not one", "password": "hunter2", "extra": 1}
    answer = await http.post("/api/v1/auth/register", json=body)
    content = problem_of(answer, 422, "validation")
    assert {error["field"] for error in content["errors"]} == {"email", "password", "extra"}
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    "body",
    [b"{", b'"\xff"', b"[" * 100_000, b'{"title": ' + b"9" * 5000 + b"}", b'"text"', b"", b"null"],
    ids=["open", "no UTF-8", "deep", "long number", "text", "empty", "null"],
)
async def test_unreadable_body(user: User, body: bytes) -> None:
    answer = await user.call("POST", "/tasks", content=body, headers={"Content-Type": "application/json"})
    problem_of(answer, 422, "validation")


async def test_too_large_a_body_declared_or_not(user: User) -> None:
    body = b" " * (1024 * 1024 + 1)
    json_type = {"Content-Type": "application/json"}
    answer = await user.call("POST", "/tasks", content=body, headers=json_type)
    problem_of(answer, 413, "body-too-large")
    assert answer.headers["connection"] == "close"

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    problem_of(await user.call("POST", "/tasks", content=chunks(), headers=json_type), 413, "body-too-large")

    async def fitting() -> AsyncIterator[bytes]:
        yield b'{"title":'
        yield b'"in pieces"}'

    await user.call("POST", "/tasks", content=fitting(), headers=json_type, expect=201)


async def test_what_nobody_foresaw_is_logged_once_with_the_id_of_the_answer(
    host: Host, shared_database: str, release: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    app = build_app(host.settings(shared_database), release)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("first line\nsecond \x1b[31mline")

    async with running(app) as http:
        answer = await http.get("/broken", headers={"X-Request-ID": "abc-123"})
    assert problem_of(answer, 500, "internal")["request_id"] == "abc-123"
    assert "first line" not in answer.text
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    failures = [line for line in lines if line["level"] == "error"]
    assert len(failures) == 1
    assert failures[0]["request_id"] == "abc-123"
    assert "first line" in failures[0]["exception"]
    assert [line["status"] for line in lines if line["event"] == "request"] == [500]


async def test_failure_in_the_middle_of_an_answer_cuts_the_connection(
    host: Host, shared_database: str, release: Release
) -> None:
    app = build_app(host.settings(shared_database), release)

    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError

    app.mount("/half", half)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
            with pytest.raises(RuntimeError):
                await http.get("/half/")


def test_every_problem_has_a_code_of_its_own_and_the_tree_names_it() -> None:
    def below(kind: type[Any]) -> list[type[Any]]:
        return [kind, *(found for child in kind.__subclasses__() for found in below(child))]

    kinds = below(ProblemError)
    for kind in [*kinds, *below(errors.StartError)]:
        assert kind.__name__ in (errors.__doc__ or "")
        assert kind.__doc__
    own = [kind.code for kind in kinds if "code" in vars(kind)]
    assert len(own) == len(set(own))

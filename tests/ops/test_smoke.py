"""The smoke checks against a stand-in service, which can be made wrong in one place at a time."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from ops import smoke

Answer = tuple[int, Any]
RELEASE = "1.0-abc"


class StandIn:
    """A service in memory with one account and its tasks; `wrong` replaces the answer to one call."""

    def __init__(self) -> None:
        self.account: dict[str, Any] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.wrong: dict[str, Callable[[], httpx.Response]] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        call = f"{request.method} {request.url.path.removeprefix('/api/v1')}"
        if call in self.wrong:
            return self.wrong[call]()
        status, body = self.answer(call, request)
        headers = {"www-authenticate": "Bearer"} if status == 401 else {}
        return httpx.Response(status, json=body, headers=headers)

    def answer(self, call: str, request: httpx.Request) -> Answer:
        if call in {"GET /health/live", "GET /health/ready"}:
            return 200, {"status": "ok"}
        if call == "GET /version":
            return 200, {"release": RELEASE}
        if call == "POST /auth/register":
            self.account = json.loads(request.content)
            return 201, {"email": self.account["email"]}
        if call == "POST /auth/login":
            form = parse_qs(request.content.decode())
            assert form["password"] == [self.account["password"]]
            return 200, {"access_token": "t"}
        if request.headers.get("authorization") != "Bearer t":
            return 401, {}
        if call == "GET /me":
            return 200, {"email": self.account["email"]}
        return self.about_tasks(call, request)

    def about_tasks(self, call: str, request: httpx.Request) -> Answer:
        if call == "GET /tasks":
            return 200, {"items": list(self.tasks.values())}
        if call == "POST /tasks":
            body = json.loads(request.content)
            if body["title"] is None:
                return 422, {"errors": [{"field": "title"}]}
            self.tasks["1"] = body | {"id": "1"}
            return 201, self.tasks["1"]
        if "1" not in self.tasks:
            return 404, {}
        if call == "DELETE /tasks/1":
            return (204, None) if self.tasks.pop("1") else (404, None)
        if call == "PATCH /tasks/1":
            self.tasks["1"] |= json.loads(request.content)
        return 200, self.tasks["1"]


def run(stand_in: StandIn, release: str | None = RELEASE) -> list[smoke.Check]:
    with httpx.Client(transport=httpx.MockTransport(stand_in), base_url="http://s") as http:
        return list(smoke.run(http, release))


def test_all_pass_and_nothing_is_left() -> None:
    stand_in = StandIn()
    checks = run(stand_in)
    assert [check.name for check in checks if not check.passed] == []
    assert len(checks) == 12
    assert stand_in.tasks == {}


def refuse() -> httpx.Response:
    raise httpx.ConnectError("connection refused")


@pytest.mark.parametrize(
    ("call", "answer", "name", "reason"),
    [
        ("GET /health/live", refuse, "live", "no answer: connection refused"),
        ("GET /health/ready", lambda: httpx.Response(503), "ready", "GET /health/ready gave 503 instead of 200"),
        ("GET /version", lambda: httpx.Response(200, json={"release": "x"}), "version is this release", "x answers"),
        ("GET /version", lambda: httpx.Response(200, text="hello"), "version is this release", "the answer's form"),
        ("GET /tasks", lambda: httpx.Response(200, json={}), "a call without a token is refused", "gave 200"),
        ("GET /tasks", lambda: httpx.Response(401), "a call without a token is refused", "no WWW-Authenticate"),
        ("POST /auth/register", lambda: httpx.Response(500, text="oops"), "register", "gave 500 instead of 201: oops"),
        ("POST /auth/login", lambda: httpx.Response(200, json={}), "login", "not the answer's form: KeyError"),
        ("GET /me", lambda: httpx.Response(200, json={"email": "other@x"}), "who am I", "belongs to other@x"),
        ("POST /tasks", lambda: httpx.Response(201, json={"id": "1", "title": "?"}), "create a task", "title is '?'"),
        ("PATCH /tasks/1", lambda: httpx.Response(200, json={"status": "todo"}), "update it", "status is 'todo'"),
        ("DELETE /tasks/1", lambda: httpx.Response(204), "delete it", "gave 200 instead of 404"),
    ],
)  # fmt: skip
def test_the_first_wrong_answer_ends_it_with_its_reason(
    call: str, answer: Callable[[], httpx.Response], name: str, reason: str
) -> None:
    stand_in = StandIn()
    stand_in.wrong[call] = answer
    last = run(stand_in)[-1]
    assert last.name == name
    assert reason in last.reason
    assert not last.passed
    assert last.as_dict()["passed"] is False


def test_a_422_that_does_not_name_the_field_fails() -> None:
    class Vague(StandIn):
        def about_tasks(self, call: str, request: httpx.Request) -> Answer:
            status, body = super().about_tasks(call, request)
            return (status, {}) if status == 422 else (status, body)

    assert run(Vague())[-1].reason == "the 422 does not name the field: title"


def test_a_list_that_misses_the_task_fails() -> None:
    class Forgetful(StandIn):
        def about_tasks(self, call: str, request: httpx.Request) -> Answer:
            return (200, {"items": []}) if call == "GET /tasks" else super().about_tasks(call, request)

    assert run(Forgetful())[-1].name == "the list shows it"


def test_any_release_will_do_where_none_is_named() -> None:
    assert run(StandIn(), release=None)[-1].passed

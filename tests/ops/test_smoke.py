"""The smoke checks against a stand-in service, which can be made wrong in one place at a time."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from rich.console import Console

from ops import smoke
from ops.errors import UsageError
from ops.steps import Steps
from ops.verbs import smoke as verb

Answer = tuple[int, Any]
RELEASE = "1.0-abc"


class StandIn:
    """A service in memory with one account and its tasks; `wrong` replaces the answer to one call."""

    def __init__(self) -> None:
        self.account: dict[str, Any] = {}
        self.token = "nobody's"
        self.keys: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.wrong: dict[str, Callable[[], httpx.Response]] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        call = f"{request.method} {request.url.path.removeprefix('/api/v1')}"
        if call in self.wrong:
            return self.wrong[call]()
        status, body = self.answer(call, request)
        headers = {"www-authenticate": "Bearer"} if status == 401 else {}
        if isinstance(body, dict) and "version" in body:
            headers["etag"] = f'"{body["version"]}"'
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
            return 200, self.tokens("t")
        if call == "POST /auth/refresh":
            assert json.loads(request.content) == {"refresh_token": "r"}
            return 200, self.tokens("t2")
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return 401, {}
        if call == "GET /me":
            return 200, {"email": self.account["email"]}
        if call == "DELETE /me":
            assert json.loads(request.content) == {"password": self.account["password"]}
            self.__init__()  # type: ignore[misc]
            return 204, None
        return self.about_tasks(call, request)

    def tokens(self, token: str) -> dict[str, str]:
        self.token = token
        return {"access_token": token, "refresh_token": "r"}

    def about_tasks(self, call: str, request: httpx.Request) -> Answer:
        if call == "GET /tasks":
            word = request.url.params.get("q", "")
            return 200, {"items": [task for task in self.tasks.values() if word in task["title"].lower()]}
        if call == "POST /tasks":
            return self.create(json.loads(request.content), request.headers.get("idempotency-key", ""))
        if "1" not in self.tasks:
            return 404, {}
        task = self.tasks["1"]
        tag = f'"{task["version"]}"'
        if request.headers.get("if-match", tag) != tag:
            return 412, {}
        if call == "DELETE /tasks/1":
            return (204, None) if self.tasks.pop("1") else (404, None)
        if call == "PATCH /tasks/1":
            task |= json.loads(request.content) | {"version": task["version"] + 1}
        return (304, None) if request.headers.get("if-none-match") == tag else (200, task)

    def create(self, body: dict[str, Any], key: str) -> Answer:
        if body["title"] is None:
            return 422, {"errors": [{"field": "title"}]}
        if not key or key not in self.keys:
            self.keys[key] = self.tasks[str(len(self.tasks) + 1)] = body | {
                "id": str(len(self.tasks) + 1),
                "version": 1,
            }
        return 201, self.keys[key]


def run(stand_in: StandIn, release: str | None = RELEASE) -> list[smoke.Check]:
    with httpx.Client(transport=httpx.MockTransport(stand_in), base_url="http://s") as http:
        return list(smoke.run(http, release))


def test_all_pass_and_nothing_is_left() -> None:
    stand_in = StandIn()
    checks = run(stand_in)
    assert [check.name for check in checks if not check.passed] == []
    assert len(checks) == 18
    assert (stand_in.account, stand_in.tasks) == ({}, {})


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
        ("POST /auth/refresh", lambda: httpx.Response(401), "refresh the token", "gave 401 instead of 200"),
        ("PATCH /tasks/1", lambda: httpx.Response(200, json={"status": "todo"}), "update it", "status is 'todo'"),
        ("DELETE /tasks/1", lambda: httpx.Response(204), "delete it", "gave 200 instead of 404"),
        ("DELETE /me", lambda: httpx.Response(204), "delete the account", "gave 200 instead of 401"),
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


@pytest.mark.parametrize("call", ["GET /me", "POST /auth/refresh", "POST /tasks", "GET /tasks/1", "DELETE /tasks/1"])
def test_the_account_goes_also_when_a_check_fails(call: str) -> None:
    stand_in = StandIn()
    stand_in.wrong[call] = lambda: httpx.Response(500)
    assert not run(stand_in)[-1].passed
    assert stand_in.account == {}


def test_the_account_goes_also_when_nobody_looks_any_more() -> None:
    stand_in = StandIn()
    with httpx.Client(transport=httpx.MockTransport(stand_in), base_url="http://s") as http:
        for check in (checks := smoke.run(http)):
            if check.name == "create a task":
                break
        assert stand_in.account != {}
        checks.close()
    assert stand_in.account == {}


class Careless(StandIn):
    """Forgets what the parametrised test below takes away from a request."""

    forgets = ""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.headers.pop(self.forgets, None)
        return super().__call__(request)


@pytest.mark.parametrize(
    ("forgets", "name"),
    [
        ("idempotency-key", "create it once only"),
        ("if-match", "a lost update is refused"),
        ("if-none-match", "what is known is not sent again"),
    ],
)
def test_a_service_that_ignores_a_header_fails(forgets: str, name: str) -> None:
    stand_in = Careless()
    stand_in.forgets = forgets
    assert run(stand_in)[-1].name == name
    assert stand_in.account == {}


def test_a_search_that_finds_everything_fails() -> None:
    class Generous(StandIn):
        def about_tasks(self, call: str, request: httpx.Request) -> Answer:
            everything = httpx.Request("GET", "http://s/api/v1/tasks")
            return super().about_tasks(call, everything if call == "GET /tasks" else request)

    assert run(Generous())[-1].reason == "a search finds what it should not"


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


class Published(StandIn):
    """Notes what it is asked, and answers what is not there as the service does."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.calls.append(request.method)
        answer = super().__call__(request)
        answer.headers["x-content-type-options"] = "nosniff"
        if answer.status_code == 401 and not request.url.path.endswith("/tasks"):
            return httpx.Response(404, headers={"content-type": "application/problem+json"})
        return answer


def test_read_only_checks_ask_and_change_nothing() -> None:
    stand_in = Published()
    with httpx.Client(transport=httpx.MockTransport(stand_in), base_url="http://s") as http:
        checks = list(smoke.run(http, RELEASE, read_only=True))
    assert [check.reason for check in checks] == [""] * 6
    assert set(stand_in.calls) == {"GET"}


@pytest.mark.parametrize(("kind", "name"), [(StandIn, "what is not there is told apart"), (Published, "headers")])
def test_read_only_checks_fail_too(kind: type[StandIn], name: str) -> None:
    stand_in = kind()
    with httpx.Client(transport=httpx.MockTransport(stand_in), base_url="http://s") as http:
        http.event_hooks["response"] = [lambda answer: answer.headers.pop("x-content-type-options", None)]
        last = list(smoke.run(http, RELEASE, read_only=True))[-1]
    assert (last.name, last.passed) == (name, False)


def test_an_account_whose_registration_was_interrupted_goes_too() -> None:
    class Interrupted(StandIn):
        def answer(self, call: str, request: httpx.Request) -> Answer:
            answer = super().answer(call, request)
            if call == "POST /auth/register":
                raise KeyboardInterrupt
            return answer

    stand_in = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run(stand_in)
    assert stand_in.account == {}


def test_the_verb_cleans_up_when_its_reader_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = StandIn()
    client = httpx.Client(transport=httpx.MockTransport(stand_in), base_url="http://s")
    monkeypatch.setattr(verb, "_client", lambda *_: client)

    class Reader(Steps):
        def line(self, text: str) -> None:
            if "create a task" in text:
                assert stand_in.account != {}
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verb.smoke("http://s", verb.Options(junit=tmp_path / "j.xml"), Reader(Console(quiet=True)))
    assert stand_in.account == {}
    assert len(ET.parse(tmp_path / "j.xml").getroot()[0]) == 9


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_authority_that_is_none_is_wrong_usage(tmp_path: Path, content: Any) -> None:
    if content:
        (tmp_path / "ca.pem").write_text(content)
    options = verb.Options(authority=tmp_path / "ca.pem")
    with pytest.raises(UsageError, match="PEM file"):
        verb.smoke("https://127.0.0.1:9", options, Steps(Console(quiet=True)))

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.errors import HeadersTooLargeError, SettingsError
from service.main import build_app
from service.release import Release
from service.settings import Settings
from tests.service.conftest import Host, User, running
from tests.service.test_errors import problem_of

APP, OTHER = "https://app.example.com", "https://evil.example.com"


@pytest.fixture
async def friend(host: Host, shared_database: str, release: Release) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that one web page's origin may call."""
    settings = host.settings(shared_database, cors_origins=f"{APP}, http://localhost:5173")
    async with running(build_app(settings, release)) as http:
        yield http


async def preflight(http: httpx.AsyncClient, origin: str, method: str = "POST", headers: str = "") -> httpx.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        asked["Access-Control-Request-Headers"] = headers
    return await http.options("/api/v1/tasks", headers=asked)


@pytest.mark.parametrize("origin", [APP, "http://localhost:5173"])
async def test_pages_of_a_named_origin_may_call(friend: httpx.AsyncClient, origin: str) -> None:
    answer = await preflight(friend, origin, "PATCH", "authorization, content-type, if-match, idempotency-key")
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert "access-control-allow-credentials" not in answer.headers
    user = await User.register(friend)
    answer = await user.call("GET", "/tasks", headers={"Origin": origin})
    assert answer.headers["access-control-allow-origin"] == origin
    assert "ETag" in answer.headers["access-control-expose-headers"]
    assert answer.headers["vary"] == "Accept-Encoding, Origin"


async def test_errors_can_be_read_too(friend: httpx.AsyncClient) -> None:
    answer = await friend.get("/api/v1/tasks", headers={"Origin": APP})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == APP


@pytest.mark.parametrize("origin", [OTHER, "null", "https://app.example.com.evil.test", "http://app.example.com"])
async def test_no_other_may(friend: httpx.AsyncClient, origin: str) -> None:
    for answer in (await preflight(friend, origin), await friend.get("/health/live", headers={"Origin": origin})):
        assert "access-control-allow-origin" not in answer.headers


async def test_no_other_method_or_header(friend: httpx.AsyncClient) -> None:
    problem_of(await preflight(friend, APP, "TRACE"), 400, "malformed")
    answer = await preflight(friend, APP, headers="x-unheard-of")
    assert problem_of(answer, 400, "malformed")["detail"] == "Disallowed CORS headers"
    assert answer.headers["access-control-allow-origin"] == APP
    problem_of(await preflight(friend, OTHER), 400, "malformed")


async def test_what_the_server_refuses_itself_can_be_read_too(
    host: Host, shared_database: str, release: Release
) -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        raise HeadersTooLargeError

    app = build_app(host.settings(shared_database, cors_origins=APP), release)
    transport = httpx.ASGITransport(app.state.around(refuse))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
        answer = await http.get("/", headers={"Origin": APP})
    problem_of(answer, 431, "headers-too-large")
    assert answer.headers["access-control-allow-origin"] == APP


async def test_nobody_may_where_nothing_is_configured(http: httpx.AsyncClient) -> None:
    answer = await preflight(http, APP)
    assert answer.status_code == 405
    assert not any(name.startswith("access-control") for name in answer.headers)


async def test_what_is_no_preflight_is_an_ordinary_request(friend: httpx.AsyncClient) -> None:
    assert (await friend.options("/api/v1/tasks", headers={"Origin": APP})).status_code == 405


async def test_a_server_starts_the_application_through_it(host: Host, shared_database: str, release: Release) -> None:
    app = build_app(host.settings(shared_database, cors_origins=APP), release)
    messages, sent = iter(["lifespan.startup", "lifespan.shutdown"]), []

    async def receive() -> dict[str, str]:
        return {"type": next(messages)}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_preflights_are_in_the_log(friend: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]) -> None:
    answer = await preflight(friend, APP)
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["method"] == "OPTIONS"


@pytest.mark.parametrize("origins", ["*", "app.example.com", "https://app.example.com/", "https://a, ftp://b", "null"])
def test_only_origins_can_be_named(host: Host, monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    for name, value in host.environment("api", "any", SLIPWAY_CORS_ORIGINS=origins).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=r"^SLIPWAY_CORS_ORIGINS: .* is no origin; write https://"):
        Settings.load()

import json
import logging

import httpx
import pytest
from gunicorn.config import Config  # type: ignore[import-untyped]

from service.logs import GunicornLogger
from tests.service.conftest import User


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def test_one_line_a_request(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    me = await user.call("GET", "/me", expect=200)
    await user.call("GET", f"/tasks/{me['id']}", expect=404, headers={"X-Request-ID": "mine.1"})
    first, second = lines(capsys)
    assert first["route"] == "/api/v1/me"
    assert first["account_id"] == me["id"]
    assert second == second | {
        "event": "request",
        "level": "info",
        "request_id": "mine.1",
        "method": "GET",
        "route": "/api/v1/tasks/{task_id}",
        "status": 404,
        "account_id": me["id"],
    }
    assert isinstance(second["duration_ms"], float)


@pytest.mark.parametrize("given", ["", "a b", 'a"b', "x" * 65, "é"])
async def test_malformed_request_id_is_replaced(http: httpx.AsyncClient, given: str) -> None:
    answer = await http.get("/health/live", headers={b"X-Request-ID": given.encode()})
    assert answer.headers["x-request-id"] != given
    assert len(answer.headers["x-request-id"]) == 32


async def test_no_secret_in_any_line(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    await user.http.post("/api/v1/auth/login", data={"username": user.email, "password": "correct horse"})
    await user.http.post("/api/v1/auth/login", data={"username": user.email, "password": "wrong horse"})
    await user.call("GET", "/tasks", params={"q": "planted-secret"})
    written = capsys.readouterr().out
    for secret in ("horse", user.token, "planted-secret", user.email):
        assert secret not in written


def test_gunicorn_speaks_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    logger = GunicornLogger(Config())
    logger.info("Listening at: %s", "http://127.0.0.1\nforged")
    try:
        int("bad")
    except ValueError:
        logger.exception("Exception in worker process")
    first, second = lines(capsys)
    assert first["event"] == "Listening at: http://127.0.0.1\nforged"
    assert first["level"] == "info"
    assert "ValueError: invalid literal" in str(second["exception"])
    logging.getLogger("gunicorn.error").handlers.clear()

import asyncio
import base64
import time
from hashlib import sha256
from typing import Any
from uuid import UUID

import httpx
import jwt
import pytest

from service.accounts.models import SessionList, SessionView, TokenPair
from service.main import build_app
from service.release import Release
from tests.service.accounts.conftest import PASSWORD, Device, new_email
from tests.service.conftest import Host, User, running
from tests.service.test_errors import problem_of


def session_of(token: str) -> str:
    return str(jwt.decode(token, options={"verify_signature": False})["sid"])


@pytest.fixture
async def expire(host: Host, shared_database: str) -> Any:
    """Lets refresh tokens of a session have been used longer ago, or the session itself have ended."""

    async def make_old(token: str, *, table: str = "refresh_token", column: str = "used_at", seconds: int = 11) -> None:
        key = "id" if table == "session" else "session_id"
        await host.execute(
            f"UPDATE {table} SET {column} = {column} - interval '{seconds} s' WHERE {key} = '{session_of(token)}'",
            shared_database,
        )

    return make_old


async def test_login_gives_a_pair_of_tokens(http: httpx.AsyncClient, device: Device) -> None:
    data = {"username": f" {device.email.title()} ", "password": PASSWORD, "grant_type": "password", "scope": ""}
    answer = await http.post("/api/v1/auth/login", data=data)
    pair = TokenPair.model_validate(answer.json(), extra="forbid")
    assert (pair.token_type, pair.expires_in, pair.refresh_expires_in) == ("bearer", 900, 30 * 24 * 3600)
    assert answer.headers["cache-control"] == "no-store"
    assert session_of(pair.access_token) != session_of(device.token)
    assert len(base64.urlsafe_b64decode(pair.refresh_token)) == 64


async def test_login_of_another_grant_is_refused(http: httpx.AsyncClient) -> None:
    data = {"username": "a@example.com", "password": PASSWORD, "grant_type": "client_credentials"}
    problem_of(await http.post("/api/v1/auth/login", data=data), 422, "validation")


async def test_refresh_gives_the_next_pair_and_the_session_goes_on(device: Device) -> None:
    session, seen = session_of(device.token), {device.refresh_token}
    for _ in range(3):
        answer = await device.refresh()
        pair = TokenPair.model_validate(answer.json(), extra="forbid")
        assert answer.headers["cache-control"] == "no-store"
        assert session_of(pair.access_token) == session
        assert pair.refresh_token not in seen
        seen.add(pair.refresh_token)
        assert await device.is_in()


async def test_a_token_used_again_ends_its_session_at_once(device: Device, expire: Any) -> None:
    elsewhere = await device.another()
    stolen = device.refresh_token
    await device.refresh()
    await expire(device.token)
    assert await device.is_in()
    problem_of(await device.refresh(stolen), 401, "invalid-refresh-token")
    assert not await device.is_in()
    problem_of(await device.refresh(), 401, "invalid-refresh-token")
    assert await elsewhere.is_in()
    assert (await elsewhere.refresh()).status_code == 200


async def test_reuse_is_noticed_however_long_ago_the_token_was_used(
    device: Device, expire: Any, host: Host, shared_database: str
) -> None:
    oldest = device.refresh_token
    for _ in range(3):
        await device.refresh()
    await host.execute("DELETE FROM refresh_token WHERE used_at IS NOT NULL", shared_database)  # as time would
    problem_of(await device.refresh(oldest), 401, "invalid-refresh-token")
    assert not await device.is_in()


async def test_honest_requests_that_cross_log_nobody_out(device: Device) -> None:
    """Many at once, as tabs of one browser that wake up together; whichever answer a tab keeps, it is a good one."""
    first = device.refresh_token
    answers = await asyncio.gather(*(device.refresh(first) for _ in range(12)))
    assert {answer.status_code for answer in answers} == {200}
    given = {answer.json()["refresh_token"] for answer in answers}
    assert len(given) == 12
    for token in list(given)[:4]:
        assert (await device.refresh(token)).status_code == 200
    assert await device.is_in()


async def test_refreshes_and_logouts_that_cross_fail_in_no_other_way(device: Device) -> None:
    devices = [device, *[await device.another() for _ in range(3)]]
    answers = await asyncio.gather(
        *(each.refresh() for each in devices for _ in range(3)),
        device.call("POST", "/auth/logout-everywhere"),
        *(each.call("DELETE", f"/auth/sessions/{session_of(each.token)}") for each in devices),
    )
    assert {answer.status_code for answer in answers} <= {200, 204, 401, 404}
    assert not any([await each.is_in() for each in devices])


@pytest.mark.parametrize("token", ["x", "é", "a" * 200, "A" * 86 + "==", base64.urlsafe_b64encode(bytes(64)).decode()])
async def test_made_up_refresh_tokens(device: Device, token: str) -> None:
    problem_of(await device.refresh(token), 401, "invalid-refresh-token")


async def test_whoever_knows_the_session_only_cannot_end_it(device: Device) -> None:
    """Its id stands in every access token; the session's secret stands in refresh tokens alone."""
    forged = UUID(session_of(device.token)).bytes + bytes(48)
    problem_of(await device.refresh(base64.urlsafe_b64encode(forged).decode()), 401, "invalid-refresh-token")
    assert await device.is_in()
    assert (await device.refresh()).status_code == 200


async def test_a_session_ends_when_it_is_not_refreshed_for_long(device: Device, expire: Any) -> None:
    await expire(device.token, table="session", column="expires_at", seconds=31 * 24 * 3600)
    problem_of(await device.refresh(), 401, "invalid-refresh-token")


async def test_a_sibling_that_nobody_used_ends_by_itself_only(device: Device, host: Host, shared_database: str) -> None:
    first = device.refresh_token
    await device.refresh(first)
    sibling = device.refresh_token
    await device.refresh(first)
    token_hash = sha256(base64.urlsafe_b64decode(sibling)[-32:]).hexdigest()
    sql = f"UPDATE refresh_token SET created_at = now() - interval '31 days' WHERE token_hash = '\\x{token_hash}'"
    await host.execute(sql, shared_database)
    problem_of(await device.refresh(sibling), 401, "invalid-refresh-token")
    assert (await device.refresh()).status_code == 200


async def test_refreshing_moves_the_end_of_the_session_on(device: Device, expire: Any) -> None:
    await expire(device.token, table="session", column="expires_at", seconds=29 * 24 * 3600)
    await device.refresh()
    [session] = (await device.call("GET", "/auth/sessions", expect=200))["items"]
    left = SessionView.model_validate(session).expires_at.timestamp() - time.time()
    assert left > 29 * 24 * 3600


async def test_list_of_sessions(device: Device, stranger: User) -> None:
    await device.another(client="Firefox\x7f on <b>Unix</b> " + "x" * 300)
    answer = await device.call("GET", "/auth/sessions", expect=200)
    listed = SessionList.model_validate(answer, extra="forbid").items
    assert [session.current for session in listed] == [False, True]
    assert str(listed[1].id) == session_of(device.token)
    newest = listed[0]
    assert newest.client
    assert newest.client.startswith("Firefox on <b>")
    assert len(newest.client) == 200
    assert newest.address == "127.0.0.1"
    assert newest.created_at <= newest.used_at < newest.expires_at


async def test_revoking_a_session_logs_that_device_out(device: Device, stranger: User) -> None:
    elsewhere = await device.another()
    path = f"/auth/sessions/{session_of(elsewhere.token)}"
    problem_of(await stranger.call("DELETE", path), 404, "not-found")
    assert await elsewhere.is_in()
    await device.call("DELETE", path, expect=204)
    assert not await elsewhere.is_in()
    problem_of(await elsewhere.refresh(), 401, "invalid-refresh-token")
    problem_of(await device.call("DELETE", path), 404, "not-found")
    assert await device.is_in()
    await device.call("DELETE", f"/auth/sessions/{session_of(device.token)}", expect=204)
    assert not await device.is_in()


async def test_logout_ends_this_session_only(device: Device) -> None:
    elsewhere = await device.another()
    await device.call("POST", "/auth/logout", expect=204)
    assert not await device.is_in()
    problem_of(await device.refresh(), 401, "invalid-refresh-token")
    problem_of(await device.call("POST", "/auth/logout"), 401, "unauthenticated")
    assert await elsewhere.is_in()


async def test_logout_everywhere(device: Device, stranger: User) -> None:
    elsewhere = await device.another()
    await device.call("POST", "/auth/logout-everywhere", expect=204)
    for ended in (device, elsewhere):
        assert not await ended.is_in()
        problem_of(await ended.refresh(), 401, "invalid-refresh-token")
    await stranger.call("GET", "/me", expect=200)


ENDED = [
    ("GET", "/me", None),
    ("PATCH", "/me", {"full_name": "late"}),
    ("PATCH", "/me", {"email": "late@example.com", "current_password": PASSWORD}),
    ("PUT", "/me/password", {"current_password": PASSWORD, "new_password": "another horse"}),
    ("DELETE", "/me", {"password": PASSWORD}),
    ("GET", "/auth/sessions", None),
    ("DELETE", "/auth/sessions/019d8a3e-7c1f-7b52-9c35-2f1f8e1f9d10", None),
    ("POST", "/auth/logout", None),
    ("POST", "/auth/logout-everywhere", None),
    ("POST", "/tasks", {"title": "late"}),
    ("POST", "/categories", {"name": "late"}),
]


@pytest.mark.parametrize("how", ["logout", "deleted account"])
async def test_an_access_token_opens_nothing_once_its_session_has_ended(
    how: str, device: Device, host: Host, shared_database: str
) -> None:
    me = await device.call("GET", "/me", expect=200)
    if how == "logout":
        await device.call("POST", "/auth/logout", expect=204)
    else:
        await host.execute(f"DELETE FROM account WHERE id = '{me['id']}'", shared_database)
    for method, path, body in [*ENDED, ("GET", f"/accounts/{me['id']}", None)]:
        arguments: dict[str, Any] = {} if body is None else {"json": body}
        problem_of(await device.call(method, path, **arguments), 401, "unauthenticated")


async def test_lifetimes_are_settings(host: Host, shared_database: str, release: Release) -> None:
    settings = host.settings(shared_database, token_lifetime_seconds=60, session_lifetime_seconds=3600)
    async with running(build_app(settings, release)) as http:
        email = new_email()
        await http.post("/api/v1/auth/register", json={"email": email, "password": PASSWORD})
        answer = await http.post("/api/v1/auth/login", data={"username": email, "password": PASSWORD})
        pair = answer.json()
        assert (pair["expires_in"], pair["refresh_expires_in"]) == (60, 3600)
        content = jwt.decode(pair["access_token"], options={"verify_signature": False})
        assert content["exp"] - content["iat"] == 60

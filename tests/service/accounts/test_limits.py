"""Every way to try passwords, tokens or somebody's mailbox is limited."""

import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.main import build_app
from service.release import Release
from tests.service.accounts.conftest import PASSWORD, Device, new_email
from tests.service.conftest import WIDE_LIMITS, Host, running
from tests.service.test_errors import problem_of

TIGHT = [
    "login_pair",
    "registration_address",
    "reset_account",
    "resend_account",
    "confirmation_address",
    "refresh_address",
]


@pytest.fixture
async def http(host: Host, shared_database: str, release: Release) -> AsyncIterator[httpx.AsyncClient]:
    """A client with an address of its own, to whom three attempts at each thing are allowed."""
    limits = {f"limit_{name}": "3/hour" for name in TIGHT}
    settings = host.settings(shared_database, trusted_proxies=("127.0.0.1/32",), **limits)
    async with running(build_app(settings, release)) as client:
        client.headers["X-Forwarded-For"] = (
            f"10.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(256)}"
        )
        yield client


async def is_limited(http: httpx.AsyncClient, method: str, path: str, **arguments: Any) -> None:
    for left in (2, 1, 0):
        answer = await http.request(method, f"/api/v1{path}", **arguments)
        assert answer.status_code < 429, answer.text
        limit, remaining = answer.headers["ratelimit-limit"], answer.headers["ratelimit-remaining"]
        # What others attempted at the same account is nobody's to know: then the limit of the address is told.
        assert (limit, remaining) == ("3", str(left)) or limit == "100000"
    answer = await http.request(method, f"/api/v1{path}", **arguments)
    problem_of(answer, 429, "too-many-requests")
    assert int(answer.headers["retry-after"]) > 0
    assert (answer.headers["ratelimit-limit"], answer.headers["ratelimit-remaining"]) == ("3", "0")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/auth/register", {"password": PASSWORD}),
        ("/auth/password-reset", {}),
        ("/auth/resend-verification", {}),
        ("/auth/verify-email", {"token": "x"}),
        ("/auth/password-reset/confirm", {"token": "x", "new_password": PASSWORD}),
        ("/auth/refresh", {"refresh_token": "x"}),
    ],
)
async def test_attempts_of_whoever_has_no_session(http: httpx.AsyncClient, path: str, body: dict[str, str]) -> None:
    with_email = {} if "token" in str(body) else {"email": new_email()}
    await is_limited(http, "POST", path, json={**body, **with_email})


async def test_logins(http: httpx.AsyncClient) -> None:
    email = new_email()
    await is_limited(http, "POST", "/auth/login", data={"username": email, "password": PASSWORD})
    answer = await http.post("/api/v1/auth/login", data={"username": email.upper(), "password": PASSWORD})
    problem_of(answer, 429, "too-many-requests")
    answer = await http.post("/api/v1/auth/login", data={"username": new_email(), "password": PASSWORD})
    problem_of(answer, 401, "wrong-credentials")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/me/password", {"current_password": "x", "new_password": PASSWORD}),
        ("PATCH", "/me", {"current_password": "x", "email": "new@example.com"}),
        ("DELETE", "/me", {"password": "x"}),
    ],
)
async def test_passwords_guessed_with_a_stolen_token(
    http: httpx.AsyncClient, method: str, path: str, body: dict[str, str]
) -> None:
    email = new_email()
    await http.post("/api/v1/auth/register", json={"email": email, "password": PASSWORD})
    device = await Device.log_in(http, email)
    http.headers["Authorization"] = f"Bearer {device.token}"
    await is_limited(http, method, path, json=body)
    assert (await device.call("PATCH", "/me", json={"full_name": "Ann"})).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["register", "verify-email", "resend-verification", "login", "refresh", "password-reset", "password-reset/confirm"],
)
async def test_an_attempt_counts_though_its_body_is_refused(
    host: Host, shared_database: str, release: Release, path: str
) -> None:
    limits = {name: "3/hour" for name in WIDE_LIMITS if name.endswith("_address")}
    settings = host.settings(shared_database, trusted_proxies=("127.0.0.1/32",), **limits)
    address = f"11.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(256)}"
    async with running(build_app(settings, release)) as http:
        http.headers["X-Forwarded-For"] = address
        for media_type, left in (("text/plain", "2"), ("application/json", "1"), ("text/plain", "0")):
            answer = await http.post(f"/api/v1/auth/{path}", content=b"{", headers={"Content-Type": media_type})
            assert answer.status_code in {415, 422}
            assert answer.headers["ratelimit-remaining"] == left
        problem_of(await http.post(f"/api/v1/auth/{path}", content=b"{"), 429, "too-many-requests")

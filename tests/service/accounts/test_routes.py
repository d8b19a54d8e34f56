import statistics
import time
from uuid import uuid4

import httpx
import jwt
import pytest

from service.accounts.models import AccessToken, AccountView
from service.accounts.passwords import Passwords
from service.main import build_app
from service.release import Release
from tests.service.conftest import Host, User, running
from tests.service.test_errors import problem_of

PASSWORD = "correct horse"


def new_email() -> str:
    return f"{uuid4().hex}@example.com"


async def test_register_login_me(http: httpx.AsyncClient) -> None:
    email = new_email()
    body = {"email": email.upper(), "password": PASSWORD, "full_name": "  Ann Ünal "}
    answer = await http.post("/api/v1/auth/register", json=body)
    assert answer.status_code == 201
    account = AccountView.model_validate(answer.json(), extra="forbid")
    assert account.email == email
    assert account.full_name == "Ann Ünal"
    assert answer.json()["created_at"].endswith("Z")
    answer = await http.post("/api/v1/auth/login", data={"username": f" {email.title()} ", "password": PASSWORD})
    token = AccessToken.model_validate(answer.json(), extra="forbid")
    assert token.token_type == "bearer"
    assert token.expires_in == 3600
    assert answer.headers["cache-control"] == "no-store"
    me = await http.get("/api/v1/me", headers={"Authorization": f"Bearer {token.access_token}"})
    assert AccountView.model_validate(me.json()) == account


async def test_email_is_taken_in_any_spelling(user: User) -> None:
    body = {"email": user.email.upper(), "password": PASSWORD}
    problem_of(await user.http.post("/api/v1/auth/register", json=body), 409, "email-taken")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "nobody"),
        ("email", "a\x00@example.com"),
        ("email", "a" * 250 + "@example.com"),
        ("email", None),
        ("password", "short"),
        ("password", "x" * 129),
        ("password", None),
        ("full_name", ""),
        ("full_name", "nul\x00"),
        ("full_name", "x" * 201),
        ("full_name", 7),
    ],
)
async def test_register_refuses(http: httpx.AsyncClient, field: str, value: object) -> None:
    body = {"email": new_email(), "password": PASSWORD, field: value}
    content = problem_of(await http.post("/api/v1/auth/register", json=body), 422, "validation")
    assert [error["field"] for error in content["errors"]] == [field]


async def test_half_a_surrogate_is_no_text(http: httpx.AsyncClient) -> None:
    for body in ('{"email":"a@example.com","password":"\\ud800aaaaaaaa"}', '{"\\ud800":1}'):
        answer = await http.post("/api/v1/auth/register", content=body, headers={"Content-Type": "application/json"})
        problem_of(answer, 422, "validation")


@pytest.mark.parametrize(
    ("username", "password"), [("{email}", "wrong horse"), ("nobody@example.com", PASSWORD), ("no e-mail", PASSWORD)]
)
async def test_login_does_not_say_what_is_wrong(user: User, username: str, password: str) -> None:
    data = {"username": username.format(email=user.email), "password": password}
    answer = await user.http.post("/api/v1/auth/login", data=data)
    content = problem_of(answer, 401, "wrong-credentials")
    assert content["detail"] == "The e-mail or the password is wrong."
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("data", [{}, {"username": "a"}, {"username": "a\x00", "password": "b"}])
async def test_login_refuses_half_a_form(http: httpx.AsyncClient, data: dict[str, str]) -> None:
    problem_of(await http.post("/api/v1/auth/login", data=data), 422, "validation")


async def test_login_takes_as_long_for_nobody_as_for_somebody(
    host: Host, shared_database: str, release: Release
) -> None:
    settings = host.settings(shared_database, password_memory_kib=32768, password_passes=2)
    async with running(build_app(settings, release)) as http:
        user = await User.register(http)

        async def seconds(email: str) -> float:
            started = time.perf_counter()
            answer = await http.post("/api/v1/auth/login", data={"username": email, "password": "wrong horse"})
            assert answer.status_code == 401
            return time.perf_counter() - started

        known, unknown = [], []
        for _ in range(7):
            known.append(await seconds(user.email))
            unknown.append(await seconds(new_email()))
    assert 0.5 < statistics.median(unknown) / statistics.median(known) < 2


async def test_login_renews_a_cheap_hash(host: Host, shared_database: str, release: Release) -> None:
    async with running(build_app(host.settings(shared_database), release)) as http:
        user = await User.register(http)
    data = {"username": user.email, "password": PASSWORD}
    dearer = host.settings(shared_database, password_passes=2)
    async with running(build_app(dearer, release)) as http:
        assert (await http.post("/api/v1/auth/login", data=data)).status_code == 200
        assert (await http.post("/api/v1/auth/login", data=data)).status_code == 200
    database = await host.connect("slipway_admin", shared_database)
    stored = await database.fetchval("SELECT password_hash FROM account WHERE email = $1", user.email)
    await database.close()
    passwords = Passwords(dearer)
    assert await passwords.verify(PASSWORD, stored) == (True, None)
    passwords.close()


async def test_token_of_a_deleted_account_opens_nothing(host: Host, user: User, shared_database: str) -> None:
    await host.execute(f"DELETE FROM account WHERE email = '{user.email}'", shared_database)
    problem_of(await user.call("GET", "/me"), 401, "unauthenticated")
    problem_of(await user.call("POST", "/tasks", json={"title": "late"}), 401, "unauthenticated")
    problem_of(await user.call("POST", "/categories", json={"name": "late"}), 401, "unauthenticated")


async def test_token_names_the_account(user: User) -> None:
    me = await user.call("GET", "/me", expect=200)
    assert jwt.decode(user.token, options={"verify_signature": False})["sub"] == me["id"]

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from service.accounts.common_passwords import refuse_common
from service.accounts.models import AccountView
from tests.service.accounts.conftest import PASSWORD, Device, Mailbox, new_email
from tests.service.conftest import Host, User
from tests.service.test_errors import problem_of


def registration(**changes: Any) -> dict[str, Any]:
    return {"email": new_email(), "password": PASSWORD, **changes}


async def test_register(http: httpx.AsyncClient, mailbox: Mailbox) -> None:
    body = registration(full_name="  Ann Ünal ")
    answer = await http.post("/api/v1/auth/register", json={**body, "email": body["email"].upper()})
    assert answer.status_code == 201
    assert answer.headers["location"] == "/api/v1/me"
    assert answer.headers["etag"] == '"1"'
    account = AccountView.model_validate(answer.json(), extra="forbid")
    assert (account.email, account.full_name, account.version) == (body["email"], "Ann Ünal", 1)
    assert account.email_verified_at is None
    assert answer.json()["created_at"].endswith("Z")
    device = await Device.log_in(http, body["email"])
    me = await device.call("GET", "/me")
    assert AccountView.model_validate(me.json()) == account
    assert me.headers["etag"] == '"1"'
    await mailbox.next(body["email"], "verify")


async def test_email_is_taken_in_any_spelling(user: User) -> None:
    body = registration(email=user.email.upper())
    problem_of(await user.http.post("/api/v1/auth/register", json=body), 409, "email-taken")


@pytest.mark.parametrize(
    "name", ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u202eAnn", "\u05d0\u200f", "a\u200bb", "\xa0x", "é"]
)
async def test_names_of_all_the_world(http: httpx.AsyncClient, name: str) -> None:
    answer = await http.post("/api/v1/auth/register", json=registration(full_name=name))
    assert answer.status_code == 201
    assert answer.json()["full_name"] == name.strip()


@pytest.mark.parametrize("local", ["straße", "νίκος", "\u017fam"])
async def test_an_email_stays_the_mailbox_that_it_is(http: httpx.AsyncClient, local: str) -> None:
    # Folded any further than into lower case, it would be somebody else's.
    body = registration(email=f"{local}.{new_email()}")
    assert (await http.post("/api/v1/auth/register", json=body)).json()["email"] == body["email"]
    await Device.log_in(http, body["email"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "nobody"),
        ("email", "a\x00@example.com"),
        ("email", "Ann <ann@example.com>"),
        ("email", "<ann@example.com>"),
        ("email", "a" * 250 + "@example.com"),
        ("email", None),
        ("password", "short"),
        ("password", "x" * 129),
        ("password", "Password123!"),
        ("password", None),
        ("full_name", ""),
        ("full_name", "nul\x00"),
        ("full_name", "two\nlines"),
        ("full_name", "two\u2028lines"),
        ("full_name", "carriage\rreturn"),
        ("full_name", "bell\x07"),
        ("full_name", "\x1b[31mred"),
        ("full_name", "C1\x9b31m"),
        ("full_name", "\u200b\ufeff"),
        ("full_name", "\u200b \u200d"),
        ("full_name", "x" * 201),
        ("full_name", 7),
        ("username", "unknown field"),
    ],
)
async def test_register_refuses(http: httpx.AsyncClient, field: str, value: object) -> None:
    answer = await http.post("/api/v1/auth/register", json=registration(**{field: value}))
    assert [error["field"] for error in problem_of(answer, 422, "validation")["errors"]] == [field]
    assert field != "password" or not value or str(value) not in answer.text


async def test_half_a_surrogate_is_no_text(http: httpx.AsyncClient) -> None:
    for body in ('{"email":"a@example.com","password":"\\ud800aaaaaaaa"}', '{"\\ud800":1}'):
        answer = await http.post("/api/v1/auth/register", content=body, headers={"Content-Type": "application/json"})
        problem_of(answer, 422, "validation")


@pytest.mark.parametrize(
    "password",
    [
        *("password", "password1", "Password123!", "p@ssw0rd", "PA55WORD", "qwerty123", "iloveyou1", "12345678"),
        *("87654321", "aaaaaaaa", "abababab", "19841984", "sunshine2024", "admin@123", "1q2w3e4r", "1qaz2wsx"),
        *("qwertyui", "asdfghjk", "slipway2026", "abcd1234", "\uff50\uff41\uff53\uff53word"),
    ],
)
def test_what_everybody_tries_first(password: str) -> None:
    with pytest.raises(ValueError, match="everybody tries first"):
        refuse_common(password)


@pytest.mark.parametrize("password", ["correct horse", "sunshine over here", "1984, said the clock", "123456789012 a"])
def test_what_not_everybody_tries_first(password: str) -> None:
    assert refuse_common(password) == password


async def test_a_retry_under_the_same_key_gets_the_first_answer(http: httpx.AsyncClient, mailbox: Mailbox) -> None:
    body, key = registration(full_name="Ann"), {"Idempotency-Key": uuid4().hex}
    answers = await asyncio.gather(
        *(http.post("/api/v1/auth/register", json=body, headers=key) for _ in range(5)),
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert {answer.headers["location"] for answer in answers} == {"/api/v1/me"}
    await mailbox.next(body["email"], "verify")
    assert mailbox.count() == 1


@pytest.mark.parametrize(
    "change", [{"email": "another@example.com"}, {"full_name": "Bob"}, {"password": "another horse"}]
)
async def test_another_request_under_the_same_key(http: httpx.AsyncClient, change: dict[str, str]) -> None:
    body, key = registration(full_name="Ann"), {"Idempotency-Key": uuid4().hex}
    assert (await http.post("/api/v1/auth/register", json=body, headers=key)).status_code == 201
    answer = await http.post("/api/v1/auth/register", json={**body, **change}, headers=key)
    problem_of(answer, 422, "idempotency-key-reused")


async def test_no_trace_of_a_password_is_kept_with_a_key(
    http: httpx.AsyncClient, host: Host, shared_database: str
) -> None:
    """Two passwords under one key leave the same digest, so it cannot tell anything about either."""
    key, digests = uuid4().hex, []
    for password in (PASSWORD, "another horse"):
        body = registration(email="one@example.com", password=password)
        await http.post("/api/v1/auth/register", json=body, headers={"Idempotency-Key": key})
        connection = await host.connect("slipway_admin", shared_database)
        digests.append(await connection.fetchval("SELECT request_digest FROM idempotency_key WHERE key = $1", key))
        await connection.execute("DELETE FROM account WHERE email = 'one@example.com'")
        await connection.execute("DELETE FROM idempotency_key WHERE key = $1", key)
        await connection.close()
    assert digests[0] == digests[1] is not None

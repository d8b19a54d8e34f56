"""Logging in tells nobody which e-mails have an account: not by the answer, and not by the work done for it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pwdlib.hashers.argon2 import Argon2Hasher

from service.accounts.passwords import Passwords
from service.database import Database
from service.main import build_app
from service.release import Release
from tests.service.accounts.conftest import PASSWORD, Device, Mailbox, new_email
from tests.service.conftest import Host, User, running
from tests.service.test_errors import problem_of


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What a request made the service do: hashes by their parameters, statements by their text."""
    done: Counter[str] = Counter()
    verify, compute = Argon2Hasher.verify, Argon2Hasher.hash
    fetch_row = Database.fetch_row

    def counted_verify(self: Argon2Hasher, password: Any, stored: Any) -> bool:
        done[f"verify {str(stored).rsplit('$', 2)[0]}"] += 1
        return verify(self, password, stored)

    def counted_hash(self: Argon2Hasher, password: Any, **options: Any) -> str:
        done["hash"] += 1
        return compute(self, password, **options)

    async def counted_fetch_row(self: Database, statement: Any, **values: Any) -> Any:
        if not statement.sql.startswith(("UPDATE mail ", "DELETE FROM mail ")):  # the delivery's own work
            done[statement.sql] += 1
        return await fetch_row(self, statement, **values)

    monkeypatch.setattr(Argon2Hasher, "verify", counted_verify)
    monkeypatch.setattr(Argon2Hasher, "hash", counted_hash)
    monkeypatch.setattr(Database, "fetch_row", counted_fetch_row)
    return done


async def log_in(http: httpx.AsyncClient, email: str, password: str = PASSWORD) -> httpx.Response:
    return await http.post("/api/v1/auth/login", data={"username": email, "password": password})


async def deactivate(host: Host, database: str, email: str) -> None:
    await host.execute(f"UPDATE account SET deactivated_at = now() WHERE email = '{email}'", database)


@pytest.mark.parametrize("who", ["known", "unknown", "no e-mail", "deactivated"])
async def test_a_failed_login_is_the_same_for_everybody(
    who: str, device: Device, host: Host, shared_database: str, work: Counter[str]
) -> None:
    if who == "deactivated":
        await deactivate(host, shared_database, device.email)
    email = {"unknown": new_email(), "no e-mail": "no e-mail"}.get(who, device.email)
    password = PASSWORD if who == "deactivated" else "wrong horse"
    await asyncio.sleep(0)
    work.clear()
    answer = await log_in(device.http, email, password)
    content = problem_of(answer, 401, "wrong-credentials")
    assert content["detail"] == "The e-mail or the password is wrong."
    assert answer.headers["www-authenticate"] == "Bearer"
    assert [amount for task, amount in work.items() if task.startswith("verify $argon2id$v=19$m=8,t=1,p=1")] == [1]
    assert sorted(work.values()) == [1, 1], work  # one hash and one statement, whoever it is


@pytest.mark.parametrize("path", ["password-reset", "resend-verification"])
async def test_asking_for_a_mail_is_the_same_for_everybody(
    path: str, device: Device, host: Host, shared_database: str, work: Counter[str], mailbox: Mailbox
) -> None:
    verified, deactivated = await User.register(device.http), await User.register(device.http)
    await deactivate(host, shared_database, deactivated.email)
    await host.execute(
        f"UPDATE account SET email_verified_at = now() WHERE email = '{verified.email}'", shared_database
    )
    seen = set()
    for email in (device.email, verified.email, deactivated.email, new_email()):
        work.clear()
        answer = await device.http.post(f"/api/v1/auth/{path}", json={"email": email})
        assert answer.status_code == 202
        statements = frozenset((sql, amount) for sql, amount in work.items() if "INSERT INTO mail " in sql)
        headers = {name: value for name, value in answer.headers.items() if not name.startswith(("x-", "ratelimit-"))}
        seen.add((answer.content, frozenset(headers.items()), statements))
    assert len(seen) == 1
    [(_, _, statements)] = seen
    assert len(statements) == 1


async def test_answer_to_a_mail_request_is_about_the_form_only(http: httpx.AsyncClient) -> None:
    for path in ("password-reset", "resend-verification"):
        problem_of(await http.post(f"/api/v1/auth/{path}", json={"email": "nobody"}), 422, "validation")


@pytest.mark.parametrize("data", [{"password": "a"}, {"username": "a"}, {"username": "a\x00", "password": "b"}])
async def test_login_refuses_half_a_form(http: httpx.AsyncClient, data: dict[str, str]) -> None:
    problem_of(await http.post("/api/v1/auth/login", data=data), 422, "validation")


async def test_however_a_character_is_typed_it_is_the_same_password(http: httpx.AsyncClient) -> None:
    email = new_email()
    body = {"email": email, "password": "caf\u00e9 au lait"}
    assert (await http.post("/api/v1/auth/register", json=body)).status_code == 201
    assert (await log_in(http, email, "cafe\u0301 au lait")).status_code == 200


@pytest.fixture
async def dearer(host: Host, shared_database: str, release: Release) -> AsyncIterator[httpx.AsyncClient]:
    """The application of a later release, whose hashes cost more."""
    async with running(build_app(host.settings(shared_database, password_passes=2), release)) as http:
        yield http


async def test_login_renews_a_cheap_hash(
    device: Device, dearer: httpx.AsyncClient, host: Host, shared_database: str
) -> None:
    before = await device.call("GET", "/me")
    answers = await asyncio.gather(*(log_in(dearer, device.email) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {200}  # whoever came second is let in too
    connection = await host.connect("slipway_admin", shared_database)
    stored = await connection.fetchval("SELECT password_hash FROM account WHERE email = $1", device.email)
    await connection.close()
    assert "$m=8,t=2,p=1$" in stored
    passwords = Passwords(host.settings(shared_database, password_passes=2))
    assert await passwords.verify(PASSWORD, stored) == (True, None)
    passwords.close()
    after = await device.call("GET", "/me")
    assert (after.headers["etag"], after.text) == (before.headers["etag"], before.text)


async def test_a_wrong_password_renews_nothing(device: Device, dearer: httpx.AsyncClient, work: Counter[str]) -> None:
    problem_of(await log_in(dearer, device.email, "wrong horse"), 401, "wrong-credentials")
    assert not any("UPDATE account" in task for task in work)


async def test_login_may_have_to_wait_for_the_verification(
    host: Host, shared_database: str, release: Release, tmp_path: Any
) -> None:
    outbox = tmp_path / "outbox"
    settings = host.settings(shared_database, login_needs_verified_email=True, mail_url=f"outbox://{outbox}")
    async with running(build_app(settings, release)) as http:
        email = new_email()
        await http.post("/api/v1/auth/register", json={"email": email, "password": PASSWORD})
        problem_of(await log_in(http, email), 403, "unverified-email")
        problem_of(await log_in(http, email, "wrong horse"), 401, "wrong-credentials")
        body = {"token": await Mailbox(outbox).token(email, "verify")}
        assert (await http.post("/api/v1/auth/verify-email", json=body)).status_code == 204
        assert (await log_in(http, email)).status_code == 200


async def test_a_password_changed_while_a_login_compares_the_old_one(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The login must not get in with what is the old password by the time it begins its session."""
    change = {"current_password": PASSWORD, "new_password": "another horse"}
    verify = Passwords.verify

    async def slow_verify(self: Passwords, password: str, password_hash: str | None) -> Any:
        monkeypatch.undo()
        outcome = await verify(self, password, password_hash)
        await device.call("PUT", "/me/password", json=change, expect=204)
        return outcome

    monkeypatch.setattr(Passwords, "verify", slow_verify)
    problem_of(await log_in(device.http, device.email), 401, "wrong-credentials")
    assert Passwords.verify is verify  # so it was changed meanwhile


async def test_a_password_that_curl_sends_as_it_is(http: httpx.AsyncClient) -> None:
    email, password = new_email(), "pässwörd of mine"
    body = {"email": email, "password": password}
    assert (await http.post("/api/v1/auth/register", json=body)).status_code == 201
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    content = f"username={email}&password={password}".encode()
    assert (await http.post("/api/v1/auth/login", content=content, headers=headers)).status_code == 200


async def test_an_email_is_no_mailbox_with_a_name(device: Device) -> None:
    form = {"username": f"Ann <{device.email}>", "password": PASSWORD}
    problem_of(await device.http.post("/api/v1/auth/login", data=form), 401, "wrong-credentials")

"""What a mail brings: from the request through the queue and the outbox to what its token does."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.main import build_app
from service.release import Release
from tests.service.accounts.conftest import PASSWORD, Device, Mailbox, new_email
from tests.service.conftest import Host, running
from tests.service.test_errors import problem_of

NEW_PASSWORD = "another horse"


async def ask(http: httpx.AsyncClient, path: str, expect: int, **body: str) -> httpx.Response:
    answer = await http.post(f"/api/v1/auth/{path}", json=body)
    assert answer.status_code == expect, answer.text
    return answer


async def reset_token(device: Device, mailbox: Mailbox) -> str:
    await ask(device.http, "password-reset", 202, email=device.email)
    return await mailbox.token(device.email, "new password")


@pytest.fixture
async def make_old(host: Host, shared_database: str) -> Any:
    """Lets all mailed tokens of somebody be this much older."""

    async def age(email: str, interval: str) -> None:
        sql = f"UPDATE mail_token SET expires_at = expires_at - interval '{interval}' WHERE email = '{email}'"
        await host.execute(sql, shared_database)

    return age


async def test_verification(device: Device, mailbox: Mailbox) -> None:
    token = await mailbox.token(device.email, "verify")
    before = await device.call("GET", "/me")
    assert before.json()["email_verified_at"] is None
    await ask(device.http, "verify-email", 204, token=token)
    after = await device.call("GET", "/me")
    assert after.json()["email_verified_at"].endswith("Z")
    assert after.headers["etag"] != before.headers["etag"]
    problem_of(await ask(device.http, "verify-email", 400, token=token), 400, "invalid-token")


async def test_verification_can_be_sent_again_until_it_is_done(device: Device, mailbox: Mailbox) -> None:
    first = await mailbox.token(device.email, "verify")
    await ask(device.http, "resend-verification", 202, email=device.email.upper())
    second = await mailbox.token(device.email, "verify")
    assert first != second
    await ask(device.http, "verify-email", 204, token=second)
    await ask(device.http, "verify-email", 204, token=first)  # who clicks both links is not told off
    mails = mailbox.count()
    await ask(device.http, "resend-verification", 202, email=device.email)
    await reset_token(device, mailbox)  # queued later, so delivered later
    assert mailbox.count() == mails + 1


async def test_reset(device: Device, mailbox: Mailbox) -> None:
    elsewhere = await device.another()
    other_token, token = await reset_token(device, mailbox), await reset_token(device, mailbox)
    await ask(device.http, "password-reset/confirm", 204, token=token, new_password=NEW_PASSWORD)
    for ended in (device, elsewhere):
        assert not await ended.is_in()
        problem_of(await ended.refresh(), 401, "invalid-refresh-token")
    answer = await device.http.post("/api/v1/auth/login", data={"username": device.email, "password": PASSWORD})
    problem_of(answer, 401, "wrong-credentials")
    again = await device.another(password=NEW_PASSWORD)
    # Whoever reads the mail has the address.
    assert (await again.call("GET", "/me", expect=200))["email_verified_at"]
    for spent in (token, other_token):
        await ask(device.http, "password-reset/confirm", 400, token=spent, new_password="a third horse")
    notice = await mailbox.next(device.email, "was changed")
    assert "password" in notice.get_content()


async def test_crossing_resets_with_one_token(device: Device, mailbox: Mailbox) -> None:
    token = await reset_token(device, mailbox)
    bodies = [{"token": token, "new_password": f"horse number {number}"} for number in range(5)]
    answers = await asyncio.gather(
        *(device.http.post("/api/v1/auth/password-reset/confirm", json=body) for body in bodies)
    )
    assert sorted(answer.status_code for answer in answers) == [204, 400, 400, 400, 400]
    [done] = [body for body, answer in zip(bodies, answers, strict=True) if answer.status_code == 204]
    await device.another(password=done["new_password"])


async def test_crossing_changes_of_everything_fail_in_no_other_way(device: Device, mailbox: Mailbox) -> None:
    tokens = [await reset_token(device, mailbox) for _ in range(3)]
    verification = await mailbox.token(device.email, "verify")
    change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    resets = [{"token": token, "new_password": NEW_PASSWORD} for token in tokens]
    login = {"username": device.email, "password": PASSWORD}
    answers = await asyncio.gather(
        *(device.http.post("/api/v1/auth/password-reset/confirm", json=body) for body in resets),
        *(device.call("PUT", "/me/password", json=change) for _ in range(3)),
        *(device.http.post("/api/v1/auth/login", data=login) for _ in range(3)),
        *(device.http.post("/api/v1/auth/verify-email", json={"token": verification}) for _ in range(2)),
        *(device.refresh(device.refresh_token) for _ in range(2)),
        device.call("PATCH", "/me", json={"email": new_email(), "current_password": PASSWORD}),
    )
    assert {answer.status_code for answer in answers} <= {200, 204, 400, 401, 403, 412}


async def test_tokens_end(device: Device, mailbox: Mailbox, make_old: Any) -> None:
    verification, reset = await mailbox.token(device.email, "verify"), await reset_token(device, mailbox)
    await make_old(device.email, "29 minutes 50 seconds")
    other = {"token": reset, "new_password": "password"}
    assert (await device.http.post("/api/v1/auth/password-reset/confirm", json=other)).status_code == 422
    await make_old(device.email, "10 seconds")
    await ask(device.http, "password-reset/confirm", 400, token=reset, new_password=NEW_PASSWORD)
    await make_old(device.email, "23 hours 30 minutes")
    await ask(device.http, "verify-email", 400, token=verification)


async def test_a_token_is_for_one_purpose(device: Device, mailbox: Mailbox) -> None:
    verification, reset = await mailbox.token(device.email, "verify"), await reset_token(device, mailbox)
    await ask(device.http, "password-reset/confirm", 400, token=verification, new_password=NEW_PASSWORD)
    await ask(device.http, "verify-email", 400, token=reset)
    await ask(device.http, "verify-email", 204, token=verification)


@pytest.mark.parametrize("token", ["x", "é", "a" * 43, "a" * 200, "%00"])
async def test_made_up_tokens(http: httpx.AsyncClient, token: str) -> None:
    await ask(http, "verify-email", 400, token=token)
    await ask(http, "password-reset/confirm", 400, token=token, new_password=NEW_PASSWORD)


async def test_a_token_is_for_the_address_it_was_sent_to(device: Device, mailbox: Mailbox) -> None:
    verification, reset = await mailbox.token(device.email, "verify"), await reset_token(device, mailbox)
    change = {"email": new_email(), "current_password": PASSWORD}
    await device.call("PATCH", "/me", json=change, expect=200)
    await ask(device.http, "verify-email", 400, token=verification)
    await ask(device.http, "password-reset/confirm", 400, token=reset, new_password=NEW_PASSWORD)
    await ask(device.http, "verify-email", 204, token=await mailbox.token(change["email"], "verify"))


async def test_no_token_can_be_read_in_the_database(
    device: Device, mailbox: Mailbox, host: Host, shared_database: str
) -> None:
    token = await mailbox.token(device.email, "verify")
    connection = await host.connect("slipway_admin", shared_database)
    for table in ("mail", "mail_token", "refresh_token", "session"):
        rows = await connection.fetchval(f"SELECT string_agg({table}::text, ' ') FROM {table}")
        for secret in (token, device.refresh_token):
            assert secret not in (rows or "")
    await connection.close()


async def test_nothing_is_sent_to_whom_there_is_nothing_to_say(
    device: Device, mailbox: Mailbox, host: Host, shared_database: str
) -> None:
    await mailbox.next(device.email, "verify")
    await host.execute(f"UPDATE account SET deactivated_at = now() WHERE email = '{device.email}'", shared_database)
    for email in (device.email, new_email()):
        for path in ("password-reset", "resend-verification"):
            await ask(device.http, path, 202, email=email)
    last = new_email()
    await ask(device.http, "register", 201, email=last, password=PASSWORD)
    await mailbox.next(last, "verify")  # queued last, so by now the others are done with
    assert mailbox.count() == 2


@pytest.fixture
async def with_front_end(
    host: Host, shared_database: str, release: Release, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """The application of an environment with a front end."""
    settings = host.settings(
        shared_database, mail_url=f"outbox://{tmp_path}/outbox", public_url="https://tasks.example.com/app/"
    )
    async with running(build_app(settings, release)) as http:
        yield http


async def test_links_lead_to_the_front_end(with_front_end: httpx.AsyncClient, mailbox: Mailbox) -> None:
    email = new_email()
    await ask(with_front_end, "register", 201, email=email, password=PASSWORD)
    text = (await mailbox.next(email, "verify")).get_content()
    [link] = [line for line in text.splitlines() if line.startswith("https:")]
    address, _, token = link.partition("#token=")
    assert address == "https://tasks.example.com/app/verify-email"
    assert text.splitlines().count(token) == 1
    assert "24 hours" in text
    await ask(with_front_end, "verify-email", 204, token=token)
    await ask(with_front_end, "password-reset", 202, email=email)
    text = (await mailbox.next(email, "new password")).get_content()
    assert "https://tasks.example.com/app/reset-password#token=" in text
    assert "30 minutes" in text


@pytest.mark.parametrize("url", ["tasks.example.com", "https://", "https://a.example/?x=1", "javascript:alert(1)"])
def test_an_address_that_no_link_can_begin_with(host: Host, url: str) -> None:
    with pytest.raises(ValueError, match="must be an address"):
        host.settings("any", public_url=url)

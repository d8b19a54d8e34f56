import asyncio
from typing import Any
from uuid import uuid4

import pytest

from service.accounts.models import AccountView
from tests.service.accounts.conftest import PASSWORD, Device, Mailbox, new_email
from tests.service.conftest import Host, User
from tests.service.test_errors import problem_of

NEW_PASSWORD = "another horse"


async def test_conditional_get(device: Device) -> None:
    answer = await device.call("GET", "/me")
    headers = {"If-None-Match": answer.headers["etag"]}
    assert (await device.call("GET", "/me", headers=headers)).status_code == 304
    await device.call("PATCH", "/me", json={"full_name": "Ann"}, expect=200)
    assert (await device.call("GET", "/me", headers=headers)).status_code == 200


async def test_change_of_the_name(device: Device) -> None:
    before = AccountView.model_validate(await device.call("GET", "/me", expect=200))
    answer = await device.call("PATCH", "/me", json={"full_name": " Ann "})
    after = AccountView.model_validate(answer.json(), extra="forbid")
    assert (after.full_name, after.version) == ("Ann", before.version + 1)
    assert after.updated_at > before.updated_at
    assert answer.headers["etag"] == f'"{after.version}"'
    assert await device.call("GET", "/me", expect=200) == answer.json()
    assert (await device.call("PATCH", "/me", json={"full_name": None}, expect=200))["full_name"] is None


async def test_a_change_of_nothing_changes_nothing(device: Device) -> None:
    before = await device.call("GET", "/me")
    answer = await device.call("PATCH", "/me", json={}, headers={"If-Match": before.headers["etag"]})
    assert (answer.status_code, answer.text) == (200, before.text)
    answer = await device.call("PATCH", "/me", json={"email": device.email}, headers={"If-Match": '"7"'})
    problem_of(answer, 412, "precondition-failed")


async def test_no_lost_update(device: Device) -> None:
    tag = (await device.call("GET", "/me")).headers["etag"]
    await device.call("PATCH", "/me", json={"full_name": "Ann"}, headers={"If-Match": tag}, expect=200)
    for path, body in (("/me", {"full_name": "Bob"}), ("/me", {"email": new_email(), "current_password": PASSWORD})):
        answer = await device.call("PATCH", path, json=body, headers={"If-Match": tag})
        problem_of(answer, 412, "precondition-failed")
    assert (await device.call("GET", "/me", expect=200))["full_name"] == "Ann"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"full_name": ""}, "full_name"),
        ({"email": None}, "email"),
        ({"email": "nobody"}, "email"),
        ({"password": PASSWORD}, "password"),
        ({"email": "new@example.com"}, "current_password"),
    ],
)
async def test_change_refuses(device: Device, body: dict[str, Any], field: str) -> None:
    content = problem_of(await device.call("PATCH", "/me", json=body), 422, "validation")
    assert [error["field"] for error in content["errors"]] == [field]


async def test_change_of_the_email(device: Device, mailbox: Mailbox) -> None:
    await device.http.post("/api/v1/auth/verify-email", json={"token": await mailbox.token(device.email, "verify")})
    new = new_email()
    change = {"email": new.upper(), "current_password": PASSWORD, "full_name": "Ann"}
    changed = AccountView.model_validate(await device.call("PATCH", "/me", json=change, expect=200))
    assert (changed.email, changed.full_name, changed.email_verified_at) == (new, "Ann", None)
    notice = await mailbox.next(device.email, "was changed")
    assert new not in notice.as_string()
    answer = await device.http.post("/api/v1/auth/verify-email", json={"token": await mailbox.token(new, "verify")})
    assert answer.status_code == 204
    assert (await device.call("GET", "/me", expect=200))["email_verified_at"]
    await Device.log_in(device.http, new)


async def test_the_same_email_is_no_change(device: Device, mailbox: Mailbox) -> None:
    await device.http.post("/api/v1/auth/verify-email", json={"token": await mailbox.token(device.email, "verify")})
    changed = await device.call("PATCH", "/me", json={"email": device.email.upper(), "full_name": "Ann"}, expect=200)
    assert changed["full_name"] == "Ann"
    assert changed["email_verified_at"]


async def test_change_to_an_email_that_is_taken(device: Device, stranger: User) -> None:
    change = {"email": stranger.email, "current_password": PASSWORD}
    problem_of(await device.call("PATCH", "/me", json=change), 409, "email-taken")
    problem_of(await device.call("PATCH", "/me", json={**change, "current_password": "x"}), 403, "wrong-password")


async def test_an_account_by_its_id_is_ones_own(device: Device, stranger: User) -> None:
    me = await device.call("GET", "/me", expect=200)
    assert await device.call("GET", f"/accounts/{me['id']}", expect=200) == me
    problem_of(await stranger.call("GET", f"/accounts/{me['id']}"), 404, "not-found")
    problem_of(await device.call("GET", f"/accounts/{uuid4()}"), 404, "not-found")


async def test_change_of_the_password(device: Device, mailbox: Mailbox) -> None:
    elsewhere = await device.another()
    change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    await device.call("PUT", "/me/password", json=change, expect=204)
    assert await device.is_in()
    assert (await device.refresh()).status_code == 200
    assert not await elsewhere.is_in()
    problem_of(await elsewhere.refresh(), 401, "invalid-refresh-token")
    await mailbox.next(device.email, "was changed")
    await device.another(password=NEW_PASSWORD)
    problem_of(await device.call("PUT", "/me/password", json=change), 403, "wrong-password")


async def test_a_new_password_has_to_be_a_good_one(device: Device) -> None:
    change = {"current_password": PASSWORD, "new_password": "password1"}
    content = problem_of(await device.call("PUT", "/me/password", json=change), 422, "validation")
    assert content["errors"] == [
        {"field": "new_password", "message": "is one that everybody tries first: choose a less usual one"}
    ]


async def test_two_changes_of_the_password_at_once(device: Device) -> None:
    changes = [{"current_password": PASSWORD, "new_password": f"horse number {number}"} for number in range(4)]
    answers = await asyncio.gather(*(device.call("PUT", "/me/password", json=change) for change in changes))
    done = [change for change, answer in zip(changes, answers, strict=True) if answer.status_code == 204]
    assert len(done) == 1
    assert {answer.status_code for answer in answers} <= {204, 403, 412}
    await device.another(password=done[0]["new_password"])


async def count_rows(host: Host, database: str, account_id: str, email: str) -> dict[str, int]:
    """Rows in which an account's id or e-mail stands, by table."""
    connection = await host.connect("slipway_admin", database)
    found = {}
    for (table,) in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        sql = f"SELECT count(*) FROM {table} AS row WHERE strpos(row::text, $1) > 0 OR strpos(row::text, $2) > 0"
        found[table] = await connection.fetchval(sql, account_id, email)
    await connection.close()
    return {table: count for table, count in found.items() if count}


async def test_deletion_takes_everything(
    http: Any, stranger: User, mailbox: Mailbox, host: Host, shared_database: str
) -> None:
    email = new_email()
    body = {"email": email, "password": PASSWORD}
    await http.post("/api/v1/auth/register", json=body, headers={"Idempotency-Key": uuid4().hex})
    device = await Device.log_in(http, email)
    elsewhere = await device.another()
    key = {"Idempotency-Key": uuid4().hex}
    category = await device.call("POST", "/categories", json={"name": "mine"}, headers=key, expect=201)
    await device.call("POST", "/tasks", json={"title": "mine", "category_id": category["id"]}, expect=201)
    await mailbox.next(email, "verify")
    account_id = (await device.call("GET", "/me", expect=200))["id"]
    before = await count_rows(host, shared_database, account_id, email)
    assert {"account", "session", "mail_token", "idempotency_key", "category", "task"} <= set(before)

    problem_of(await device.call("DELETE", "/me", json={"password": "wrong"}), 403, "wrong-password")
    problem_of(await device.call("DELETE", "/me"), 415, "unsupported-media-type")
    await device.call("DELETE", "/me", json={"password": PASSWORD}, expect=204)
    assert await count_rows(host, shared_database, account_id, email) == {}
    for ended in (device, elsewhere):
        assert not await ended.is_in()
        problem_of(await ended.refresh(), 401, "invalid-refresh-token")
    await stranger.call("GET", "/me", expect=200)
    assert (await http.post("/api/v1/auth/register", json=body)).status_code == 201


async def test_what_is_kept_for_a_retry_while_the_account_goes_goes_too(
    host: Host, shared_database: str, device: Device
) -> None:
    account_id = (await device.call("GET", "/me", expect=200))["id"]
    other = await host.connect("slipway_app", shared_database)
    async with other.transaction():  # as a creation under a key, which is about to end
        await other.execute(
            "INSERT INTO idempotency_key (scope, key, request_digest, body) VALUES ($1, 'k', '', 'my diary')",
            account_id,
        )
        await other.execute(
            "INSERT INTO task (account_id, title, status, priority) VALUES ($1, 'my diary', 'todo', 1)", account_id
        )
        deletion = asyncio.create_task(device.call("DELETE", "/me", json={"password": PASSWORD}))
        while not await other.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            assert not deletion.done()
            await asyncio.sleep(0.01)
    assert (await deletion).status_code == 204
    assert await other.fetchval("SELECT count(*) FROM idempotency_key WHERE scope = $1", account_id) == 0
    await other.close()

"""Idempotency-Key: what is sent again happens once."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from service.database import Database, Statement
from service.idempotency import Answer, once
from tests.service.conftest import Host, User
from tests.service.tasks.making import every_page, make, make_category
from tests.service.test_errors import problem_of

CREATIONS = [
    ("/tasks", {"title": "x"}, {"title": "y"}),
    ("/tasks/bulk", {"items": [{"title": "x"}, {"title": "z"}]}, {"items": [{"title": "x"}]}),
    ("/categories", {"name": "x"}, {"name": "y"}),
]


def _key() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


async def _count(user: User, path: str) -> int:
    return len(await every_page(user, path.removesuffix("/bulk"), limit=100))


@pytest.mark.parametrize(("path", "body", "other_body"), CREATIONS)
async def test_a_retry_gets_the_first_answer(user: User, path: str, body: Any, other_body: Any) -> None:
    key = _key()
    first = await user.call("POST", path, json=body, headers=key)
    assert first.status_code == 201
    created = await _count(user, path)
    for _ in range(2):
        again = await user.call("POST", path, json=body, headers=key)
        assert (again.status_code, again.content) == (201, first.content)
        for header in ("location", "etag", "content-type"):
            assert again.headers.get(header) == first.headers.get(header)
    assert await _count(user, path) == created
    problem_of(await user.call("POST", path, json=other_body, headers=key), 422, "idempotency-key-reused")
    assert (await user.call("POST", path, json=other_body, headers=_key())).status_code == 201


@pytest.mark.parametrize(("path", "body", "other_body"), CREATIONS)
async def test_concurrent_retries_create_once(user: User, path: str, body: Any, other_body: Any) -> None:
    key = _key()
    answers = await asyncio.gather(*(user.call("POST", path, json=body, headers=key) for _ in range(12)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert await _count(user, path) == len(body.get("items", [body]))


async def test_the_first_answer_stays_the_first(user: User) -> None:
    key = _key()
    first = await user.call("POST", "/tasks", json={"title": "x"}, headers=key)
    path = f"/tasks/{first.json()['id']}"
    await user.call("PATCH", path, json={"title": "changed"}, expect=200)
    assert (await user.call("POST", "/tasks", json={"title": "x"}, headers=key)).json() == first.json()
    await user.call("DELETE", path, expect=204)
    assert (await user.call("POST", "/tasks", json={"title": "x"}, headers=key)).json() == first.json()
    assert await _count(user, "/tasks") == 0


async def test_a_key_is_of_one_account_and_one_request(user: User, stranger: User) -> None:
    key, body = _key(), {"title": "x", "name": "x"}
    task = await user.call("POST", "/tasks", json={"title": "x"}, headers=key, expect=201)
    theirs = await stranger.call("POST", "/tasks", json={"title": "x"}, headers=key, expect=201)
    assert theirs["id"] != task["id"]
    for path in ("/categories", "/tasks/bulk", "/tasks"):
        answer = await user.call("POST", path, json=body | {"items": [{"title": "x"}]}, headers=key)
        assert answer.status_code == 422
    answer = await user.call("POST", "/categories", json={"name": "x"}, headers=key)
    problem_of(answer, 422, "idempotency-key-reused")


async def test_what_failed_may_be_tried_again(user: User) -> None:
    key = _key()
    refused = {"title": "x", "category_id": str(uuid4())}
    problem_of(await user.call("POST", "/tasks", json=refused, headers=key), 422, "validation")
    items = {"items": [{"title": "x"}, refused]}
    problem_of(await user.call("POST", "/tasks/bulk", json=items, headers=key), 422, "validation")
    assert (await user.call("POST", "/tasks", json={"title": "x"}, headers=key)).status_code == 201
    name, key = {"name": "x"}, _key()
    taken = await make_category(user, "x")
    problem_of(await user.call("POST", "/categories", json=name, headers=key), 409, "category-name-taken")
    await user.call("DELETE", f"/categories/{taken}", expect=204)
    assert (await user.call("POST", "/categories", json=name, headers=key)).status_code == 201


async def test_without_a_key_each_request_counts(user: User) -> None:
    first, second = await make(user), await make(user)
    assert first["id"] != second["id"]


@pytest.mark.parametrize("key", ["", "a b", "\x7f", "x" * 256])
async def test_bad_keys_are_refused(user: User, key: str) -> None:
    answer = await user.call("POST", "/tasks", json={"title": "x"}, headers={"Idempotency-Key": key})
    assert problem_of(answer, 422, "validation")["errors"][0]["field"] == "Idempotency-Key"


async def test_whoever_has_no_account_has_keys_too(host: Host, shared_database: str) -> None:
    database = Database(host.settings(shared_database))
    await database.open()
    key, done = uuid4().hex, []

    async def work(runner: Any) -> Answer:
        done.append(await runner.fetch_value(Statement(text("SELECT 1"))))
        return Answer("{}", 202, {"Location": "/x"})

    answers = [await once(database, None, key, b"digest", work) for _ in range(2)]
    assert answers == [Answer("{}", 202, {"Location": "/x"})] * 2
    assert done == [1]
    await database.close()

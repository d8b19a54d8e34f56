from typing import Any
from uuid import UUID

import httpx
import jwt
import pytest

from service.accounts.models import Identity
from service.database import Database
from service.errors import UnauthenticatedError
from service.export.models import Export
from service.export.store import pieces
from tests.service.conftest import Host, User
from tests.service.test_errors import problem_of


@pytest.fixture
async def fill(host: Host, shared_database: str) -> Any:
    """Gives an account many rows, as COPY would."""

    async def insert(account_id: str, *, categories: int = 0, tasks: int = 0, description: str = "") -> None:
        connection = await host.connect("slipway_admin", shared_database)
        await connection.execute(
            "INSERT INTO category (account_id, name, color) "
            "SELECT $1, 'category ' || n, '#000000' FROM generate_series(1, $2) AS n",
            account_id,
            categories,
        )
        await connection.execute(
            "INSERT INTO task (account_id, title, description, status, priority)"
            " SELECT $1, 'task ' || n, $3, 'todo', 1 FROM generate_series(1, $2) AS n",
            account_id,
            tasks,
            description,
        )
        await connection.close()

    return insert


async def test_export_holds_everything_of_mine_and_nothing_of_others(user: User, stranger: User) -> None:
    for somebody in (user, stranger):
        category = await somebody.call("POST", "/categories", json={"name": "ours"}, expect=201)
        for number in range(3):
            body = {"title": f'"{number}"', "category_id": category["id"], "due_at": "2026-11-21T12:00:00+01:00"}
            await somebody.call("POST", "/tasks", json=body, expect=201)
    answer = await user.call("GET", "/me/export")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["content-disposition"] == 'attachment; filename="export.json"'
    export = answer.json()
    Export.model_validate(export, extra="forbid")
    assert export["account"] == await user.call("GET", "/me", expect=200)
    [session] = (await user.call("GET", "/auth/sessions", expect=200))["items"]
    assert export["sessions"] == [{name: value for name, value in session.items() if name != "current"}]
    assert export["categories"] == (await user.call("GET", "/categories", expect=200))["items"]
    assert export["tasks"] == (await user.call("GET", "/tasks?sort=created_at", expect=200))["items"]


async def test_export_of_next_to_nothing(user: User) -> None:
    export = await user.call("GET", "/me/export", expect=200)
    assert (export["categories"], export["tasks"], len(export["sessions"])) == ([], [], 1)


async def test_export_goes_on_over_many_batches(user: User, fill: Any) -> None:
    account_id = (await user.call("GET", "/me", expect=200))["id"]
    await fill(account_id, categories=500, tasks=1003)
    export = await user.call("GET", "/me/export", expect=200)
    assert len({category["id"] for category in export["categories"]}) == len(export["categories"]) == 500
    assert len({task["id"] for task in export["tasks"]}) == len(export["tasks"]) == 1003


async def test_no_token_no_export(http: httpx.AsyncClient) -> None:
    problem_of(await http.get("/api/v1/me/export"), 401, "unauthenticated")


async def test_an_ended_session_gets_no_export(user: User) -> None:
    await user.call("POST", "/auth/logout", expect=204)
    problem_of(await user.call("GET", "/me/export"), 401, "unauthenticated")


async def test_a_session_that_ends_meanwhile_ends_the_export(
    user: User, fill: Any, host: Host, shared_database: str
) -> None:
    account_id = (await user.call("GET", "/me", expect=200))["id"]
    await fill(account_id, tasks=501)
    database = Database(host.settings(shared_database))
    await database.open()
    who = Identity(UUID(account_id), UUID(jwt.decode(user.token, options={"verify_signature": False})["sid"]))
    begun = ""

    async def read() -> None:
        nonlocal begun
        async for piece in pieces(database, who):
            begun += piece
            if "task 1" in piece:
                await user.call("POST", "/auth/logout", expect=204)

    with pytest.raises(UnauthenticatedError):
        await read()
    assert begun.count('"title"') == 500
    await database.close()

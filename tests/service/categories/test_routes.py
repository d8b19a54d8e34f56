"""Categories: from creation to deletion, and what is refused."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from service.categories.models import CategoryPage, CategoryView
from service.main import build_app
from service.release import Release
from tests.service.conftest import Host, User, running
from tests.service.tasks.making import every_page, make, make_category, make_many
from tests.service.test_errors import problem_of


async def test_a_category_from_creation_to_deletion(user: User) -> None:
    answer = await user.call("POST", "/categories", json={"name": "  Réseau ", "color": "#A1b2C3"})
    assert answer.status_code == 201
    category = CategoryView.model_validate(answer.json(), extra="forbid")
    assert (category.name, category.color, category.version) == ("Réseau", "#A1b2C3", 1)
    path = answer.headers["location"].removeprefix("/api/v1")
    assert path == f"/categories/{category.id}"
    assert await user.call("GET", path, expect=200) == answer.json()
    changed = await user.call("PATCH", path, json={"name": "Home"}, expect=200)
    assert (changed["name"], changed["color"], changed["version"]) == ("Home", "#A1b2C3", 2)
    assert changed["updated_at"] > changed["created_at"]
    assert await user.call("PATCH", path, json={}, expect=200) == changed
    await user.call("DELETE", path, expect=204)
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("PATCH", {}), ("DELETE", None)):
        problem_of(await user.call(method, path, json=body), 404, "not-found")


async def test_color_has_a_default(user: User) -> None:
    assert (await user.call("POST", "/categories", json={"name": "x"}, expect=201))["color"] == "#64748b"


async def test_names_are_unique_in_an_account(user: User, stranger: User) -> None:
    first = await make_category(user, "Home")
    await make_category(stranger, "Home")
    second = await make_category(user, "home")
    for method, path in (("POST", "/categories"), ("PATCH", f"/categories/{second}")):
        problem_of(await user.call(method, path, json={"name": " Home "}), 409, "category-name-taken")
    assert (await user.call("PATCH", f"/categories/{first}", json={"name": "Home"}, expect=200))["version"] == 2
    answers = await asyncio.gather(*(user.call("POST", "/categories", json={"name": "Work"}) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 4


async def test_no_update_is_lost(user: User) -> None:
    path = f"/categories/{await make_category(user)}"
    changed = await user.call("PATCH", path, json={"color": "#000000"}, headers={"If-Match": '"1"'})
    assert changed.headers["etag"] == '"2"'
    for method, body in (("PATCH", {"color": "#ffffff"}), ("PATCH", {}), ("DELETE", None)):
        answer = await user.call(method, path, json=body, headers={"If-Match": '"1"'})
        problem_of(answer, 412, "precondition-failed")
    assert (await user.call("GET", path, headers={"If-None-Match": '"2"'})).status_code == 304
    await user.call("DELETE", path, headers={"If-Match": '"2"'}, expect=204)


async def test_list_is_by_name_in_pages(user: User, stranger: User) -> None:
    names = ["b", "a", "c", "A", "é"]
    for name in names:
        await make_category(user, name)
    await make_category(stranger, "theirs")
    assert [item["name"] for item in await every_page(user, "/categories", limit=2)] == sorted(names)
    answer = await user.call("GET", "/categories")
    CategoryPage.model_validate(answer.json(), extra="forbid")
    known = {"If-None-Match": answer.headers["etag"]}
    assert (await user.call("GET", "/categories", headers=known)).status_code == 304
    await make_category(user, "new")
    assert (await user.call("GET", "/categories", headers=known)).status_code == 200


async def test_tasks_outlive_their_category_in_a_new_version(user: User) -> None:
    category_id = await make_category(user)
    inside, outside = await make(user, category_id=category_id), await make(user)
    await user.call("DELETE", f"/categories/{category_id}", expect=204)
    freed = await user.call("GET", f"/tasks/{inside['id']}", expect=200)
    assert freed == {**inside, "category_id": None, "version": 2, "updated_at": freed["updated_at"]}
    assert freed["updated_at"] > inside["updated_at"]
    assert await user.call("GET", f"/tasks/{outside['id']}", expect=200) == outside
    stale = await user.call("PATCH", f"/tasks/{inside['id']}", json={"title": "x"}, headers={"If-Match": '"1"'})
    problem_of(stale, 412, "precondition-failed")


async def test_a_task_that_comes_while_its_category_goes_is_never_left_pointing_at_it(user: User) -> None:
    for number in range(6):
        category_id = await make_category(user, f"{number}")
        await make_many(user, *({"category_id": category_id} for _ in range(5)))
        answers = await asyncio.gather(
            *(user.call("POST", "/tasks", json={"title": "late", "category_id": category_id}) for _ in range(4)),
            user.call("DELETE", f"/categories/{category_id}"),
        )
        assert answers.pop().status_code == 204
        for answer in answers:
            assert answer.status_code in {201, 422}
            if answer.status_code == 201:
                task = await user.call("GET", f"/tasks/{answer.json()['id']}", expect=200)
                assert (task["category_id"], task["version"]) == (None, 2)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": None},
        {"name": " "},
        {"name": "x" * 201},
        {"name": "\x00"},
        {"name": "x", "color": "red"},
        {"name": "x", "color": None},
        {"name": "x", "id": 1},
    ],
)
async def test_create_refuses(user: User, body: object) -> None:
    problem_of(await user.call("POST", "/categories", json=body), 422, "validation")


@pytest.mark.parametrize("body", [{"name": None}, {"color": None}, {"name": ""}, {"account_id": str(uuid4())}, []])
async def test_change_refuses(user: User, body: object) -> None:
    category_id = await make_category(user)
    problem_of(await user.call("PATCH", f"/categories/{category_id}", json=body), 422, "validation")


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"cursor": "x"}, {"sort": "name"}])
async def test_list_refuses(user: User, query: dict[str, Any]) -> None:
    for path in ("/categories", "/categories/statistics"):
        problem_of(await user.call("GET", path, params=query), 422, "validation")


async def test_another_accounts_category_does_not_exist(user: User, stranger: User) -> None:
    theirs = f"/categories/{await make_category(stranger)}"
    for method, path, body in (
        ("GET", theirs, None),
        ("GET", f"{theirs}/statistics", None),
        ("PATCH", theirs, {"name": "mine"}),
        ("PATCH", theirs, {}),
        ("DELETE", theirs, None),
    ):
        for headers in ({}, {"If-Match": '"1"'}, {"If-Match": '"7"'}):
            problem_of(await user.call(method, path, json=body, headers=headers), 404, "not-found")
    assert (await stranger.call("GET", theirs, expect=200))["name"] == "x"


MANY = """
    INSERT INTO task (account_id, category_id, title, status, priority)
    SELECT account_id, id, 'x', 'todo', 1 FROM category, generate_series(1, 4000) WHERE id = $1
"""


async def test_however_many_tasks_it_has_it_can_be_deleted_and_so_can_its_account(
    host: Host, shared_database: str, release: Release
) -> None:
    settings = host.settings(shared_database, database_deadline_seconds=0.15)
    async with running(build_app(settings, release)) as http:
        user = await User.register(http)
        categories = [await make_category(user, name) for name in ("first", "second")]
        owner = await host.connect("slipway_app", shared_database)
        for category_id in categories:
            await owner.execute(MANY, category_id)
        await owner.close()
        await user.call("DELETE", f"/categories/{categories[0]}", expect=204)
        left = await user.call("GET", "/tasks", params={"without_category": True, "total": True}, expect=200)
        assert (left["total"], left["items"][0]["version"]) == (4000, 2)
        await user.call("DELETE", "/me", json={"password": "correct horse"}, expect=204)


async def test_deleting_it_while_tasks_come_and_go_makes_nobody_wait_in_a_circle(user: User) -> None:
    tasks = [task["id"] for task in await make_many(user, *[{}] * 40)]

    async def move(category_id: str) -> Any:
        items = [{"task_id": task_id, "category_id": category_id} for task_id in tasks]
        return await user.call("PATCH", "/tasks/bulk", json={"items": items})

    async def put(task_id: str, category_id: str) -> Any:
        return await user.call("PATCH", f"/tasks/{task_id}", json={"category_id": category_id})

    for number in range(6):
        category_id = await make_category(user, f"c{number}")
        await move(category_id)
        others = [move(category_id), move(category_id), *(put(task_id, category_id) for task_id in tasks[::5])]
        deletion, *answers = await asyncio.gather(user.call("DELETE", f"/categories/{category_id}"), *others)
        assert deletion.status_code == 204
        assert {answer.status_code for answer in answers} <= {200, 422}  # there was such a category, or not any more

from uuid import uuid4

import pytest

from service.categories.models import CategoryPage, CategoryView
from tests.service.conftest import User
from tests.service.test_errors import problem_of


async def test_a_category_from_creation_to_deletion(user: User) -> None:
    answer = await user.call("POST", "/categories", json={"name": "  Réseau ", "color": "#A1b2C3"})
    assert answer.status_code == 201
    category = CategoryView.model_validate(answer.json(), extra="forbid")
    assert (category.name, category.color) == ("Réseau", "#A1b2C3")
    path = answer.headers["location"].removeprefix("/api/v1")
    assert path == f"/categories/{category.id}"
    assert await user.call("GET", path, expect=200) == answer.json()
    changed = await user.call("PATCH", path, json={"name": "Home"}, expect=200)
    assert (changed["name"], changed["color"]) == ("Home", "#A1b2C3")
    assert changed["updated_at"] > changed["created_at"]
    assert await user.call("PATCH", path, json={}, expect=200) == changed
    await user.call("DELETE", path, expect=204)
    problem_of(await user.call("GET", path), 404, "not-found")
    problem_of(await user.call("PATCH", path, json={"name": "x"}), 404, "not-found")
    problem_of(await user.call("PATCH", path, json={}), 404, "not-found")
    problem_of(await user.call("DELETE", path), 404, "not-found")


async def test_color_has_a_default(user: User) -> None:
    assert (await user.call("POST", "/categories", json={"name": "x"}, expect=201))["color"] == "#64748b"


async def test_list_is_by_name_in_pages(user: User, stranger: User) -> None:
    names = ["b", "a", "c", "a", "é"]
    for name in names:
        await user.call("POST", "/categories", json={"name": name}, expect=201)
    await stranger.call("POST", "/categories", json={"name": "theirs"}, expect=201)
    seen, cursor, pages = [], None, 0
    while True:
        parameters = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = await user.call("GET", "/categories", params=parameters, expect=200)
        CategoryPage.model_validate(page, extra="forbid")
        seen += [item["name"] for item in page["items"]]
        pages += 1
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == sorted(names)
    assert pages == 3


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
    created = await user.call("POST", "/categories", json={"name": "x"}, expect=201)
    problem_of(await user.call("PATCH", f"/categories/{created['id']}", json=body), 422, "validation")


async def test_another_accounts_category_does_not_exist(user: User, stranger: User) -> None:
    theirs = f"/categories/{(await stranger.call('POST', '/categories', json={'name': 'x'}, expect=201))['id']}"
    for method, body in (("GET", None), ("PATCH", {"name": "mine"}), ("DELETE", None)):
        problem_of(await user.call(method, theirs, json=body), 404, "not-found")
    assert (await stranger.call("GET", theirs, expect=200))["name"] == "x"

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from service.pagination import _encode
from service.tasks.models import Priority, Sort, Status, TaskPage, TaskView
from tests.service.conftest import User
from tests.service.test_errors import problem_of


async def make(user: User, **fields: Any) -> dict[str, Any]:
    """Create a task."""
    created: dict[str, Any] = await user.call("POST", "/tasks", json={"title": "a task", **fields}, expect=201)
    TaskView.model_validate(created, extra="forbid")
    return created


async def titles(user: User, **query: Any) -> list[str]:
    """The titles of a list's first page."""
    page = await user.call("GET", "/tasks", params=query, expect=200)
    TaskPage.model_validate(page, extra="forbid")
    return [item["title"] for item in page["items"]]


async def test_a_task_from_creation_to_deletion(user: User) -> None:
    category = await user.call("POST", "/categories", json={"name": "x"}, expect=201)
    body = {
        "title": ' Schreib\'s auf: "タスク" \\ \U0001f600 ',
        "description": "line\n\ttab",
        "status": "in_progress",
        "priority": "urgent",
        "due_at": "2027-03-01T09:30:00+05:30",
        "category_id": category["id"],
    }
    answer = await user.call("POST", "/tasks", json=body)
    assert answer.status_code == 201
    task = answer.json()
    expected = {**body, "title": body["title"].strip(), "due_at": "2027-03-01T04:00:00.000000Z", "completed_at": None}
    assert {key: task[key] for key in expected} == expected
    assert UUID(task["id"]).version == 7
    path = answer.headers["location"].removeprefix("/api/v1")
    assert await user.call("GET", path, expect=200) == task
    cleared = {"description": None, "due_at": None, "category_id": None, "title": "new"}
    changed = await user.call("PATCH", path, json=cleared, expect=200)
    assert {key: changed[key] for key in cleared} == cleared
    assert changed["status"] == "in_progress"
    assert changed["updated_at"] > task["updated_at"]
    assert await user.call("PATCH", path, json={}, expect=200) == changed
    await user.call("DELETE", path, expect=204)
    for method in ("GET", "DELETE"):
        problem_of(await user.call(method, path), 404, "not-found")
    problem_of(await user.call("PATCH", path, json={"title": "x"}), 404, "not-found")


async def test_defaults(user: User) -> None:
    task = await make(user)
    assert (task["status"], task["priority"], task["description"], task["due_at"]) == ("todo", "medium", None, None)


async def test_completed_at_follows_the_status(user: User) -> None:
    path = f"/tasks/{(await make(user))['id']}"

    async def completed_at(status: str) -> str | None:
        at: str | None = (await user.call("PATCH", path, json={"status": status}, expect=200))["completed_at"]
        return at

    done = await completed_at("completed")
    assert done
    assert await completed_at("completed") == done
    assert await completed_at("archived") == done
    assert await completed_at("todo") is None
    assert await completed_at("archived") is None
    assert (await make(user, status="completed"))["completed_at"]


@pytest.mark.parametrize(
    ("due_at", "kept"),
    [
        ("2026-12-31T23:59:59Z", "2026-12-31T23:59:59.000000Z"),
        ("2026-12-31T23:59:59.123456-08:00", "2027-01-01T07:59:59.123456Z"),
        ("0001-01-03T00:00:00+14:00", "0001-01-02T10:00:00.000000Z"),
        ("9999-12-30T12:00:00-10:00", "9999-12-30T22:00:00.000000Z"),
    ],
)
async def test_due_dates_with_time_zones(user: User, due_at: str, kept: str) -> None:
    task = await make(user, due_at=due_at)
    assert task["due_at"] == kept
    assert (await user.call("GET", "/tasks", params={"sort": "due_at"}, expect=200))["items"] == [task]


@pytest.mark.parametrize(
    "field",
    [
        {"title": None},
        {"title": ""},
        {"title": "  "},
        {"title": "x" * 201},
        {"title": "a\x00b"},
        {"title": 7},
        {"description": "\x00"},
        {"description": "x" * 10_001},
        {"status": "done"},
        {"status": None},
        {"priority": 1},
        {"priority": None},
        {"due_at": "2026-12-31T23:59:59"},
        {"due_at": "tomorrow"},
        {"due_at": "0001-01-01T00:00:00+14:00"},
        {"due_at": "9999-12-31T23:59:59-14:00"},
        {"due_at": "0001-01-01T00:00:00Z"},
        {"due_at": 10**30},
        {"due_at": "2026-02-30T00:00:00Z"},
        {"category_id": "x"},
        {"category_id": 10**400},
        {"category_id": str(uuid4())},
        {"id": str(uuid4())},
        {"account_id": str(uuid4())},
    ],
)
async def test_bad_fields_are_refused(user: User, field: dict[str, Any]) -> None:
    created = await make(user)
    name = next(iter(field))
    for method, path, body in (
        ("POST", "/tasks", {"title": "x", **field}),
        ("PATCH", f"/tasks/{created['id']}", field),
    ):
        content = problem_of(await user.call(method, path, json=body), 422, "validation")
        assert [error["field"] for error in content["errors"]] == [name]
    assert await user.call("GET", f"/tasks/{created['id']}", expect=200) == created


@pytest.mark.parametrize("text", ['{"title": "\\ud800"}', '{"title": "x", "description": "\\udfff"}', '{"\\ud83d": 1}'])
async def test_half_a_surrogate_is_no_text(user: User, text: str) -> None:
    answer = await user.call("POST", "/tasks", content=text, headers={"Content-Type": "application/json"})
    problem_of(answer, 422, "validation")


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 101},
        {"limit": "9" * 400},
        {"limit": "x"},
        {"sort": "id"},
        {"status": "done"},
        {"priority": "0"},
        {"category_id": "x"},
        {"due_before": "yesterday"},
        {"due_after": "2026-01-01"},
        {"q": ""},
        {"q": "\x00"},
        {"cursor": "nonsense"},
        {"page": 2},
    ],
)
async def test_bad_queries_are_refused(user: User, query: dict[str, Any]) -> None:
    content = problem_of(await user.call("GET", "/tasks", params=query), 422, "validation")
    assert content["errors"][0]["field"].split(".")[0] == next(iter(query))


async def test_bad_ids_are_refused(user: User) -> None:
    for task_id in ("x", "%00", "0" * 500):
        problem_of(await user.call("GET", f"/tasks/{task_id}"), 422, "validation")
    problem_of(await user.call("GET", f"/tasks/{uuid4()}"), 404, "not-found")


async def test_filters(user: User) -> None:
    category = await user.call("POST", "/categories", json={"name": "x"}, expect=201)
    await make(user, title="one", status="completed", priority="low", due_at="2026-01-01T00:00:00Z")
    await make(user, title="two", priority="urgent", category_id=category["id"], description="50% of ONE_thing")
    await make(user, title="three", status="archived", due_at="2026-03-01T00:00:00Z")
    newest_first = ["three", "two", "one"]
    assert await titles(user) == newest_first
    assert await titles(user, status=["completed", "archived"]) == ["three", "one"]
    assert await titles(user, priority=["low", "urgent"]) == ["two", "one"]
    assert await titles(user, status="completed", priority="urgent") == []
    assert await titles(user, category_id=category["id"]) == ["two"]
    assert await titles(user, category_id=str(uuid4())) == []
    assert await titles(user, due_before="2026-02-01T00:00:00Z") == ["one"]
    assert await titles(user, due_after="2026-02-01T00:00:00+01:00") == ["three"]
    assert await titles(user, due_after="2026-01-01T00:00:00Z", due_before="2026-03-01T00:00:00Z") == []
    assert await titles(user, q="ONE") == ["two", "one"]
    assert await titles(user, q="50%") == ["two"]
    assert await titles(user, q="e_t") == ["two"]
    assert await titles(user, q="%") == ["two"]
    assert await titles(user, q="\\") == []


def _order(sort: Sort) -> Any:
    def key(task: dict[str, Any]) -> tuple[Any, str]:
        if "due_at" in sort:
            return task["due_at"] or "never", task["id"]
        if "priority" in sort:
            return Priority(task["priority"]).rank, task["id"]
        return task[sort.removeprefix("-")], task["id"]

    return key


@pytest.mark.parametrize("sort", list(Sort))
async def test_pages_hold_every_task_once_in_order(user: User, sort: Sort) -> None:
    made = []
    for number in range(13):
        due_at = None if number % 3 == 0 else datetime(2026, 1, 1 + number % 4, tzinfo=UTC).isoformat()
        fields = {"title": f"{'é' * (number % 5)}x", "priority": list(Priority)[number % 4], "due_at": due_at}
        made.append(await make(user, **fields))
    seen: list[dict[str, Any]] = []
    cursor = None
    while True:
        query = {"sort": sort.value, "limit": 4} | ({"cursor": cursor} if cursor else {})
        page = await user.call("GET", "/tasks", params=query, expect=200)
        seen += page["items"]
        assert len(page["items"]) <= 4
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == sorted(made, key=_order(sort), reverse=sort.startswith("-"))
    whole = await user.call("GET", "/tasks", params={"sort": sort.value, "limit": 13}, expect=200)
    assert whole == {"items": seen, "next_cursor": None}


async def test_pages_stay_right_while_rows_come_and_go(user: User) -> None:
    made = [await make(user, title=f"{number}") for number in range(6)]
    page = await user.call("GET", "/tasks", params={"limit": 2, "sort": "created_at"}, expect=200)
    await user.call("DELETE", f"/tasks/{made[0]['id']}", expect=204)
    await user.call("DELETE", f"/tasks/{made[1]['id']}", expect=204)  # the row that the cursor names
    await make(user, title="late")
    query = {"limit": 100, "sort": "created_at", "cursor": page["next_cursor"]}
    assert await titles(user, **query) == ["2", "3", "4", "5", "late"]


async def test_longest_title_makes_a_cursor_that_is_taken_back(user: User) -> None:
    for _ in range(2):
        await make(user, title="\U0001f600" * 200)
    page = await user.call("GET", "/tasks", params={"limit": 1, "sort": "title"}, expect=200)
    query = {"limit": 1, "sort": "title", "cursor": page["next_cursor"]}
    assert len(await titles(user, **query)) == 1


async def test_cursor_of_another_order_or_type_is_refused(user: User) -> None:
    for title in ("a", "b"):
        await make(user, title=title)
    page = await user.call("GET", "/tasks", params={"limit": 1, "sort": "title"}, expect=200)
    answer = await user.call("GET", "/tasks", params={"limit": 1, "sort": "due_at", "cursor": page["next_cursor"]})
    assert "another order" in problem_of(answer, 422, "validation")["errors"][0]["message"]
    # A cursor that says due_at but holds a title: only PostgreSQL can tell.
    for key in ("no moment", "\x00"):
        forged = _encode("due_at", key, uuid4())
        answer = await user.call("GET", "/tasks", params={"sort": "due_at", "cursor": forged})
        problem_of(answer, 422, "validation")


async def test_another_accounts_task_does_not_exist(user: User, stranger: User) -> None:
    category = await stranger.call("POST", "/categories", json={"name": "theirs"}, expect=201)
    theirs = await make(stranger, category_id=category["id"])
    path = f"/tasks/{theirs['id']}"
    for method, body in (("GET", None), ("PATCH", {"title": "mine"}), ("PATCH", {}), ("DELETE", None)):
        problem_of(await user.call(method, path, json=body), 404, "not-found")
    assert await titles(user) == []
    assert await titles(user, category_id=category["id"]) == []
    for answer in (
        await user.call("POST", "/tasks", json={"title": "x", "category_id": category["id"]}),
        await user.call("PATCH", f"/tasks/{(await make(user))['id']}", json={"category_id": category["id"]}),
    ):
        content = problem_of(answer, 422, "validation")
        assert content["errors"] == [{"field": "category_id", "message": "is none of your categories"}]
    assert await stranger.call("GET", path, expect=200) == theirs


async def test_tasks_outlive_their_category(user: User) -> None:
    category = await user.call("POST", "/categories", json={"name": "x"}, expect=201)
    task = await make(user, category_id=category["id"])
    await user.call("DELETE", f"/categories/{category['id']}", expect=204)
    assert (await user.call("GET", f"/tasks/{task['id']}", expect=200))["category_id"] is None


async def test_many_at_once_on_few_connections(user: User) -> None:
    made = await asyncio.gather(*(make(user, title=f"{number}") for number in range(60)))
    assert len({task["id"] for task in made}) == 60
    assert len(await titles(user, limit=100)) == 60


async def test_every_status_is_a_status_of_the_table(user: User) -> None:
    for status in Status:
        assert (await make(user, status=status.value))["status"] == status

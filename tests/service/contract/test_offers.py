"""What the superseded system's clients do, done here: the rows of docs/superseded.md that are many routes in one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.service.conftest import User

YESTERDAY, TOMORROW = (f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT12:00:00Z}" for days in (-1, 1))


@pytest.fixture
async def work(user: User) -> User:
    """Somebody with seven tasks, three of them in a category."""
    category = await user.call("POST", "/categories", 201, json={"name": "work", "color": "#FF5733"})
    of_work = {"category_id": category["id"]}
    for task in (
        {"title": "late", "due_at": YESTERDAY, "priority": "high", **of_work},
        {"title": "later still", "due_at": "2020-01-01T00:00:00Z", "status": "in_progress", **of_work},
        {"title": "done in time", "due_at": YESTERDAY, "status": "completed", **of_work},
        {"title": "given up", "due_at": YESTERDAY, "status": "archived"},
        {"title": "to come", "due_at": TOMORROW, "priority": "urgent"},
        {"title": "whenever", "description": "write the documentation"},
        {"title": "Documentation", "priority": "low"},
    ):
        await user.call("POST", "/tasks", 201, json=task)
    return user


async def titles(user: User, query: str) -> list[str]:
    page: dict[str, Any] = await user.call("GET", f"/tasks?{query}", 200)
    return [task["title"] for task in page["items"]]


async def test_a_list_with_every_filter_of_theirs(work: User) -> None:
    [category] = (await work.call("GET", "/categories", 200))["items"]
    assert await titles(work, "status=in_progress") == ["later still"]
    assert await titles(work, "priority=urgent") == ["to come"]
    assert await titles(work, f"category_id={category['id']}") == ["done in time", "later still", "late"]
    assert sorted(await titles(work, "q=document")) == ["Documentation", "whenever"]
    bounds = f"due_after={YESTERDAY}&due_before={TOMORROW}"
    assert await titles(work, bounds) == ["to come", "given up", "done in time", "late"], "both ends are in it"
    page = await work.call("GET", "/tasks?limit=2&total=true", 200)
    assert (len(page["items"]), page["total"]) == (2, 7)
    assert len(await titles(work, f"limit=10&cursor={page['next_cursor']}")) == 5


async def test_overdue_tasks_oldest_first(work: User) -> None:
    assert await titles(work, "overdue=true&sort=due_at") == ["later still", "late"]


async def test_statistics_of_an_account(work: User) -> None:
    counts = await work.call("GET", "/tasks/statistics", 200)
    assert counts["total"] == 7
    assert counts["by_status"] == {"todo": 4, "in_progress": 1, "completed": 1, "archived": 1}
    assert counts["by_priority"] == {"low": 1, "medium": 4, "high": 1, "urgent": 1}
    assert counts["overdue"] == 2
    assert counts["completed_per_day"][-1] == {"day": f"{datetime.now(UTC):%Y-%m-%d}", "completed": 1}


async def test_statistics_of_a_category(work: User) -> None:
    [category] = (await work.call("GET", "/categories", 200))["items"]
    counts = await work.call("GET", f"/categories/{category['id']}/statistics", 200)
    assert (counts["name"], counts["total"], counts["overdue"]) == ("work", 3, 2)
    assert counts["by_status"] == {"todo": 1, "in_progress": 1, "completed": 1, "archived": 0}


async def test_a_change_keeps_what_it_does_not_name_and_a_replacement_does_not(work: User) -> None:
    [late] = (await work.call("GET", "/tasks?priority=high", 200))["items"]
    changed = await work.call("PATCH", f"/tasks/{late['id']}", 200, json={"title": "very late"})
    assert changed == {**late, "title": "very late", "version": 2, "updated_at": changed["updated_at"]}
    replaced = await work.call("PUT", f"/tasks/{late['id']}", 200, json={"title": "very late"})
    assert (replaced["priority"], replaced["due_at"], replaced["category_id"]) == ("medium", None, None)


async def test_a_name_is_one_categorys(work: User) -> None:
    await work.call("POST", "/categories", 409, json={"name": "work"})


async def test_tasks_outlive_their_category(work: User) -> None:
    [category] = (await work.call("GET", "/categories", 200))["items"]
    await work.call("DELETE", f"/categories/{category['id']}", 204)
    tasks = (await work.call("GET", "/tasks", 200))["items"]
    assert len(tasks) == 7
    assert {task["category_id"] for task in tasks} == {None}

"""Statistics, and the counts that they are made of."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from service.tasks.models import Priority, Status
from service.tasks.queries import CategoryStatistics, CategoryStatisticsPage, TaskStatistics
from tests.service.conftest import Host, User
from tests.service.tasks.making import every_page, make, make_category, make_many
from tests.service.test_errors import problem_of


def _counts(tasks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {
        "total": len(tasks),
        "by_status": {status.value: sum(task["status"] == status for task in tasks) for status in Status},
        "by_priority": {priority.value: sum(task["priority"] == priority for task in tasks) for priority in Priority},
        "overdue": sum(
            task["status"] in {"todo", "in_progress"} and (task["due_at"] or "9999") < now for task in tasks
        ),
    }


async def _agreement(user: User) -> None:
    """Check that statistics say what looking at every task says."""
    tasks = await every_page(user, limit=100)
    found = await user.call("GET", "/tasks/statistics", expect=200)
    TaskStatistics.model_validate(found, extra="forbid")
    assert {key: found[key] for key in found.keys() - {"completed_per_day"}} == _counts(tasks)
    completed = Counter((task["completed_at"] or "never")[:10] for task in tasks)
    assert {day["day"]: day["completed"] for day in found["completed_per_day"] if day["completed"]} == {
        day: count for day, count in completed.items() if day != "never"
    }
    categories = await every_page(user, "/categories", limit=100)
    page = await user.call("GET", "/categories/statistics", expect=200)
    CategoryStatisticsPage.model_validate(page, extra="forbid")
    assert page["items"] == [
        {
            "category_id": category["id"],
            "name": category["name"],
            **_counts([task for task in tasks if task["category_id"] == category["id"]]),
        }
        for category in categories
    ]
    for item in page["items"]:
        one = await user.call("GET", f"/categories/{item['category_id']}/statistics", expect=200)
        CategoryStatistics.model_validate(one, extra="forbid")
        assert one == item


async def test_nothing_to_count(user: User) -> None:
    await make_category(user)
    await _agreement(user)
    found = await user.call("GET", "/tasks/statistics", expect=200)
    assert (found["total"], len(found["completed_per_day"])) == (0, 30)
    assert found["completed_per_day"][-1]["day"] == datetime.now(UTC).date().isoformat()


async def test_counts_follow_every_change(user: User, stranger: User) -> None:
    first, second = await make_category(user, "b"), await make_category(user, "a")
    await make(stranger, priority="urgent")
    past = {"due_at": "2026-01-01T00:00:00Z"}
    made = await make_many(
        user,
        {"category_id": first, **past},
        {"category_id": first, "status": "completed", **past},
        {"category_id": second, "priority": "urgent"},
        {"status": "in_progress", **past},
    )
    await _agreement(user)
    await user.call("PUT", f"/tasks/{made[0]['id']}/status", json={"status": "completed"}, expect=200)
    await user.call("PATCH", f"/tasks/{made[1]['id']}", json={"category_id": second, "priority": "low"}, expect=200)
    await user.call("PATCH", f"/tasks/{made[2]['id']}", json={"title": "counts as before"}, expect=200)
    await _agreement(user)
    items = [{"task_id": task["id"], "status": "archived", "category_id": first} for task in made[:3]]
    await user.call("PATCH", "/tasks/bulk", json={"items": items}, expect=200)
    await user.call("DELETE", f"/tasks/{made[3]['id']}", expect=204)
    await _agreement(user)
    await user.call("DELETE", f"/categories/{first}", expect=204)
    await _agreement(user)
    await user.call("POST", "/tasks/bulk/delete", json={"items": [{"task_id": made[0]["id"]}]}, expect=204)
    problem_of(await user.call("PATCH", "/tasks/bulk", json={"items": items}), 422, "validation")
    await _agreement(user)
    await _agreement(stranger)


async def test_counts_are_right_after_many_changes_at_once(user: User) -> None:
    chance = random.Random(7)
    categories = [await make_category(user, name) for name in "abc"]
    made = await make_many(user, *({"category_id": chance.choice(categories)} for _ in range(60)))

    def change() -> dict[str, Any]:
        return {
            "status": chance.choice(list(Status)),
            "priority": chance.choice(list(Priority)),
            "category_id": chance.choice([*categories, None]),
        }

    def some() -> list[str]:
        return [task["id"] for task in chance.sample(made, 12)]

    calls: list[tuple[str, str, Any]] = []
    for _ in range(12):
        calls += [
            ("POST", "/tasks", {"title": "new", **change()}),
            ("POST", "/tasks/bulk", {"items": [{"title": "new", **change()} for _ in range(5)]}),
            ("PATCH", "/tasks/bulk", {"items": [{"task_id": task_id, **change()} for task_id in some()]}),
            ("PATCH", f"/tasks/{some()[0]}", change()),
            ("DELETE", f"/tasks/{some()[0]}", None),
        ]
    calls.append(("DELETE", f"/categories/{categories[0]}", None))
    chance.shuffle(calls)
    answers = await asyncio.gather(*(user.call(method, path, json=body) for method, path, body in calls))
    assert {answer.status_code for answer in answers} <= {200, 201, 204, 404, 422, 503}
    await _agreement(user)


async def test_an_account_leaves_no_counts(host: Host, shared_database: str, user: User) -> None:
    await make_many(user, {"category_id": await make_category(user)}, {"status": "completed"})
    account_id = (await user.call("GET", "/me", expect=200))["id"]
    connection = await host.connect("slipway_app", shared_database)
    left = "SELECT count(*) FROM task_count WHERE account_id = $1"
    assert await connection.fetchval(left, account_id) == 2
    await user.call("DELETE", "/me", json={"password": "correct horse"}, expect=204)
    assert await connection.fetchval(left, account_id) == 0
    await connection.close()


async def _complete(host: Host, database: str, user: User, *moments: datetime) -> None:
    """Create tasks that were completed at these moments."""
    account_id = (await user.call("GET", "/me", expect=200))["id"]
    connection = await host.connect("slipway_app", database)
    await connection.executemany(
        "INSERT INTO task (account_id, title, status, priority, completed_at) VALUES ($1, 'x', 'archived', 0, $2)",
        [(account_id, moment) for moment in moments],
    )
    await connection.close()


async def _per_day(user: User, **query: str) -> dict[str, int]:
    found = await user.call("GET", "/tasks/statistics", params=query, expect=200)
    return {day["day"]: day["completed"] for day in found["completed_per_day"]}


async def test_days_are_those_of_the_time_zone(host: Host, shared_database: str, user: User) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    # Around the night of 25 October 2026, which has an hour more there.
    around = [datetime(2026, 10, day, hour, 30, tzinfo=berlin) for day in (24, 25, 26) for hour in (0, 23)]
    await _complete(host, shared_database, user, *around, datetime(2026, 10, 25, 23, tzinfo=UTC))
    in_berlin = {"completed_from": "2026-10-23", "completed_to": "2026-10-27", "time_zone": "Europe/Berlin"}
    assert await _per_day(user, **in_berlin) == {
        "2026-10-23": 0,
        "2026-10-24": 2,
        "2026-10-25": 2,
        "2026-10-26": 3,
        "2026-10-27": 0,
    }
    in_utc = await _per_day(user, completed_from="2026-10-23", completed_to="2026-10-27")
    assert list(in_utc.values()) == [1, 2, 3, 1, 0]
    assert sum((await _per_day(user, completed_from="2026-10-26", completed_to="2026-10-26")).values()) == 1


async def test_ranges_of_days(user: User) -> None:
    today = datetime.now(UTC).date()

    async def days(**query: str) -> tuple[str, str, int]:
        counted = list(await _per_day(user, **query))
        return counted[0], counted[-1], len(counted)

    def last(day: date, count: int) -> tuple[str, str, int]:
        return (day - timedelta(days=count - 1)).isoformat(), day.isoformat(), count

    assert await days() == last(today, 30)
    assert await days(completed_to="2026-03-01") == ("2026-01-31", "2026-03-01", 30)
    assert await days(completed_from="2026-01-31") == ("2026-01-31", "2026-03-01", 30)
    assert await days(completed_from="2024-01-01", completed_to="2024-12-31") == ("2024-01-01", "2024-12-31", 366)
    assert await days(completed_from="9999-12-20") == ("9999-12-20", "9999-12-31", 12)
    assert await days(completed_to="0001-01-05") == ("0001-01-01", "0001-01-05", 5)
    first = {"completed_from": "0001-01-02", "completed_to": "0001-01-02", "time_zone": "Pacific/Kiritimati"}
    assert await days(**first) == ("0001-01-02", "0001-01-02", 1)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"completed_from": "2026-01-02", "completed_to": "2026-01-01"}, "query"),
        ({"completed_from": "2025-01-01", "completed_to": "2026-01-02"}, "query"),
        ({"completed_from": "0001-01-02", "completed_to": "9999-12-30"}, "query"),
        ({"completed_from": "0001-01-01"}, "completed_from"),
        ({"completed_to": "9999-12-31"}, "completed_to"),
        ({"completed_to": "1767225600"}, "completed_to"),
        ({"completed_from": "yesterday"}, "completed_from"),
        ({"completed_to": "10000-01-01"}, "completed_to"),
        ({"time_zone": "Europe/Atlantis"}, "time_zone"),
        ({"time_zone": "'; --"}, "time_zone"),
        ({"time_zone": ""}, "time_zone"),
        ({"time_zone": "Foo+5"}, "time_zone"),
        ({"time_zone": "X-24"}, "time_zone"),
        ({"days": "7"}, "days"),
    ],
)
async def test_bad_ranges_are_refused(user: User, query: dict[str, str], field: str) -> None:
    content = problem_of(await user.call("GET", "/tasks/statistics", params=query), 422, "validation")
    assert [error["field"] for error in content["errors"]] == [field]


async def test_statistics_that_the_client_has_are_not_sent_again(user: User) -> None:
    category_id = await make_category(user)
    for path in ("/tasks/statistics", "/categories/statistics", f"/categories/{category_id}/statistics"):
        answer = await user.call("GET", path)
        known = {"If-None-Match": answer.headers["etag"]}
        assert (await user.call("GET", path, headers=known)).status_code == 304
        await make(user, category_id=category_id)
        assert (await user.call("GET", path, headers=known)).status_code == 200


async def test_statistics_of_categories_come_in_pages(user: User, stranger: User) -> None:
    for name in "edacb":
        await make(user, category_id=await make_category(user, name))
    theirs = await make_category(stranger, "theirs")
    seen = await every_page(user, "/categories/statistics", limit=2)
    assert [(item["name"], item["total"]) for item in seen] == [(name, 1) for name in "abcde"]
    for category_id in (theirs, str(uuid4())):
        problem_of(await user.call("GET", f"/categories/{category_id}/statistics"), 404, "not-found")
    problem_of(await user.call("GET", "/categories/statistics", params={"cursor": "x"}), 422, "validation")

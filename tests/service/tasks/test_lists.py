"""Lists of tasks: conditions, orders, cursors, totals."""

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock
from uuid import UUID, uuid4

import pytest

from service.pagination import _encode
from service.tasks import lists
from service.tasks.models import Priority
from service.tasks.queries import Sort
from tests.service.conftest import User
from tests.service.tasks.making import every_page, make, make_category, make_many, titles
from tests.service.test_errors import problem_of


@pytest.fixture(params=[0, 1, 1500])
def walk(request: pytest.FixtureRequest) -> Any:
    """Lists that look their rows up at once, after one, or not at all while an account is small: all must agree."""
    with mock.patch.object(lists, "_WALK", request.param):
        lists._page.cache_clear()
        yield
    lists._page.cache_clear()


@pytest.mark.usefixtures("walk")
async def test_conditions(user: User) -> None:
    category_id = await make_category(user)
    await make(user, title="one", status="completed", priority="low", due_at="2026-01-01T00:00:00Z")
    await make(user, title="two", priority="urgent", category_id=category_id)
    await make(user, title="three", status="archived", due_at="2026-03-01T00:00:00Z")
    assert await titles(user) == ["three", "two", "one"]
    for query, expected in (
        ({"status": ["completed", "archived"]}, "three one"),
        ({"status": ["todo", "in_progress"]}, "two"),
        ({"status": "in_progress"}, ""),
        ({"priority": ["low", "urgent"]}, "two one"),
        ({"status": "completed", "priority": "urgent"}, ""),
        ({"category_id": category_id}, "two"),
        ({"category_id": str(uuid4())}, ""),
        ({"without_category": True}, "three one"),
        ({"without_category": False}, "three two one"),
        ({"without_category": True, "category_id": category_id}, ""),
        ({"due_before": "2026-02-01T00:00:00Z"}, "one"),
        ({"due_after": "2026-02-01T00:00:00+01:00"}, "three"),
        ({"due_after": "2026-01-01T00:00:00Z", "due_before": "2026-03-01T00:00:00Z"}, "three one"),
        ({"due_after": "2026-01-01T00:00:00.000001Z"}, "three"),
        ({"created_after": "2026-01-01T00:00:00Z", "status": "todo"}, "two"),
        ({"created_before": "2026-01-01T00:00:00Z"}, ""),
        ({"updated_after": "9999-12-30T00:00:00+12:00"}, ""),
        ({"updated_before": "9999-12-30T00:00:00Z", "updated_after": "0001-01-02T00:00:00Z"}, "three two one"),
        ({"q": "t"}, "three two"),
        ({"q": "t", "priority": "urgent", "category_id": category_id, "status": "todo"}, "two"),
    ):
        assert await titles(user, **query) == expected.split(), query
        assert await titles(user, **query, sort="-title") == sorted(expected.split(), reverse=True), query
        page = await user.call("GET", "/tasks", params={**query, "total": True, "limit": 1}, expect=200)
        assert page["total"] == len(expected.split()), query


@pytest.mark.usefixtures("walk")
async def test_overdue_are_those_still_to_be_done(user: User) -> None:
    now = datetime.now(UTC)
    past, future = (now - timedelta(hours=1)).isoformat(), (now + timedelta(hours=1)).isoformat()
    for status in ("todo", "in_progress", "completed", "archived"):
        await make_many(
            user, *({"title": f"{status} {due}", "status": status, "due_at": due} for due in (past, future))
        )
    await make(user, title="never")
    assert await titles(user, overdue=True, sort="created_at") == [f"todo {past}", f"in_progress {past}"]
    assert await titles(user, overdue=True, status=["todo", "completed"]) == [f"todo {past}"]
    assert await titles(user, overdue=True, sort="-due_at", q="progress") == [f"in_progress {past}"]
    assert len(await titles(user, overdue=False)) == 9
    to_do = await titles(user, status=["todo", "in_progress"], sort="due_at")
    assert to_do == [f"todo {past}", f"in_progress {past}", f"todo {future}", f"in_progress {future}", "never"]
    assert await titles(user, status="in_progress", sort="-due_at") == [f"in_progress {future}", f"in_progress {past}"]


async def test_created_and_updated_ranges(user: User) -> None:
    made = [await make(user, title=f"{number}") for number in range(4)]
    changed = await user.call("PATCH", f"/tasks/{made[0]['id']}", json={"title": "changed"}, expect=200)
    middle = {"created_after": made[1]["created_at"], "created_before": made[2]["created_at"]}
    for sort, expected in (("created_at", ["1", "2"]), ("-title", ["2", "1"])):
        assert await titles(user, **middle, sort=sort) == expected
    assert await titles(user, updated_after=changed["updated_at"]) == ["changed"]
    assert await titles(user, updated_after=changed["updated_at"], sort="updated_at") == ["changed"]
    assert await titles(user, updated_before=made[1]["updated_at"], sort="-updated_at") == ["1"]
    assert await titles(user, sort="-updated_at") == ["changed", "3", "2", "1"]


def _order(sort: Sort) -> Any:
    def key(task: dict[str, Any]) -> tuple[Any, str]:
        if sort.field == "due_at":
            return task["due_at"] or "never", task["id"]
        if sort.field == "priority":
            return Priority(task["priority"]).rank, task["id"]
        return task[sort.field], task["id"]

    return key


def _assorted(count: int) -> list[dict[str, Any]]:
    """Tasks of which some are alike in what they are sorted by."""
    return [
        {
            "title": f"{'é' * (number % 5)} x",
            "priority": list(Priority)[number % 4],
            "due_at": None if number % 3 == 0 else datetime(2026, 1, 1 + number % 4, tzinfo=UTC).isoformat(),
            "status": "todo" if number % 2 else "completed",
        }
        for number in range(count)
    ]


@pytest.mark.usefixtures("walk")
async def test_pages_hold_every_task_once_in_order(user: User) -> None:
    made = await make_many(user, *_assorted(13))
    for sort in Sort:
        for query in (
            {},
            {"status": "todo"},
            {"q": "éé", "priority": ["low", "high"]},
            {"due_after": "2026-01-01T12:00:00Z"},
        ):
            fitting = [task for task in made if _fits(task, query)]
            in_order = sorted(fitting, key=_order(sort), reverse=sort.is_descending)
            assert await every_page(user, sort=sort.value, limit=2, **query) == in_order, (sort, query)
            whole = await user.call("GET", "/tasks", params={"sort": sort.value, "limit": 13, **query}, expect=200)
            assert whole == {"items": in_order, "next_cursor": None}


def _fits(task: dict[str, Any], query: dict[str, Any]) -> bool:
    return (
        task["status"] == query.get("status", task["status"])
        and task["priority"] in query.get("priority", list(Priority))
        and ("due_after" not in query or (task["due_at"] or "") >= query["due_after"])
        and task["title"].startswith(query.get("q", ""))
    )


@pytest.mark.usefixtures("walk")
@pytest.mark.parametrize("query", [{}, {"status": "todo"}, {"q": "task"}])
async def test_pages_stay_right_while_rows_come_and_go(user: User, query: dict[str, Any]) -> None:
    made = [await make(user, title=f"task {number}") for number in range(6)]
    page = await user.call("GET", "/tasks", params={"limit": 2, "sort": "created_at", **query}, expect=200)
    await user.call("DELETE", f"/tasks/{made[0]['id']}", expect=204)
    await user.call("DELETE", f"/tasks/{made[1]['id']}", expect=204)  # the row that the cursor names
    await user.call("DELETE", f"/tasks/{made[3]['id']}", expect=204)
    await make(user, title="task late")
    following = {"limit": 100, "sort": "created_at", "cursor": page["next_cursor"], **query}
    assert await titles(user, **following) == ["task 2", "task 4", "task 5", "task late"]
    backwards = await user.call("GET", "/tasks", params={"limit": 2, **query}, expect=200)
    await make(user, title="task later")
    assert await titles(user, cursor=backwards["next_cursor"], **query) == ["task 4", "task 2"]


async def test_longest_title_makes_a_cursor_that_is_taken_back(user: User) -> None:
    await make_many(user, *({"title": "\U0001f600" * 200} for _ in range(2)))
    page = await user.call("GET", "/tasks", params={"limit": 1, "sort": "title"}, expect=200)
    assert len(await titles(user, limit=1, sort="title", cursor=page["next_cursor"])) == 1


async def test_a_cursor_is_good_for_its_list_only(user: User) -> None:
    for title in ("a", "b", "c"):
        await make(user, title=title, priority="low")
    first = {"limit": 1, "sort": "title", "priority": ["low", "high"]}
    cursor = (await user.call("GET", "/tasks", params=first, expect=200))["next_cursor"]
    assert await titles(user, **{**first, "limit": 5, "priority": ["high", "low"]}, cursor=cursor) == ["b", "c"]
    for other in (
        {"sort": "title"},
        {"sort": "-title", "priority": ["low", "high"]},
        {"sort": "title", "priority": "low"},
        {"sort": "title", "priority": ["low", "high"], "q": "a"},
        {"sort": "title", "priority": ["low", "high"], "overdue": True},
    ):
        answer = await user.call("GET", "/tasks", params={**other, "cursor": cursor})
        assert "other conditions" in problem_of(answer, 422, "validation")["errors"][0]["message"]


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("due_at", "no moment"),
        ("due_at", "\x00"),
        ("-created_at", "294277-01-01"),
        ("updated_at", "infinite"),
        ("priority", "99999"),
        ("title", "\x00"),
    ],
)
async def test_a_forged_cursor_is_refused(user: User, sort: str, key: str) -> None:
    # Well-formed, but its key is none: only PostgreSQL can tell.
    answer = await user.call("GET", "/tasks", params={"sort": sort, "cursor": _encode(sort, key, uuid4())})
    assert problem_of(answer, 422, "validation")["errors"][0]["field"] == "cursor"


async def test_total_is_of_all_pages_and_only_where_asked_for(user: User) -> None:
    await make_many(user, *_assorted(5))
    page = await user.call("GET", "/tasks", params={"limit": 2, "total": True}, expect=200)
    assert (page["total"], len(page["items"])) == (5, 2)
    following = {"limit": 2, "total": True, "cursor": page["next_cursor"]}
    assert (await user.call("GET", "/tasks", params=following, expect=200))["total"] == 5
    assert "total" not in await user.call("GET", "/tasks", expect=200)
    nobodys = {"category_id": str(UUID(int=0)), "total": True}
    assert (await user.call("GET", "/tasks", params=nobodys, expect=200))["total"] == 0


async def test_a_list_that_the_client_has_is_not_sent_again(user: User) -> None:
    task = await make(user)
    for query in ({}, {"q": "task", "total": True}):
        answer = await user.call("GET", "/tasks", params=query)
        known = {"If-None-Match": answer.headers["etag"]}
        again = await user.call("GET", "/tasks", params=query, headers=known)
        assert (again.status_code, again.content) == (304, b"")
        await user.call("PATCH", f"/tasks/{task['id']}", json={"priority": "high"}, expect=200)
        changed = await user.call("GET", "/tasks", params=query, headers=known)
        assert changed.status_code == 200
        assert changed.headers["etag"] != answer.headers["etag"]


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
        {"without_category": "perhaps"},
        {"overdue": ""},
        {"total": "2"},
        {"due_before": "yesterday"},
        {"due_after": "2026-01-01"},
        {"created_after": "10000-01-01T00:00:00Z"},
        {"updated_before": "9999-12-31T23:59:59-12:00"},
        {"q": ""},
        {"q": "\x00"},
        {"q": "x" * 201},
        {"cursor": "nonsense"},
        {"cursor": "x" * 2001},
        {"page": 2},
    ],
)
async def test_bad_queries_are_refused(user: User, query: dict[str, Any]) -> None:
    content = problem_of(await user.call("GET", "/tasks", params=query), 422, "validation")
    assert content["errors"][0]["field"].split(".")[0] == next(iter(query))

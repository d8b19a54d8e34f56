"""One task: from creation to deletion, and what is refused."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from service.tasks.models import Priority, Status, TaskView
from tests.service.conftest import Host, User
from tests.service.tasks.making import make, make_category, titles
from tests.service.test_errors import problem_of


async def test_a_task_from_creation_to_deletion(user: User) -> None:
    body = {
        "title": ' Schreib\'s auf: "タスク" \\ \U0001f600 ',
        "description": "line\n\ttab",
        "status": "in_progress",
        "priority": "urgent",
        "due_at": "2027-03-01T09:30:00+05:30",
        "category_id": await make_category(user),
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
    title = {"title": "x"}
    for method, content in (("GET", None), ("DELETE", None), ("PATCH", title), ("PATCH", {}), ("PUT", title)):
        problem_of(await user.call(method, path, json=content), 404, "not-found")


async def test_defaults(user: User) -> None:
    task = await make(user)
    assert (task["status"], task["priority"], task["description"], task["due_at"]) == ("todo", "medium", None, None)


async def test_replacing_gives_what_is_left_out_its_default(user: User) -> None:
    whole = {"description": "d", "status": "completed", "priority": "urgent", "due_at": "2027-01-01T00:00:00Z"}
    task = await make(user, **whole, category_id=await make_category(user))
    path = f"/tasks/{task['id']}"
    replaced = await user.call("PUT", path, json={"title": "anew"}, expect=200)
    TaskView.model_validate(replaced, extra="forbid")
    fresh = await make(user, title="anew")
    own = {"id", "created_at", "updated_at", "version"}
    assert {key: replaced[key] for key in replaced.keys() - own} == {key: fresh[key] for key in fresh.keys() - own}
    assert (replaced["created_at"], replaced["version"]) == (task["created_at"], 2)
    again = await user.call("PUT", path, json={"title": "anew"}, expect=200)
    assert again == {**replaced, "version": 3, "updated_at": again["updated_at"]}
    problem_of(await user.call("PUT", path, json={"status": "todo"}), 422, "validation")


async def test_transitions(user: User) -> None:
    path = f"/tasks/{(await make(user, title='keep', description='this'))['id']}"
    for first in Status:
        for second in Status:
            await user.call("PUT", f"{path}/status", json={"status": first}, expect=200)
            task = await user.call("PUT", f"{path}/status", json={"status": second}, expect=200)
            assert (task["status"], task["title"], task["description"]) == (second, "keep", "this")
    for priority in Priority:
        assert (await user.call("PUT", f"{path}/priority", json={"priority": priority}, expect=200))["priority"] == (
            priority
        )
    for part, body in (("status", {"status": "done"}), ("status", {}), ("priority", {"priority": None})):
        problem_of(await user.call("PUT", f"{path}/{part}", json=body), 422, "validation")
    problem_of(await user.call("PUT", f"/tasks/{uuid4()}/status", json={"status": "todo"}), 404, "not-found")


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


def _tag(answer: httpx.Response, version: int) -> str:
    assert answer.headers["etag"] == f'"{version}"'
    assert answer.json()["version"] == version
    return answer.headers["etag"]


async def test_no_update_is_lost(user: User) -> None:
    made = await user.call("POST", "/tasks", json={"title": "one"})
    path, first = f"/tasks/{made.json()['id']}", _tag(made, 1)
    mine = await user.call("PATCH", path, json={"title": "mine"}, headers={"If-Match": first})
    second = _tag(mine, 2)
    late = {"If-Match": first}
    for method, part, body in (
        ("PATCH", "", {"title": "theirs"}),
        ("PATCH", "", {}),
        ("PUT", "", {"title": "theirs"}),
        ("PUT", "/status", {"status": "archived"}),
        ("PUT", "/priority", {"priority": "low"}),
        ("DELETE", "", None),
    ):
        problem_of(await user.call(method, path + part, json=body, headers=late), 412, "precondition-failed")
    assert (await user.call("GET", path)).json() == mine.json()
    third = _tag(await user.call("PUT", path, json={"title": "x"}, headers={"If-Match": second}), 3)
    fourth = _tag(await user.call("PUT", f"{path}/status", json={"status": "todo"}, headers={"If-Match": third}), 4)
    _tag(await user.call("PUT", f"{path}/priority", json={"priority": "low"}, headers={"If-Match": fourth}), 5)
    assert (await user.call("PATCH", path, json={}, headers={"If-Match": "*"})).status_code == 200
    await user.call("DELETE", path, headers={"If-Match": '"4", "5"'}, expect=204)
    problem_of(await user.call("DELETE", path, headers={"If-Match": '"5"'}), 404, "not-found")


async def test_of_many_changes_to_one_version_one_wins(user: User) -> None:
    path = f"/tasks/{(await make(user))['id']}"
    answers = await asyncio.gather(
        *(user.call("PATCH", path, json={"title": f"{n}"}, headers={"If-Match": '"1"'}) for n in range(12))
    )
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] + [412] * 11
    (winner,) = [answer for answer in answers if answer.status_code == 200]
    assert await user.call("GET", path, expect=200) == winner.json()


async def test_a_task_that_the_client_has_is_not_sent_again(user: User) -> None:
    path = f"/tasks/{(await make(user))['id']}"
    answer = await user.call("GET", path)
    again = await user.call("GET", path, headers={"If-None-Match": _tag(answer, 1)})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", '"1"')
    await user.call("PATCH", path, json={"title": "new"}, expect=200)
    _tag(await user.call("GET", path, headers={"If-None-Match": '"1"'}), 2)


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
    assert await titles(user, due_after=due_at, due_before=due_at) == ["a task"]


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
        {"due_at": "0001-01-02T00:00:00+23:59"},
        {"due_at": 10**30},
        {"due_at": "2026-02-30T00:00:00Z"},
        {"category_id": "x"},
        {"category_id": 10**400},
        {"category_id": str(uuid4())},
        {"id": str(uuid4())},
        {"account_id": str(uuid4())},
        {"version": 1},
    ],
)
async def test_bad_fields_are_refused(user: User, field: dict[str, Any]) -> None:
    created = await make(user)
    name = next(iter(field))
    for method, path, body in (
        ("POST", "/tasks", {"title": "x", **field}),
        ("PUT", f"/tasks/{created['id']}", {"title": "x", **field}),
        ("PATCH", f"/tasks/{created['id']}", field),
    ):
        content = problem_of(await user.call(method, path, json=body), 422, "validation")
        assert [error["field"] for error in content["errors"]] == [name]
    assert await user.call("GET", f"/tasks/{created['id']}", expect=200) == created


@pytest.mark.parametrize("text", ['{"title": "\\ud800"}', '{"title": "x", "description": "\\udfff"}', '{"\\ud83d": 1}'])
async def test_half_a_surrogate_is_no_text(user: User, text: str) -> None:
    answer = await user.call("POST", "/tasks", content=text, headers={"Content-Type": "application/json"})
    problem_of(answer, 422, "validation")


async def test_bad_ids_are_refused(user: User) -> None:
    for task_id in ("x", "%00", "0" * 500):
        problem_of(await user.call("GET", f"/tasks/{task_id}"), 422, "validation")
    problem_of(await user.call("GET", f"/tasks/{uuid4()}"), 404, "not-found")


async def test_another_accounts_task_does_not_exist(user: User, stranger: User) -> None:
    category_id = await make_category(stranger, "theirs")
    theirs = await make(stranger, category_id=category_id)
    path = f"/tasks/{theirs['id']}"
    for method, part, body in (
        ("GET", "", None),
        ("PUT", "", {"title": "mine"}),
        ("PATCH", "", {"title": "mine"}),
        ("PATCH", "", {}),
        ("PUT", "/status", {"status": "archived"}),
        ("PUT", "/priority", {"priority": "low"}),
        ("DELETE", "", None),
    ):
        for headers in ({}, {"If-Match": '"1"'}, {"If-Match": '"9"'}):
            problem_of(await user.call(method, path + part, json=body, headers=headers), 404, "not-found")
    assert await titles(user) == []
    assert await titles(user, category_id=category_id) == []
    for answer in (
        await user.call("POST", "/tasks", json={"title": "x", "category_id": category_id}),
        await user.call("PATCH", f"/tasks/{(await make(user))['id']}", json={"category_id": category_id}),
    ):
        content = problem_of(answer, 422, "validation")
        assert content["errors"] == [{"field": "category_id", "message": "is none of your categories"}]
    assert await stranger.call("GET", path, expect=200) == theirs


async def test_many_at_once_on_few_connections(user: User) -> None:
    made = await asyncio.gather(*(make(user, title=f"{number}") for number in range(60)))
    assert len({task["id"] for task in made}) == 60
    assert len(await titles(user, limit=100)) == 60


async def test_whoever_has_logged_out_can_do_nothing(user: User) -> None:
    task, category_id = await make(user), await make_category(user)
    await user.call("POST", "/auth/logout", expect=204)
    one = f"/tasks/{task['id']}"
    item = {"task_id": task["id"]}
    for method, path, body in (
        ("POST", "/tasks", {"title": "x"}),
        ("POST", "/tasks", {"title": "x", "category_id": category_id}),
        ("GET", "/tasks", None),
        ("GET", "/tasks?q=task&total=true", None),
        ("GET", "/tasks/statistics", None),
        ("GET", one, None),
        ("PUT", one, {"title": "x"}),
        ("PATCH", one, {"title": "x"}),
        ("PATCH", one, {}),
        ("PUT", f"{one}/status", {"status": "todo"}),
        ("DELETE", one, None),
        ("POST", "/tasks/bulk", {"items": [{"title": "x"}]}),
        ("PATCH", "/tasks/bulk", {"items": [{**item, "title": "x"}]}),
        ("POST", "/tasks/bulk/delete", {"items": [item]}),
        ("POST", "/categories", {"name": "y"}),
        ("GET", "/categories", None),
        ("GET", "/categories/statistics", None),
        ("GET", f"/categories/{category_id}/statistics", None),
        ("PATCH", f"/categories/{category_id}", {"name": "y"}),
        ("DELETE", f"/categories/{category_id}", None),
    ):
        for headers in ({}, {"Idempotency-Key": uuid4().hex}) if method == "POST" else ({},):
            problem_of(await user.call(method, path, json=body, headers=headers), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("path", "body"),
    [("/tasks", {"title": "x"}), ("/tasks/bulk", {"items": [{"title": "x"}]}), ("/categories", {"name": "x"})],
)
async def test_what_comes_while_its_account_goes_is_refused(
    host: Host, shared_database: str, user: User, path: str, body: Any
) -> None:
    account_id = (await user.call("GET", "/me", expect=200))["id"]
    other = await host.connect("slipway_app", shared_database)
    async with other.transaction():
        await other.execute("DELETE FROM account WHERE id = $1", account_id)
        late = asyncio.create_task(user.call("POST", path, json=body))
        while not await other.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            assert not late.done()
            await asyncio.sleep(0.01)
    problem_of(await late, 401, "unauthenticated")
    await other.close()

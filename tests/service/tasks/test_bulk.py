"""Many tasks at once: all of them or none."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from service.tasks.models import TaskList
from tests.service.conftest import User
from tests.service.tasks.making import make, make_category, make_many, titles
from tests.service.test_errors import problem_of


def _fields(answer: Any, status: int, code: str) -> list[str]:
    return [error["field"] for error in problem_of(answer, status, code)["errors"]]


async def test_create_many(user: User) -> None:
    category_id = await make_category(user)
    items = [
        {"title": "a", "due_at": "0001-01-02T00:00:00Z", "category_id": category_id},
        {
            "title": 'b "\\ \U0001f600',
            "description": "line\n",
            "priority": "urgent",
            "due_at": "9999-12-30T23:00:00+01:00",
        },
        {"title": "c", "status": "completed"},
    ] + [{"title": f"{number}"} for number in range(97)]
    made = await user.call("POST", "/tasks/bulk", json={"items": items}, expect=201)
    TaskList.model_validate(made, extra="forbid")
    assert [task["title"] for task in made["items"]] == [item["title"] for item in items]
    for task in made["items"][:4]:
        assert await user.call("GET", f"/tasks/{task['id']}", expect=200) == task
    first, second, third, fourth = made["items"][:4]
    assert (first["due_at"], first["category_id"]) == ("0001-01-02T00:00:00.000000Z", category_id)
    assert (second["priority"], second["due_at"]) == ("urgent", "9999-12-30T22:00:00.000000Z")
    assert third["completed_at"] == third["created_at"]
    assert fourth == await make(user, title="0") | {key: fourth[key] for key in ("id", "created_at", "updated_at")}


async def test_create_all_or_none(user: User, stranger: User) -> None:
    theirs, gone = await make_category(stranger), str(uuid4())
    items: list[dict[str, Any]] = [{"title": "x"}, {"title": "y"}, {"title": "z"}]
    for place, field in ((1, {"title": ""}), (2, {"due_at": "tomorrow"}), (0, {"color": "red"})):
        wrong = [{**item, **field} if number == place else item for number, item in enumerate(items)]
        answer = await user.call("POST", "/tasks/bulk", json={"items": wrong})
        assert _fields(answer, 422, "validation") == [f"items.{place}.{next(iter(field))}"]
    wrong = [{**items[0], "category_id": theirs}, items[1], {**items[2], "category_id": gone}]
    answer = await user.call("POST", "/tasks/bulk", json={"items": wrong})
    assert _fields(answer, 422, "validation") == ["items.0.category_id", "items.2.category_id"]
    assert await titles(user) == []


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/tasks/bulk"), ("PATCH", "/tasks/bulk"), ("POST", "/tasks/bulk/delete")]
)
@pytest.mark.parametrize("items", [None, [], [{}], ["x"], {}, [{"title": "x", "task_id": str(uuid4())}] * 101])
async def test_what_is_no_list_of_items_is_refused(user: User, method: str, path: str, items: Any) -> None:
    assert _fields(await user.call(method, path, json={"items": items}), 422, "validation")


async def test_change_many(user: User) -> None:
    category_id = await make_category(user)
    one, two, three = await make_many(
        user, {"title": "1"}, {"title": "2", "due_at": "2027-01-01T00:00:00Z"}, {"title": "3"}
    )
    items = [
        {"task_id": three["id"], "title": "drei", "status": "completed"},
        {"task_id": one["id"], "version": 1, "category_id": category_id, "priority": "low", "description": "d"},
        {"task_id": two["id"], "due_at": None},
    ]
    changed = await user.call("PATCH", "/tasks/bulk", json={"items": items}, expect=200)
    TaskList.model_validate(changed, extra="forbid")
    assert [task["id"] for task in changed["items"]] == [three["id"], one["id"], two["id"]]
    differences: list[dict[str, Any]] = [
        {"title": "drei", "status": "completed"},
        {"category_id": category_id, "priority": "low", "description": "d"},
        {"due_at": None},
    ]
    for before, after, difference in zip((three, one, two), changed["items"], differences, strict=True):
        moving = {key: after[key] for key in ("updated_at", "completed_at")}
        assert after == {**before, **difference, **moving, "version": 2}
        assert await user.call("GET", f"/tasks/{after['id']}", expect=200) == after
    assert changed["items"][0]["completed_at"]
    archived = {"items": [{"task_id": three["id"], "status": "archived"}]}
    again = await user.call("PATCH", "/tasks/bulk", json=archived, expect=200)
    assert again["items"][0]["completed_at"] == changed["items"][0]["completed_at"]


async def test_change_all_or_none(user: User, stranger: User) -> None:
    mine = await make_many(user, {"title": "1"}, {"title": "2"}, {"title": "3"})
    theirs, category_id = await make(stranger), await make_category(stranger)
    items: list[dict[str, Any]] = [{"task_id": task["id"], "title": "changed"} for task in mine]

    async def refused(status: int, code: str, *wrong: tuple[int, dict[str, Any]]) -> list[str]:
        changes = dict(wrong)
        sent = [{**item, **changes.get(place, {})} for place, item in enumerate(items)]
        return _fields(await user.call("PATCH", "/tasks/bulk", json={"items": sent}), status, code)

    invalid = (422, "validation")
    assert await refused(*invalid, (1, {"title": None}), (2, {"status": "done"})) == ["items.1.title", "items.2.status"]
    assert await refused(*invalid, (0, {"task_id": theirs["id"]}), (2, {"task_id": str(uuid4())})) == [
        "items.0.task_id",
        "items.2.task_id",
    ]
    assert await refused(*invalid, (1, {"category_id": category_id})) == ["items.1.category_id"]
    assert await refused(*invalid, (2, {"task_id": mine[0]["id"]})) == ["items.2.task_id"]
    assert await refused(*invalid, (1, {"version": 0}), (2, {"version": 2**31})) == [
        "items.1.version",
        "items.2.version",
    ]
    assert await refused(412, "precondition-failed", (0, {"version": 1}), (1, {"version": 2})) == ["items.1.version"]
    nothing = {"items": [items[0], {"task_id": mine[1]["id"], "version": 1}]}
    assert _fields(await user.call("PATCH", "/tasks/bulk", json=nothing), *invalid) == ["items.1"]
    assert (await user.call("GET", "/tasks", params={"sort": "title"}, expect=200))["items"] == mine
    assert await stranger.call("GET", f"/tasks/{theirs['id']}", expect=200) == theirs


async def test_delete_many_all_or_none(user: User, stranger: User) -> None:
    mine = await make_many(user, {"title": "1"}, {"title": "2"}, {"title": "3"})
    theirs = await make(stranger)
    one, two, three = ({"task_id": task["id"]} for task in mine)
    for items, status, code, fields in (
        ([one, {"task_id": theirs["id"]}], 422, "validation", ["items.1.task_id"]),
        ([one, two, one], 422, "validation", ["items.2.task_id"]),
        ([one, {**two, "version": 7}], 412, "precondition-failed", ["items.1.version"]),
        ([one, {**two, "title": "x"}], 422, "validation", ["items.1.title"]),
    ):
        answer = await user.call("POST", "/tasks/bulk/delete", json={"items": items})
        assert _fields(answer, status, code) == fields
    assert await titles(user) == ["3", "2", "1"]
    await user.call("POST", "/tasks/bulk/delete", json={"items": [three, {**one, "version": 1}]}, expect=204)
    assert await titles(user) == ["2"]
    assert await titles(stranger) == ["a task"]


async def test_changes_that_share_tasks_follow_one_another(user: User) -> None:
    made = await make_many(user, *({"title": f"{number}"} for number in range(40)))
    forwards = [{"task_id": task["id"], "title": "forwards"} for task in made]
    backwards = [{"task_id": task["id"], "title": "backwards", "status": "completed"} for task in reversed(made)]
    answers = await asyncio.gather(
        *(user.call("PATCH", "/tasks/bulk", json={"items": items}) for items in (forwards, backwards) * 6),
        *(user.call("PATCH", f"/tasks/{made[number]['id']}", json={"priority": "low"}) for number in (0, 20, 39)),
    )
    assert [answer.status_code for answer in answers] == [200] * 15
    page = await user.call("GET", "/tasks", params={"limit": 100}, expect=200)
    assert len({task["title"] for task in page["items"]}) == 1
    assert {task["version"] for task in page["items"]} == {13, 14}


async def test_of_many_bulk_changes_to_one_version_one_wins(user: User) -> None:
    made = await make_many(user, *({} for _ in range(10)))
    answers = await asyncio.gather(
        *(
            user.call(
                "PATCH",
                "/tasks/bulk",
                json={"items": [{"task_id": task["id"], "version": 1, "title": f"{number}"} for task in made]},
            )
            for number in range(8)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    (winner,) = [answer.json()["items"] for answer in answers if answer.status_code == 200]
    page = await user.call("GET", "/tasks", params={"sort": "created_at"}, expect=200)
    assert page["items"] == winner


async def test_of_changes_and_deletions_at_once_none_is_half_done(user: User) -> None:
    for _ in range(4):
        made = await make_many(user, *({} for _ in range(10)))
        items = [{"task_id": task["id"]} for task in made]
        change = [{**item, "title": "changed"} for item in items]
        changed, deleted = await asyncio.gather(
            user.call("PATCH", "/tasks/bulk", json={"items": change}),
            user.call("POST", "/tasks/bulk/delete", json={"items": items[5:]}),
        )
        assert deleted.status_code == 204
        left = await titles(user)
        assert left == (["changed"] * 5 if changed.status_code == 200 else ["a task"] * 5)
        await user.call("POST", "/tasks/bulk/delete", json={"items": items[:5]}, expect=204)


@pytest.mark.parametrize(
    ("method", "path", "item"),
    [("POST", "", {"title": "x"}), ("PATCH", "", {"title": "x"}), ("POST", "/delete", {})],
)
async def test_heavy_work_waits_for_its_turn(
    user: User, stranger: User, method: str, path: str, item: dict[str, Any]
) -> None:
    (made,) = await make_many(user, {})
    assert isinstance(user.http._transport, httpx.ASGITransport)
    turns = user.http._transport.app.state.parts.bulk_turns  # type: ignore[attr-defined] # it is ours
    body = {"items": [item if (method, path) == ("POST", "") else {**item, "task_id": made["id"]}]}
    async with turns.take(uuid4()):  # somebody's heavy work
        waiting = asyncio.create_task(user.call(method, f"/tasks/bulk{path}", json=body))
        while not turns.waiting:  # noqa: ASYNC110 - what it asks for has no event
            await asyncio.sleep(0.001)
        await stranger.call("GET", "/tasks", expect=200)  # readers do not
        assert not waiting.done()
    assert (await waiting).is_success

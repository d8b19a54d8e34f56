"""Many tasks at once: all of them or none, in one statement.

A statement locks its tasks in the order of their ids before it writes, so that two of them which share tasks never wait
in a circle; and it writes only when nothing is wrong with any item, or else tells what, by the item's place.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import literal_column, text
from sqlmodel import SQLModel

from service.accounts.models import Identity
from service.accounts.store import ACTING, owned
from service.database import Runner, Statement
from service.errors import FieldError, InvalidInputError, PreconditionFailedError, UnauthenticatedError
from service.tasks.models import ChangedTask, ChosenTask, NewTask
from service.tasks.store import TASK, VIEW, completed_at, references_checked

_CATEGORY = SQLModel.metadata.tables["category"]
# ruff: noqa: S608 - what is put into the statements is ours

# Item by item: a planner that guesses would rather walk all tasks in order than look up a hundred.
# The items as rows, by their place in the request; `given` tells a field that is null from one that is left out.
_ITEM = """
    item AS MATERIALIZED (
        SELECT place - 1 AS place, given, field.*
        FROM jsonb_array_elements(CAST(:items AS jsonb)) WITH ORDINALITY AS element (given, place),
            jsonb_to_record(given) AS field (
                task_id uuid, version int, title text, description text, status text, priority smallint,
                due_at timestamptz, category_id uuid
            )
    )"""
_STRAY = f"""
    stray AS (
        SELECT place FROM item WHERE category_id IS NOT NULL
            AND (SELECT id FROM category WHERE category.id = item.category_id AND {owned(_CATEGORY)}) IS NULL
    )"""
_CHOSEN = f"""
    chosen AS MATERIALIZED (
        SELECT locked.id, locked.version FROM (SELECT task_id FROM item ORDER BY task_id) AS wanted, LATERAL (
            SELECT id, version FROM task WHERE task.id = wanted.task_id AND {owned(TASK)} FOR UPDATE
        ) AS locked
    ), unknown AS (
        SELECT place FROM item WHERE task_id NOT IN (SELECT id FROM chosen)
    ), outdated AS (
        SELECT place FROM item JOIN chosen ON chosen.id = task_id WHERE item.version <> chosen.version
    )"""
_UNCHANGED_UNLESS_GIVEN = ", ".join(
    f"{field} = CASE WHEN given ? '{field}' THEN item.{field} ELSE task.{field} END"
    for field in ("title", "description", "status", "priority", "due_at", "category_id")
)


def _found(*kinds: str) -> str:
    """Compose what an answer tells besides `done`: whether the one who asks may, and the places of what is wrong."""
    places = ", ".join(f"ARRAY(SELECT place FROM {kind} ORDER BY place) AS {kind}" for kind in kinds)
    return f"{ACTING} IS NOT NULL AS acts, {places}"


_CREATE = Statement(
    text(f"""
    WITH {_ITEM}, {_STRAY}, made AS (
        INSERT INTO task (account_id, title, description, status, priority, due_at, category_id, completed_at)
        SELECT {ACTING}, title, description, status, priority, due_at, category_id,
            CASE WHEN status = 'completed' THEN now() END
        FROM item WHERE {ACTING} IS NOT NULL AND NOT EXISTS (SELECT FROM stray) ORDER BY place
        RETURNING id, {VIEW} AS view
    )
    SELECT ARRAY(SELECT view FROM made ORDER BY id) AS done, {_found("stray")}""")
)
_CHANGE = Statement(
    text(f"""
    WITH {_ITEM}, {_STRAY}, {_CHOSEN}, changed AS (
        UPDATE task SET {_UNCHANGED_UNLESS_GIVEN},
            completed_at = CASE WHEN given ? 'status' THEN {completed_at(literal_column("item.status"))}
                ELSE task.completed_at END,
            updated_at = now(), version = task.version + 1
        FROM item JOIN chosen ON chosen.id = item.task_id WHERE task.id = chosen.id AND NOT EXISTS (SELECT FROM stray)
            AND NOT EXISTS (SELECT FROM unknown) AND NOT EXISTS (SELECT FROM outdated)
        RETURNING place, {VIEW} AS view
    )
    SELECT ARRAY(SELECT view FROM changed ORDER BY place) AS done, {_found("stray", "unknown", "outdated")}""")
)
_DELETE = Statement(
    text(f"""
    WITH {_ITEM}, {_CHOSEN}, gone AS (
        DELETE FROM task USING chosen WHERE task.id = chosen.id
            AND NOT EXISTS (SELECT FROM unknown) AND NOT EXISTS (SELECT FROM outdated)
        RETURNING task.id
    )
    SELECT ARRAY(SELECT id FROM gone) AS done, {_found("unknown", "outdated")}""")
)


async def create(runner: Runner, who: Identity, tasks: Sequence[NewTask]) -> str:
    """Create tasks and return the JSON of them all.

    Raises:
        InvalidInputError: the account has no such category.
        UnauthenticatedError: the session has ended.
    """
    return _list(await _run(runner, _CREATE, who, [task.model_dump() for task in tasks]))


async def change(runner: Runner, who: Identity, tasks: Sequence[ChangedTask]) -> str:
    """Change tasks and return the JSON of them all.

    Raises:
        InvalidInputError: an item is about no task of the account, one that another item is about, or about nothing;
            or the account has no such category.
        PreconditionFailedError: a task has another version.
        UnauthenticatedError: the session has ended.
    """
    _refuse(
        ("", "names nothing to change", [place for place, task in enumerate(tasks) if not task.keys() - _NAMING]),
        _twins([task["task_id"] for task in tasks]),
    )
    return _list(await _run(runner, _CHANGE, who, tasks))


async def remove(runner: Runner, who: Identity, tasks: Sequence[ChosenTask]) -> None:
    """Delete tasks.

    Raises:
        InvalidInputError: an item is about no task of the account, or one that another item is about.
        PreconditionFailedError: a task has another version.
        UnauthenticatedError: the session has ended.
    """
    _refuse(_twins([task.task_id for task in tasks]))
    await _run(runner, _DELETE, who, [task.model_dump() for task in tasks])


_NAMING = {"task_id", "version"}


async def _run(runner: Runner, statement: Statement, who: Identity, items: Sequence[Mapping[str, Any]]) -> list[Any]:
    with references_checked():
        row = await runner.fetch_row(statement, session_id=who.session_id, items=_json(items))
    assert row is not None
    if not row["acts"]:
        raise UnauthenticatedError
    _refuse(
        ("category_id", "is none of your categories", row.get("stray", ())),
        ("task_id", "is none of your tasks", row.get("unknown", ())),
    )
    if outdated := row.get("outdated"):
        raise PreconditionFailedError(errors=_errors("version", "is not the task's version any more", outdated))
    done: list[Any] = row["done"]
    return done


def _json(items: Sequence[Mapping[str, Any]]) -> str:
    ranked = [item | {"priority": item["priority"].rank} if "priority" in item else item for item in map(dict, items)]
    return json.dumps(ranked, default=str)


def _list(views: list[str]) -> str:
    return f'{{"items":[{",".join(views)}]}}'


def _twins(task_ids: Sequence[UUID]) -> tuple[str, str, list[int]]:
    first = {task_id: place for place, task_id in reversed(list(enumerate(task_ids)))}
    places = [place for place, task_id in enumerate(task_ids) if first[task_id] != place]
    return "task_id", "is the task of another item", places


def _errors(field: str, message: str, places: Sequence[int]) -> list[FieldError]:
    return [FieldError(field=f"items.{place}.{field}".rstrip("."), message=message) for place in places]


def _refuse(*faults: tuple[str, str, Sequence[int]]) -> None:
    if errors := [error for fault in faults for error in _errors(*fault)]:
        raise InvalidInputError(errors=errors)

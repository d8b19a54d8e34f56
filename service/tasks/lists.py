"""Lists of tasks: pages of those that meet some conditions, in some order, read through an index at any depth."""

import hashlib
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Text, Uuid, text
from sqlmodel import SQLModel

from service.accounts.models import Identity
from service.accounts.store import ACTING, owned
from service.database import Database, Statement
from service.pagination import fetch_page, page_statement
from service.tasks.models import NEVER, NO_CATEGORY, OPEN, OPEN_STATUSES, OVERDUE
from service.tasks.queries import Sort, TaskQuery
from service.tasks.store import TASK, VIEW

# ruff: noqa: S608 - what is put into the statements is ours

_WALK = 1500
"""Tasks that are looked at in the list's order before all that may fit are looked up (docs/decisions/0011)."""


class _Key(NamedTuple):
    """What a list is sorted by: an expression, and its type."""

    expression: str
    type: str


_DUE = f"coalesce(task.due_at, {NEVER.text})"
_KEYS = {
    "created_at": _Key("task.created_at", "timestamptz"),
    "updated_at": _Key("task.updated_at", "timestamptz"),
    "due_at": _Key(_DUE, "timestamptz"),
    "priority": _Key("task.priority", "smallint"),
    "title": _Key("task.title", "text"),
}

_MARKS = {
    "status": f"search_any({ACTING}, CAST(:status AS text[]))",
    "open": f"search_any({ACTING}, ARRAY['todo', 'in_progress'])",
    "priority": f"search_any({ACTING}, CAST(CAST(:priority AS smallint[]) AS text[]))",
    "category_id": f"search_any({ACTING}, ARRAY[CAST(CAST(:category_id AS uuid) AS text)])",
    "without_category": f"search_any({ACTING}, ARRAY['none'])",
    "q": f"search_all({ACTING}, :q)",
}
"""Conditions that the index of words and marks decides (task.search), each as a tsquery."""


def _search(marks: str) -> str:
    # A subquery, so that the tsquery is made once for a statement and not for each row.
    return f"task.search @@ (SELECT {marks})"


_CONDITIONS = {
    "status": "task.status = ANY (CAST(:status AS text[]))",
    "priority": "task.priority = ANY (CAST(:priority AS smallint[]))",
    "category_id": "task.category_id = CAST(:category_id AS uuid)",
    "without_category": "task.category_id IS NULL",
    "open": OPEN.text,
    "overdue": OVERDUE,
    "due_after": f"{_DUE} >= :due_after AND {_DUE} < {NEVER.text}",
    "due_before": f"{_DUE} <= :due_before",
    "created_after": "task.created_at >= :created_after",
    "created_before": "task.created_at <= :created_before",
    "updated_after": "task.updated_at >= :updated_after",
    "updated_before": "task.updated_at <= :updated_before",
    "q": _search(_MARKS["q"]),
}
_RANGES = {
    "due_at": {"open", "overdue", "due_after", "due_before"},
    "updated_at": {"updated_after", "updated_before"},
    "created_at": {"created_after", "created_before"},
}
"""Conditions that the index of an order decides, by what it sorts."""
_COUNTED = {"status", "open", "priority", "category_id", "without_category"}
"""Conditions on what `TaskCount` knows."""


async def get_page(database: Database, who: Identity, query: TaskQuery) -> str:
    """Return the JSON of a page of an account's tasks.

    Raises:
        InvalidInputError: the cursor is not one of this list's.
        UnauthenticatedError: the session has ended.
    """
    values: dict[str, Any] = {
        name: value for name in query.model_fields_set & _CONDITIONS.keys() if (value := getattr(query, name))
    }
    scope: str = query.sort
    names = set(values)
    if values:
        if "priority" in values:
            values["priority"] = [priority.rank for priority in query.priority]
        said = repr(sorted((name, sorted(one) if isinstance(one, list) else one) for name, one in values.items()))
        scope += " " + hashlib.blake2s(said.encode(), digest_size=8).hexdigest()
        # A condition that an index has, instead of one on parameters or before it.
        if "status" in values and OPEN_STATUSES.issuperset(query.status):
            names.add("open")
            if OPEN_STATUSES.issubset(query.status):
                names.remove("status")
    statement = _page(query.sort, frozenset(names), after=query.cursor is not None, total=query.total)
    return await fetch_page(
        database,
        statement,
        scope=scope,
        limit=query.limit,
        cursor=query.cursor,
        session_id=who.session_id,
        **values,
    )


@lru_cache(maxsize=1024)
def _page(sort: Sort, conditions: frozenset[str], *, after: bool, total: bool) -> Statement:
    key = _KEYS[sort.field]
    in_order = conditions & _RANGES.get(sort.field, set())
    others = conditions - in_order
    where = _all([_OWNED, *_named(in_order)])
    if after:
        last = f"(CAST(CAST(:after_key AS text) AS {key.type}), CAST(:after_id AS uuid))"
        where += f" AND ({key.expression}, task.id) {'<' if sort.is_descending else '>'} {last}"
    direction = " DESC" if sort.is_descending else ""
    rows = _sought(key, where, direction, others) if others else _next(key, where, direction)
    columns = {"view": Text, "key": Text, "id": Uuid}
    return page_statement(text(rows).columns(**columns), ACTING, *([text(_total(conditions))] if total else []))


_OWNED = str(owned(TASK))
_COUNT_OWNED = str(owned(SQLModel.metadata.tables["task_count"]))


def _all(conditions: list[str]) -> str:
    return " AND ".join(conditions)


def _named(names: AbstractSet[str]) -> list[str]:
    return [_CONDITIONS[name] for name in sorted(names)]


_ONE_MORE = "CAST(:limit AS integer) + 1"


def _next(key: _Key, where: str, direction: str) -> str:
    """Compose a page of the rows to which the order's index leads."""
    return f"""
        SELECT {VIEW} AS view, CAST({key.expression} AS text) AS key, task.id AS id
        FROM task WHERE {where} ORDER BY {key.expression}{direction}, task.id{direction} LIMIT {_ONE_MORE}"""


def _sought(key: _Key, where: str, direction: str, conditions: AbstractSet[str]) -> str:
    """Compose a page of rows to which the order's index does not lead.

    What is common is near: among the next rows in order, enough fit. What is rare is few: those that fit, or nearly,
    are looked up through another index and sorted. Which of the two it is, PostgreSQL's planner cannot know, because it
    makes one plan for all accounts; the statement finds out.
    """
    following = f"FROM task WHERE {where} ORDER BY {key.expression}{direction}, task.id{direction}"
    fits = _all(_named(conditions))
    return f"""
        WITH walked AS (SELECT task.id, {key.expression} AS key, {fits} AS fits {following} LIMIT {_WALK}),
        near AS MATERIALIZED (SELECT id, key FROM walked WHERE fits LIMIT {_ONE_MORE}),
        verdict AS MATERIALIZED (
            SELECT (SELECT count(*) FROM near) = {_ONE_MORE}
                OR NOT EXISTS (SELECT {following} OFFSET {_WALK} LIMIT 1) AS near_suffices
        ),
        likely AS MATERIALIZED (
            SELECT task.id, {key.expression} AS key, {where} AND {fits} AS fits
            FROM task WHERE {_narrowed(conditions)}
        ),
        chosen AS (
            SELECT id, key FROM near WHERE (SELECT near_suffices FROM verdict)
            UNION ALL (
                SELECT id, key FROM likely WHERE NOT (SELECT near_suffices FROM verdict) AND fits
                ORDER BY key{direction}, id{direction} LIMIT {_ONE_MORE}
            )
        )
        SELECT {VIEW} AS view, CAST(chosen.key AS text) AS key, task.id AS id FROM chosen JOIN task USING (id)
        ORDER BY chosen.key{direction}, task.id{direction}"""


def _narrowed(conditions: AbstractSet[str]) -> str:
    """Compose a condition that an index decides, and that every row meets which meets all of these."""
    if marks := sorted(conditions & _MARKS.keys()):
        return _search(" && ".join(_MARKS[name] for name in marks))
    if "overdue" in conditions:
        return f"{_OWNED} AND {_CONDITIONS['overdue']}"
    of_one_order = next(names for names in _RANGES.values() if conditions & names)
    return _all([_OWNED, *_named(conditions & of_one_order)])


def _total(conditions: AbstractSet[str]) -> str:
    """Compose the number of tasks that meet the conditions."""
    if conditions <= _COUNTED:
        none = f"task.category_id {'=' if 'without_category' in conditions else '<>'} '{NO_CATEGORY}'"
        of_counts = [_CONDITIONS[name] for name in sorted(conditions - {"without_category"})]
        of_counts += [none] if {"category_id", "without_category"} & conditions else []
        where = _all([_COUNT_OWNED, *of_counts]).replace("task.", "task_count.")
        return f"(SELECT coalesce(sum(tasks), 0) FROM task_count WHERE {where})"
    fits = _all([_OWNED, *_named(conditions)])
    likely = f"SELECT {fits} AS fits FROM task WHERE {_narrowed(conditions)} OFFSET 0"
    return f"(SELECT count(*) FROM ({likely}) AS likely WHERE fits)"

"""Tasks in the database: which statements there are, and the rules that a task obeys."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import ARRAY, SmallInteger, Text, any_, bindparam, case, delete, func, insert, or_, select, text, update
from sqlalchemy import literal_column as sql
from sqlmodel import SQLModel

from service.accounts.store import owned
from service.database import Database, Statement, json_object, utc_text
from service.errors import InvalidInputError, NotFoundError, UnauthenticatedError
from service.pagination import fetch_page, page_statement
from service.tasks.models import NEVER, NewTask, Priority, Sort, TaskPatch, TaskQuery

_task = SQLModel.metadata.tables["task"]
_this_one = (_task.c.id == bindparam("task_id"), owned(_task))

_PRIORITY_NAMES = ", ".join(f"'{priority}'" for priority in Priority)

_VIEW = json_object(
    {
        "id": _task.c.id,
        "title": _task.c.title,
        "description": _task.c.description,
        "status": _task.c.status,
        "priority": sql(f"(ARRAY[{_PRIORITY_NAMES}])[task.priority + 1]"),
        "due_at": utc_text(_task.c.due_at),
        "category_id": _task.c.category_id,
        "completed_at": utc_text(_task.c.completed_at),
        "created_at": utc_text(_task.c.created_at),
        "updated_at": utc_text(_task.c.updated_at),
    }
)

_SORT_KEYS = {
    "created_at": _task.c.created_at,
    "due_at": func.coalesce(_task.c.due_at, NEVER, type_=_task.c.due_at.type),
    "priority": _task.c.priority,
    "title": _task.c.title,
}

_FILTERS = {
    "status": _task.c.status == any_(bindparam("status", type_=ARRAY(Text))),
    "priority": _task.c.priority == any_(bindparam("priority", type_=ARRAY(SmallInteger))),
    "category_id": _task.c.category_id == bindparam("category_id"),
    "due_before": _task.c.due_at < bindparam("due_before"),
    "due_after": _task.c.due_at > bindparam("due_after"),
    "q": or_(_task.c.title.ilike(bindparam("q")), _task.c.description.ilike(bindparam("q"))),
}

# A task is completed when it gets that status; archiving keeps the moment, and work that goes on clears it.
_new_status = bindparam("new_status", type_=Text)
_COMPLETED_AT = case(
    (_new_status == sql("'completed'"), func.coalesce(_task.c.completed_at, func.now())),
    (_new_status == sql("'archived'"), _task.c.completed_at),
    else_=text("NULL"),
)

_INSERT = Statement(
    insert(_task)
    .values(
        account_id=bindparam("account_id"),
        category_id=bindparam("new_category_id"),
        title=bindparam("new_title"),
        description=bindparam("new_description"),
        status=_new_status,
        priority=bindparam("new_priority"),
        due_at=bindparam("new_due_at"),
        completed_at=case((_new_status == sql("'completed'"), func.now())),
    )
    .returning(_task.c.id, _VIEW)
)
_GET = Statement(select(_VIEW).where(*_this_one))
_DELETE = Statement(delete(_task).where(*_this_one).returning(_task.c.id))


@lru_cache(maxsize=256)
def _update(fields: frozenset[str]) -> Statement:
    changes: dict[str, Any] = {field: bindparam(f"new_{field}") for field in sorted(fields)}
    if "status" in fields:
        changes |= {"status": _new_status, "completed_at": _COMPLETED_AT}
    return Statement(update(_task).where(*_this_one).values(**changes, updated_at=func.now()).returning(_VIEW))


@lru_cache(maxsize=256)
def _page(sort: Sort, filters: frozenset[str], *, after: bool) -> Statement:
    return page_statement(
        _VIEW,
        key=_SORT_KEYS[sort.removeprefix("-")],
        row_id=_task.c.id,
        where=[owned(_task), *(_FILTERS[name] for name in sorted(filters))],
        descending=sort.startswith("-"),
        after=after,
    )


async def create(database: Database, account_id: UUID, task: NewTask) -> tuple[UUID, str]:
    """Create a task and return its id and JSON.

    Raises:
        InvalidInputError: the account has no such category.
        UnauthenticatedError: the account is gone.
    """
    with _references_checked():
        row = await database.fetch_row(_INSERT, account_id=account_id, **_stored(task.model_dump()))
    assert row is not None
    return row[0], row[1]


async def get_page(database: Database, account_id: UUID, query: TaskQuery) -> str:
    """Return the JSON of a page of an account's tasks.

    Raises:
        InvalidInputError: the cursor is not one of a list in this order.
    """
    filters: dict[str, Any] = {name: value for name in _FILTERS if (value := getattr(query, name))}
    if "priority" in filters:
        filters["priority"] = [priority.rank for priority in query.priority]
    if query.q is not None:
        filters["q"] = _containing(query.q)
    statement = _page(query.sort, frozenset(filters), after=query.cursor is not None)
    return await fetch_page(
        database,
        statement,
        sort=query.sort,
        limit=query.limit,
        cursor=query.cursor,
        account_id=account_id,
        **filters,
    )


async def get(database: Database, account_id: UUID, task_id: UUID) -> str:
    """Return a task's JSON.

    Raises:
        NotFoundError: the account has no such task.
    """
    return _found(await database.fetch_value(_GET, account_id=account_id, task_id=task_id))


async def change(database: Database, account_id: UUID, task_id: UUID, patch: TaskPatch) -> str:
    """Change what the patch names and return the task's JSON.

    Raises:
        InvalidInputError: the account has no such category.
        NotFoundError: the account has no such task.
    """
    if not patch:
        return await get(database, account_id, task_id)
    statement = _update(frozenset(patch))
    with _references_checked():
        return _found(
            await database.fetch_value(statement, account_id=account_id, task_id=task_id, **_stored({**patch}))
        )


async def remove(database: Database, account_id: UUID, task_id: UUID) -> None:
    """Delete a task.

    Raises:
        NotFoundError: the account has no such task.
    """
    _found(await database.fetch_value(_DELETE, account_id=account_id, task_id=task_id))


def _stored(fields: dict[str, Any]) -> dict[str, Any]:
    """Turn a task's fields into the parameters of a statement that writes them."""
    if "priority" in fields:
        fields["priority"] = fields["priority"].rank
    return {f"new_{field}": value for field, value in fields.items()}


def _containing(words: str) -> str:
    escaped = words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _found(value: str | None) -> str:
    if value is None:
        raise NotFoundError
    return value


@contextmanager
def _references_checked() -> Iterator[None]:
    """Say in our words what PostgreSQL found missing; it alone can tell without a race."""
    try:
        yield
    except asyncpg.ForeignKeyViolationError as error:
        if error.constraint_name == "task_category_fkey":
            raise InvalidInputError.of("category_id", "is none of your categories") from None
        raise UnauthenticatedError from None

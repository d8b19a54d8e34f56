"""A task in the database: its statements, and the rules that it obeys."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import ColumnElement, Text, bindparam, case, delete, func, insert, select, text, update
from sqlalchemy import literal_column as sql
from sqlmodel import SQLModel

from service.accounts.models import Identity
from service.accounts.store import ACTING, absent, expected, matching, outrun, owned
from service.database import Database, Row, Runner, Statement, json_object, utc_text
from service.errors import InvalidInputError, UnauthenticatedError
from service.tasks.models import NewTask, Priority

TASK = SQLModel.metadata.tables["task"]
_this_one = (TASK.c.id == bindparam("task_id"), owned(TASK))

_PRIORITY_NAMES = ", ".join(f"'{priority}'" for priority in Priority)

VIEW = json_object(
    {
        "id": TASK.c.id,
        "title": TASK.c.title,
        "description": TASK.c.description,
        "status": TASK.c.status,
        "priority": sql(f"(ARRAY[{_PRIORITY_NAMES}])[task.priority + 1]"),
        "due_at": utc_text(TASK.c.due_at),
        "category_id": TASK.c.category_id,
        "completed_at": utc_text(TASK.c.completed_at),
        "version": TASK.c.version,
        "created_at": utc_text(TASK.c.created_at),
        "updated_at": utc_text(TASK.c.updated_at),
    }
)
_RETURNED = (TASK.c.version, VIEW.label("view"))

WRITTEN: Mapping[str, Any] = {"updated_at": func.now(), "version": TASK.c.version + 1}
"""What every change changes besides."""


def completed_at(status: ColumnElement[str]) -> ColumnElement[Any]:
    """When a task was completed that gets a new status: now, if that is it; archived, it keeps what it had."""
    return case(
        (status == sql("'completed'"), func.coalesce(TASK.c.completed_at, func.now())),
        (status == sql("'archived'"), TASK.c.completed_at),
        else_=text("NULL"),
    )


_new_status = bindparam("new_status", type_=Text)
_INSERT = Statement(
    insert(TASK)
    .values(
        account_id=ACTING,
        category_id=bindparam("new_category_id"),
        title=bindparam("new_title"),
        description=bindparam("new_description"),
        status=_new_status,
        priority=bindparam("new_priority"),
        due_at=bindparam("new_due_at"),
        completed_at=case((_new_status == sql("'completed'"), func.now())),
    )
    .returning(TASK.c.id, *_RETURNED)
)
_GET = Statement(select(*_RETURNED).where(*_this_one))
_DELETE = Statement(delete(TASK).where(*_this_one, expected(TASK)).returning(TASK.c.id))


@lru_cache(maxsize=256)
def _update(fields: frozenset[str]) -> Statement:
    changes: dict[str, Any] = {field: bindparam(f"new_{field}") for field in sorted(fields)}
    if "status" in fields:
        changes |= {"status": _new_status, "completed_at": completed_at(_new_status)}
    return Statement(update(TASK).where(*_this_one, expected(TASK)).values(**changes, **WRITTEN).returning(*_RETURNED))


async def create(runner: Runner, who: Identity, task: NewTask) -> Row:
    """Create a task and return its `id`, `version` and `view`, its JSON.

    Raises:
        InvalidInputError: the account has no such category.
        UnauthenticatedError: the session has ended.
    """
    with references_checked():
        row = await runner.fetch_row(_INSERT, session_id=who.session_id, **_stored(task.model_dump()))
    assert row is not None
    return row


async def get(runner: Runner, who: Identity, task_id: UUID) -> Row:
    """Return a task's `version` and `view`.

    Raises:
        NotFoundError: the account has no such task.
        UnauthenticatedError: the session has ended.
    """
    row = await runner.fetch_row(_GET, session_id=who.session_id, task_id=task_id)
    if row is None:
        raise await absent(runner, who)
    return row


async def change(
    database: Database, who: Identity, task_id: UUID, changes: dict[str, Any], versions: list[int] | None
) -> Row:
    """Change these fields of a task and return its `version` and `view`; without fields, nothing is written.

    Args:
        database: where.
        who: whose task it is.
        task_id: which task.
        changes: fields of a `NewTask`.
        versions: those that the change is meant for; None for any.

    Raises:
        InvalidInputError: the account has no such category.
        NotFoundError: the account has no such task.
        PreconditionFailedError: it has another version.
        UnauthenticatedError: the session has ended.
    """
    if not changes:
        return matching(await get(database, who, task_id), versions)
    with references_checked():
        row = await database.fetch_row(
            _update(frozenset(changes)),
            session_id=who.session_id,
            task_id=task_id,
            versions=versions,
            **_stored(changes),
        )
    if row is None:
        raise await outrun(get(database, who, task_id))
    return row


async def remove(database: Database, who: Identity, task_id: UUID, versions: list[int] | None) -> None:
    """Delete a task that has one of these versions; None for any.

    Raises:
        NotFoundError: the account has no such task.
        PreconditionFailedError: it has another version.
        UnauthenticatedError: the session has ended.
    """
    gone = await database.fetch_value(_DELETE, session_id=who.session_id, task_id=task_id, versions=versions)
    if gone is None:
        raise await outrun(get(database, who, task_id))


def _stored(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a task's fields into the parameters of a statement that writes them."""
    stored = {f"new_{field}": value for field, value in fields.items()}
    if "priority" in fields:
        stored["new_priority"] = fields["priority"].rank
    return stored


@contextmanager
def references_checked() -> Iterator[None]:
    """Say in our words what PostgreSQL found missing; it alone can tell without a race."""
    try:
        yield
    except asyncpg.ForeignKeyViolationError as error:
        if error.constraint_name == "task_category_fkey":
            raise InvalidInputError.of("category_id", "is none of your categories") from None
        raise UnauthenticatedError from None
    # Of account_id, in its own column or among the words of the search: nobody acts any more.
    except (asyncpg.NotNullViolationError, asyncpg.NullValueNotAllowedError):
        raise UnauthenticatedError from None

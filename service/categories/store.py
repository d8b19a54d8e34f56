"""Categories in the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import bindparam, delete, func, insert, select, text, update
from sqlmodel import SQLModel

from service.accounts.models import Identity
from service.accounts.store import ACTING, absent, expected, matching, outrun, owned
from service.categories.models import CategoryPatch, NewCategory
from service.database import Database, Row, Runner, Statement, json_object, utc_text
from service.errors import (
    CategoryNameTakenError,
    UnauthenticatedError,
)
from service.pagination import ONE_MORE, Order, fetch_page, page_statement

_category = SQLModel.metadata.tables["category"]
_this_one = (_category.c.id == bindparam("category_id"), owned(_category))

VIEW = json_object(
    {
        "id": _category.c.id,
        "name": _category.c.name,
        "color": _category.c.color,
        "version": _category.c.version,
        "created_at": utc_text(_category.c.created_at),
        "updated_at": utc_text(_category.c.updated_at),
    }
)
_RETURNED = (_category.c.version, VIEW.label("view"))

_INSERT = Statement(
    insert(_category)
    .values(account_id=ACTING, name=bindparam("name"), color=bindparam("color"))
    .returning(_category.c.id, *_RETURNED)
)
_GET = Statement(select(*_RETURNED).where(*_this_one))
# In the order in which changes of tasks take their locks: the tasks by id, then the category they refer to.
_EMPTY = Statement(
    text(
        f"WITH inside AS MATERIALIZED (SELECT id FROM task WHERE task.account_id = {ACTING}"  # noqa: S608 - it is ours
        " AND category_id = :category_id ORDER BY id FOR UPDATE)"
        " UPDATE task SET category_id = NULL FROM inside WHERE task.id = inside.id"
    )
)
_DELETE = Statement(delete(_category).where(*_this_one, expected(_category)).returning(_category.c.id))


@lru_cache
def _update(fields: frozenset[str]) -> Statement:
    changes: dict[str, Any] = {field: bindparam(f"new_{field}") for field in sorted(fields)}
    return Statement(
        update(_category)
        .where(*_this_one, expected(_category))
        .values(**changes, updated_at=func.now(), version=_category.c.version + 1)
        .returning(*_RETURNED)
    )


@lru_cache
def _page(*, after: bool) -> Statement:
    order = Order(_category.c.name, _category.c.id)
    rows = select(*order.columns(VIEW)).where(owned(_category)).order_by(*order).limit(ONE_MORE)
    return page_statement(rows.where(order.beyond()) if after else rows, ACTING)


async def create(runner: Runner, who: Identity, category: NewCategory) -> Row:
    """Create a category and return its `id`, `version` and `view`, its JSON.

    Raises:
        CategoryNameTakenError: the account has one of this name.
        UnauthenticatedError: the session has ended.
    """
    with _rules_checked():
        row = await runner.fetch_row(_INSERT, session_id=who.session_id, name=category.name, color=category.color)
    assert row is not None
    return row


async def get_page(database: Database, who: Identity, limit: int, cursor: str | None) -> str:
    """Return the JSON of a page of an account's categories, by name.

    Raises:
        InvalidInputError: the cursor is not one of this list's.
        UnauthenticatedError: the session has ended.
    """
    statement = _page(after=cursor is not None)
    return await fetch_page(database, statement, scope="name", limit=limit, cursor=cursor, session_id=who.session_id)


async def get(runner: Runner, who: Identity, category_id: UUID) -> Row:
    """Return a category's `version` and `view`.

    Raises:
        NotFoundError: the account has no such category.
        UnauthenticatedError: the session has ended.
    """
    row = await runner.fetch_row(_GET, session_id=who.session_id, category_id=category_id)
    if row is None:
        raise await absent(runner, who)
    return row


async def change(
    database: Database, who: Identity, category_id: UUID, patch: CategoryPatch, versions: list[int] | None
) -> Row:
    """Change what the patch names, in a category that has one of these versions (None for any).

    Returns:
        Its `version` and `view`; with an empty patch, nothing is written.

    Raises:
        CategoryNameTakenError: the account has another one of this name.
        NotFoundError: the account has no such category.
        PreconditionFailedError: it has another version.
        UnauthenticatedError: the session has ended.
    """
    if not patch:
        return matching(await get(database, who, category_id), versions)
    values = {f"new_{field}": value for field, value in patch.items()}
    with _rules_checked():
        row = await database.fetch_row(
            _update(frozenset(patch)),
            session_id=who.session_id,
            category_id=category_id,
            versions=versions,
            **values,
        )
    if row is None:
        raise await outrun(get(database, who, category_id))
    return row


async def remove(database: Database, who: Identity, category_id: UUID, versions: list[int] | None) -> None:
    """Delete a category that has one of these versions (None for any); its tasks stay, in none, with a new version.

    Raises:
        NotFoundError: the account has no such category.
        PreconditionFailedError: it has another version.
        UnauthenticatedError: the session has ended.
    """
    matching(await get(database, who, category_id), versions)  # before anything waits for a lock
    this_one = {"session_id": who.session_id, "category_id": category_id}
    async with database.transaction(long=True) as transaction:
        await transaction.fetch_row(_EMPTY, **this_one)
        if await transaction.fetch_value(_DELETE, **this_one, versions=versions) is None:
            raise await outrun(get(transaction, who, category_id))


@contextmanager
def _rules_checked() -> Iterator[None]:
    """Say in our words what PostgreSQL found wrong; it alone can tell without a race."""
    try:
        yield
    except asyncpg.UniqueViolationError:
        raise CategoryNameTakenError from None
    except (asyncpg.NotNullViolationError, asyncpg.ForeignKeyViolationError):  # nobody acts any more
        raise UnauthenticatedError from None

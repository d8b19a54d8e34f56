"""Categories in the database."""

from functools import lru_cache
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlmodel import SQLModel

from service.accounts.store import owned
from service.categories.models import CategoryPatch, NewCategory
from service.database import Database, Statement, json_object, utc_text
from service.errors import NotFoundError, UnauthenticatedError
from service.pagination import fetch_page, page_statement

_category = SQLModel.metadata.tables["category"]
_this_one = (_category.c.id == bindparam("category_id"), owned(_category))

_VIEW = json_object(
    {
        "id": _category.c.id,
        "name": _category.c.name,
        "color": _category.c.color,
        "created_at": utc_text(_category.c.created_at),
        "updated_at": utc_text(_category.c.updated_at),
    }
)

_INSERT = Statement(
    insert(_category)
    .values(account_id=bindparam("account_id"), name=bindparam("name"), color=bindparam("color"))
    .returning(_category.c.id, _VIEW)
)
_GET = Statement(select(_VIEW).where(*_this_one))
_DELETE = Statement(delete(_category).where(*_this_one).returning(_category.c.id))


@lru_cache
def _update(fields: frozenset[str]) -> Statement:
    changes: dict[str, Any] = {field: bindparam(f"new_{field}") for field in sorted(fields)}
    return Statement(update(_category).where(*_this_one).values(**changes, updated_at=func.now()).returning(_VIEW))


@lru_cache
def _page(*, after: bool) -> Statement:
    return page_statement(
        _VIEW, key=_category.c.name, row_id=_category.c.id, where=[owned(_category)], descending=False, after=after
    )


async def create(database: Database, account_id: UUID, category: NewCategory) -> tuple[UUID, str]:
    """Create a category and return its id and JSON.

    Raises:
        UnauthenticatedError: the account is gone.
    """
    try:
        row = await database.fetch_row(_INSERT, account_id=account_id, name=category.name, color=category.color)
    except asyncpg.ForeignKeyViolationError:
        raise UnauthenticatedError from None
    assert row is not None
    return row[0], row[1]


async def get_page(database: Database, account_id: UUID, limit: int, cursor: str | None) -> str:
    """Return the JSON of a page of an account's categories, by name.

    Raises:
        InvalidInputError: the cursor is not one of this list's.
    """
    statement = _page(after=cursor is not None)
    return await fetch_page(database, statement, sort="name", limit=limit, cursor=cursor, account_id=account_id)


async def get(database: Database, account_id: UUID, category_id: UUID) -> str:
    """Return a category's JSON.

    Raises:
        NotFoundError: the account has no such category.
    """
    return _found(await database.fetch_value(_GET, account_id=account_id, category_id=category_id))


async def change(database: Database, account_id: UUID, category_id: UUID, patch: CategoryPatch) -> str:
    """Change what the patch names and return the category's JSON.

    Raises:
        NotFoundError: the account has no such category.
    """
    if not patch:
        return await get(database, account_id, category_id)
    values = {f"new_{field}": value for field, value in patch.items()}
    statement = _update(frozenset(patch))
    return _found(await database.fetch_value(statement, account_id=account_id, category_id=category_id, **values))


async def remove(database: Database, account_id: UUID, category_id: UUID) -> None:
    """Delete a category; its tasks stay, without one.

    Raises:
        NotFoundError: the account has no such category.
    """
    _found(await database.fetch_value(_DELETE, account_id=account_id, category_id=category_id))


def _found(value: str | None) -> str:
    if value is None:
        raise NotFoundError
    return value

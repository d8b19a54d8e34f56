"""Keyset pages: a page begins right after the last row of the one before, wherever that row is by now.

A page costs the same at any depth, because an index on (account, sort key, id) is entered where the page begins; and
rows inserted or deleted meanwhile shift nothing. The cursor is opaque to clients: sort order, key and id of that row.
"""

import base64
import json
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import asyncpg
from pydantic import StringConstraints
from sqlalchemy import ColumnElement, Integer, Text, bindparam, cast, func, literal_column, select, tuple_

from service.database import Database, Statement
from service.errors import InvalidInputError

Cursor = Annotated[str, StringConstraints(max_length=2000)]
"""Long enough for the longest sort key, a title of 200 characters in any script."""


def page_statement(
    view: ColumnElement[str],
    *,
    key: ColumnElement[Any],
    row_id: ColumnElement[UUID],
    where: Sequence[ColumnElement[bool]],
    descending: bool,
    after: bool,
) -> Statement:
    """Compose the statement of a page.

    Args:
        view: the JSON text of a row.
        key: what the list is sorted by, of any type that survives a trip through text.
        row_id: the tie-break.
        where: which rows there are at all.
        descending: from the greatest key down.
        after: begin after the parameters `after_key` and `after_id` instead of at the start.

    Returns:
        A statement with the parameter `limit` and one row: an array of at most `limit + 1` views, the sort key of the
        `limit`th as text, its id; all null when there is nothing.
    """
    order = [key.desc(), row_id.desc()] if descending else [key, row_id]
    page = select(view.label("view"), cast(key, Text).label("key"), row_id.label("id")).where(*where)
    if after:
        place = tuple_(key, row_id)
        last = tuple_(cast(cast(bindparam("after_key"), Text), key.type), bindparam("after_id", type_=row_id.type))
        page = page.where(place < last if descending else place > last)
    limit = cast(bindparam("limit"), Integer)
    rows = page.order_by(*order).limit(limit + literal_column("1")).subquery("page")
    # One row for the whole page: PostgreSQL gathers the texts far faster than a driver makes rows of them.
    return Statement(
        select(func.array_agg(rows.c.view), func.array_agg(rows.c.key)[limit], func.array_agg(rows.c.id)[limit])
    )


async def fetch_page(
    database: Database, statement: Statement, *, sort: str, limit: int, cursor: str | None, **values: Any
) -> str:
    """Run a page's statement and return the page's JSON: items and next_cursor.

    Raises:
        InvalidInputError: the cursor is not one that a list in this order gave out.
    """
    if cursor is not None:
        values["after_key"], values["after_id"] = _decode(cursor, sort)
    try:
        row = await database.fetch_row(statement, limit=limit, **values)
    except asyncpg.DataError:
        if cursor is None:
            raise
        raise _bad_cursor() from None  # well-formed, but its key is none of the column's type
    assert row is not None
    views, key, row_id = row
    if not views:
        return '{"items":[],"next_cursor":null}'
    next_cursor = "null"
    if len(views) > limit:
        views.pop()
        next_cursor = f'"{_encode(sort, key, row_id)}"'
    return f'{{"items":[{",".join(views)}],"next_cursor":{next_cursor}}}'


def _encode(sort: str, key: str, row_id: UUID) -> str:
    return base64.urlsafe_b64encode(json.dumps([sort, key, str(row_id)], ensure_ascii=False).encode()).decode()


def _decode(cursor: str, sort: str) -> tuple[str, UUID]:
    try:
        cursor_sort, key, row_id = json.loads(base64.urlsafe_b64decode(cursor))
        place = str(key), UUID(row_id)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise _bad_cursor() from None
    if cursor_sort != sort:
        raise InvalidInputError.of("cursor", "belongs to a list in another order: start from the first page")
    return place


def _bad_cursor() -> InvalidInputError:
    return InvalidInputError.of("cursor", "is not a next_cursor of this list: start from its first page")

"""Keyset pages: a page begins right after the last row of the one before, wherever that row is by now.

A page costs the same at any depth, because an index on (account, sort key, id) is entered where the page begins; and
rows inserted or deleted meanwhile shift nothing. The cursor is opaque to clients: which list, key and id of that row.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import asyncpg
from pydantic import StringConstraints
from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Text,
    TextClause,
    TextualSelect,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    tuple_,
)

from service.database import Database, Statement
from service.errors import InvalidInputError, UnauthenticatedError

Cursor = Annotated[str, StringConstraints(max_length=2000)]
"""Long enough for the longest sort key, a title of 200 characters in any script."""

_LIMIT = cast(bindparam("limit"), Integer)
ONE_MORE = _LIMIT + literal_column("1")
"""How many rows to look for: one more than the parameter `limit` tells whether there is another page."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a list is sorted by.

    Args:
        key: of any type that survives a trip through text.
        row_id: the tie-break.
        is_descending: from the greatest down.
    """

    key: ColumnElement[Any]
    row_id: ColumnElement[UUID]
    is_descending: bool = False

    def __iter__(self) -> Iterator[ColumnElement[Any]]:
        """The arguments of ORDER BY."""
        both = self.key, self.row_id
        return iter([column.desc() for column in both] if self.is_descending else both)

    def beyond(self) -> ColumnElement[bool]:
        """The condition that a row comes after the parameters `after_key` and `after_id`."""
        place = tuple_(self.key, self.row_id)
        after_key = cast(cast(bindparam("after_key"), Text), self.key.type)
        last = tuple_(after_key, bindparam("after_id", type_=self.row_id.type))
        return place < last if self.is_descending else place > last

    def columns(self, view: ColumnElement[str]) -> tuple[ColumnElement[Any], ...]:
        """What `page_statement` wants of each row: its JSON, its key as text and its id."""
        return view.label("view"), cast(self.key, Text).label("key"), self.row_id.label("id")


def page_statement(rows: Select[Any] | TextualSelect, acting: ColumnElement[Any], *more: TextClause) -> Statement:
    """Compose the statement of a page.

    Args:
        rows: at most `ONE_MORE`, sorted, with the columns of an `Order`.
        acting: who asks; null where nobody may any more.
        more: what else to tell, a subquery each.

    Returns:
        A statement with the parameter `limit` and one row: an array of at most `limit + 1` views, the sort key of the
        `limit`th as text, its id - all null when there is nothing -, whether the one who asks may, and `more`.
    """
    # One row for the whole page: PostgreSQL gathers the texts far faster than a driver makes rows of them.
    page = rows.subquery("page")
    return Statement(
        select(
            func.array_agg(page.c.view),
            func.array_agg(page.c.key)[_LIMIT],
            func.array_agg(page.c.id)[_LIMIT],
            acting.is_not(None),
            *more,
        )
    )


async def fetch_page(
    database: Database, statement: Statement, *, scope: str, limit: int, cursor: str | None, **values: Any
) -> str:
    """Run a page's statement and return the page's JSON: items, next_cursor, and total where the statement counts.

    Args:
        database: where to run it.
        statement: of `page_statement`, with one column more for a total.
        scope: names the list that a cursor is good for: its order and its conditions.
        limit: most rows of the page.
        cursor: as the client sent it.
        values: the statement's other parameters.

    Raises:
        InvalidInputError: the cursor is not one that this list gave out.
        UnauthenticatedError: the session has ended.
    """
    if cursor is not None:
        values["after_key"], values["after_id"] = _decode(cursor, scope)
    try:
        row = await database.fetch_row(statement, limit=limit, **values)
    except asyncpg.DataError:
        if cursor is None:
            raise
        raise _bad_cursor() from None  # well-formed, but its key is none of the column's type
    assert row is not None
    views, key, row_id, may, *counted = row
    if not may:
        raise UnauthenticatedError
    next_cursor = "null"
    if views is None:
        views = []
    elif len(views) > limit:
        views.pop()
        next_cursor = f'"{_encode(scope, key, row_id)}"'
    total = f',"total":{counted[0]}' if counted else ""
    return f'{{"items":[{",".join(views)}],"next_cursor":{next_cursor}{total}}}'


def _encode(scope: str, key: str, row_id: UUID) -> str:
    return base64.urlsafe_b64encode(json.dumps([scope, key, str(row_id)], ensure_ascii=False).encode()).decode()


def _decode(cursor: str, scope: str) -> tuple[str, UUID]:
    try:
        cursor_scope, key, row_id = json.loads(base64.urlsafe_b64decode(cursor))
        str(key).encode()  # half a surrogate pair cannot be
        place = str(key), UUID(row_id)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise _bad_cursor() from None
    if cursor_scope != scope:
        raise InvalidInputError.of(
            "cursor", "belongs to a list in another order or with other conditions: start from the first page"
        )
    return place


def _bad_cursor() -> InvalidInputError:
    return InvalidInputError.of("cursor", "is not a next_cursor of this list: start from its first page")

"""An export, batch by batch, so that it may be of any size.

One statement for everything would be simpler, and stop the event loop, the database's deadline and the worker's memory
for an account that is large enough. A batch is a page as lists have them: its rows are of one moment, those of two
batches may be of two. No connection is held while a slow client takes what it has.
"""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Table, select
from sqlmodel import SQLModel

from service.accounts import sessions, store
from service.accounts.models import Identity
from service.accounts.store import ACTING, owned
from service.categories.store import VIEW as CATEGORY_VIEW
from service.database import Database, Statement
from service.errors import UnauthenticatedError
from service.pagination import ONE_MORE, Order, page_statement
from service.tasks.store import VIEW as TASK_VIEW

_BATCH = 500

_TABLES = SQLModel.metadata.tables


class _List(NamedTuple):
    """The statements of the first batch, and of one that goes on."""

    first: Statement
    following: Statement


def _list(table: Table, view: ColumnElement[str], key: str) -> _List:
    order = Order(table.c[key], table.c.id)
    rows = select(*order.columns(view)).where(owned(table)).order_by(*order).limit(ONE_MORE)
    return _List(page_statement(rows, ACTING), page_statement(rows.where(order.beyond()), ACTING))


# In orders that have an index; of sessions, an account has few.
_LISTS = {
    "sessions": _list(_TABLES["session"], sessions.VIEW, "created_at"),
    "categories": _list(_TABLES["category"], CATEGORY_VIEW, "name"),
    "tasks": _list(_TABLES["task"], TASK_VIEW, "created_at"),
}


async def pieces(database: Database, who: Identity) -> AsyncIterator[str]:
    """Yield the JSON of everything that an account has, in pieces.

    Raises:
        UnauthenticatedError: the session has ended, before the first piece or between two.
    """
    account = await store.get(database, who)
    yield f'{{"account":{account["view"]}'
    for name, statements in _LISTS.items():
        opening = f',"{name}":['
        async for batch in _batches(database, who, statements):
            yield opening + batch
            opening = ","
        yield f"{opening if opening != ',' else ''}]"
    yield "}"


async def _batches(database: Database, who: Identity, statements: _List) -> AsyncIterator[str]:
    statement, place = statements.first, dict[str, Any]()
    while True:
        row = await database.fetch_row(statement, limit=_BATCH, session_id=who.session_id, **place)
        assert row is not None
        views, key, row_id, may = row
        if not may:
            raise UnauthenticatedError
        if views:
            yield ",".join(views[:_BATCH])
        if not views or len(views) <= _BATCH:
            return
        statement, place = statements.following, {"after_key": key, "after_id": row_id}

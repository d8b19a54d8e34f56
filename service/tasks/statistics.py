"""Statistics of tasks, of an account and of its categories: each one statement, whatever number of tasks there is."""

from functools import lru_cache
from uuid import UUID

import asyncpg
from sqlalchemy import Integer, Text, Uuid, literal_column, select, text
from sqlmodel import SQLModel

from service.accounts.models import Identity
from service.accounts.store import ACTING, absent, owned
from service.database import Database, Statement
from service.errors import InvalidInputError, UnauthenticatedError
from service.pagination import ONE_MORE, Order, fetch_page, page_statement
from service.tasks.models import OVERDUE, Priority, Status
from service.tasks.queries import DAYS, StatisticsQuery
from service.tasks.store import TASK

_COUNT = SQLModel.metadata.tables["task_count"]
_CATEGORY = SQLModel.metadata.tables["category"]
# ruff: noqa: S608 - what is put into the statements is ours


def _counts(source: str) -> str:
    """Compose a subquery of one row with the columns of `TaskCounts` but `overdue`, from rows of `TaskCount`."""

    def members(column: str, values: dict[str, str]) -> str:
        counted = (
            f"coalesce(sum(tasks) FILTER (WHERE {column} = {value}), 0) AS {name}" for name, value in values.items()
        )
        return ", ".join(counted)

    statuses = {status.value: f"'{status}'" for status in Status}
    priorities = {priority.value: str(priority.rank) for priority in Priority}
    return f"""
        SELECT total, (SELECT by_status FROM (SELECT {", ".join(statuses)}) AS by_status) AS by_status,
            (SELECT by_priority FROM (SELECT {", ".join(priorities)}) AS by_priority) AS by_priority
        FROM (
            SELECT coalesce(sum(tasks), 0) AS total, {members("status", statuses)}, {members("priority", priorities)}
            FROM task_count WHERE {source}
        ) AS counted"""


_OVERDUE = f"FROM task WHERE {owned(TASK)} AND {OVERDUE}"

# Where the days begin, and where the last one ends, is known before the tasks are read: comparing with that costs less
# than to make a date of each task's moment.
_STATISTICS = Statement(
    text(f"""
    WITH given AS MATERIALIZED (
        SELECT CAST(:first AS date) AS first, CAST(:last AS date) AS last, CAST(:time_zone AS text) AS zone
    ), asked AS MATERIALIZED (
        SELECT greatest(coalesce(first, coalesce(last, today) - {DAYS - 1}), '0001-01-01') AS first,
            least(coalesce(last, first + {DAYS - 1}, today), '9999-12-31') AS last
        FROM given, CAST(timezone(zone, now()) AS date) AS today
    ), days AS MATERIALIZED (
        SELECT array_agg(timezone(zone, CAST(asked.first + place AS timestamp)) ORDER BY place) AS begin
        FROM given, asked, generate_series(0, asked.last - asked.first + 1) AS place
    ), done AS (
        SELECT width_bucket(completed_at, (SELECT begin FROM days)) - 1 AS place, count(*) AS completed
        FROM task
        WHERE {owned(TASK)} AND completed_at >= (SELECT begin[1] FROM days)
            AND completed_at < (SELECT begin[cardinality(begin)] FROM days)
        GROUP BY 1
    )
    SELECT {ACTING} IS NOT NULL AS acts, row_to_json(answer)::text AS answer FROM (
        SELECT counts.*, (SELECT count(*) {_OVERDUE}) AS overdue, (
            SELECT json_agg(listed ORDER BY listed.day) FROM (
                SELECT first + place AS day, coalesce(completed, 0) AS completed
                FROM asked, generate_series(0, last - first) AS place LEFT JOIN done USING (place)
            ) AS listed
        ) AS completed_per_day
        FROM ({_counts(str(owned(_COUNT)))}) AS counts
    ) AS answer""")
)

_OF_CATEGORY = """
    SELECT row_to_json(object)::text FROM (
        SELECT category.id AS category_id, category.name, counts.*, {overdue} AS overdue FROM ({counts}) AS counts
    ) AS object"""
_ITS_COUNTS = _counts("task_count.account_id = category.account_id AND task_count.category_id = category.id")
_ONE = Statement(
    text(
        f"SELECT ({_OF_CATEGORY}) FROM category WHERE id = :category_id AND {owned(_CATEGORY)}".format(
            counts=_ITS_COUNTS, overdue=f"(SELECT count(*) {_OVERDUE} AND task.category_id = category.id)"
        )
    )
)


@lru_cache
def _page(*, after: bool) -> Statement:
    order = Order(_CATEGORY.c.name, _CATEGORY.c.id)
    shown = select(_CATEGORY).where(owned(_CATEGORY)).order_by(*order).limit(ONE_MORE)
    if after:
        shown = shown.where(order.beyond())
    category = shown.subquery("category")
    # All categories' overdue tasks are counted at once, and not those of all for each.
    overdue = text(f"SELECT category_id, count(*) AS tasks {_OVERDUE} GROUP BY category_id")
    overdue_of = overdue.columns(category_id=Uuid, tasks=Integer).cte("overdue").prefix_with("MATERIALIZED")
    tasks = "coalesce((SELECT tasks FROM overdue WHERE overdue.category_id = category.id), 0)"
    view = literal_column(f"({_OF_CATEGORY})".format(counts=_ITS_COUNTS, overdue=tasks), Text)
    in_order = Order(category.c.name, category.c.id)
    return page_statement(select(*in_order.columns(view)).order_by(*in_order).add_cte(overdue_of), ACTING)


async def of_account(database: Database, who: Identity, query: StatisticsQuery) -> str:
    """Return the JSON of an account's `TaskStatistics`.

    Raises:
        InvalidInputError: PostgreSQL knows no such time zone.
        UnauthenticatedError: the session has ended.
    """
    try:
        row = await database.fetch_row(
            _STATISTICS,
            session_id=who.session_id,
            first=query.completed_from,
            last=query.completed_to,
            time_zone=query.time_zone,
        )
    except asyncpg.InvalidParameterValueError:
        raise InvalidInputError.of("time_zone", "is no time zone of the IANA database") from None
    if row is None or not row["acts"]:
        raise UnauthenticatedError
    answer: str = row["answer"]
    return answer


async def of_category(database: Database, who: Identity, category_id: UUID) -> str:
    """Return the JSON of a category's `CategoryStatistics`.

    Raises:
        NotFoundError: the account has no such category.
        UnauthenticatedError: the session has ended.
    """
    answer: str | None = await database.fetch_value(_ONE, session_id=who.session_id, category_id=category_id)
    if answer is None:
        raise await absent(database, who)
    return answer


async def of_categories(database: Database, who: Identity, limit: int, cursor: str | None) -> str:
    """Return the JSON of a page of the `CategoryStatistics` of an account's categories, by name.

    Raises:
        InvalidInputError: the cursor is not one of this list's.
        UnauthenticatedError: the session has ended.
    """
    return await fetch_page(
        database,
        _page(after=cursor is not None),
        scope="statistics",
        limit=limit,
        cursor=cursor,
        session_id=who.session_id,
    )

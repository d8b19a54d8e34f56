"""How statements reach their rows, in a table of 200,000 tasks of which one account has 20,000.

Always through an index, and no more rows than a page needs, at whatever depth: PostgreSQL's own account of what it
did (EXPLAIN ANALYZE) is added up for every statement of a list, a search and the statistics.
"""

import itertools
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from service.categories import store as categories
from service.connecting import connection_arguments
from service.database import Statement, _server_settings
from service.tasks import bulk, lists, statistics, store
from service.tasks.queries import Sort
from tests.service.conftest import Host

BIG, LIMIT = UUID(int=1), 20
DEPTH = 15_000
SESSION = uuid4()
NOW = datetime.now(UTC)
# Without triggers and foreign keys, and with the indexes made at the end: a fifth of the time.
ROWS = f"""
    SET session_replication_role = replica;
    CREATE TEMP TABLE dropped AS SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition
        FROM pg_index WHERE indrelid = 'task'::regclass AND NOT indisprimary;
    DO $$ DECLARE name text; BEGIN FOR name IN SELECT dropped.name FROM dropped LOOP
        EXECUTE 'DROP INDEX ' || name; END LOOP; END $$;
    INSERT INTO account (id, email, password_hash)
        SELECT lpad(to_hex(n), 32, '0')::uuid, n || '@example.com', '' FROM generate_series(1, 1000) n;
    INSERT INTO session (id, account_id, expires_at) SELECT uuidv7(), id, now() + interval '1 day' FROM account;
    INSERT INTO session (id, account_id, expires_at) VALUES ('{SESSION}', '{BIG}', now() + interval '1 day');
    INSERT INTO category (id, account_id, name, color)
        SELECT md5(account.id || '/' || n)::uuid, account.id, n::text, '#000000' FROM account, generate_series(0, 7) n;
    INSERT INTO task (account_id, category_id, title, description, status, priority, due_at, completed_at, created_at,
            updated_at)
        SELECT account_id, CASE WHEN n % 7 > 0 THEN md5(account_id || '/' || n % 8)::uuid END,
            'common ' || md5((n / 10 % 6000)::text) || CASE WHEN n % 4 = 0 THEN ' frequent' ELSE '' END,
            CASE WHEN n % 5 > 0 THEN 'word' || n / 10 % 90 END,
            CASE WHEN n % 13 < 2 THEN 'todo' WHEN n % 13 < 3 THEN 'in_progress' WHEN n % 13 < 10 THEN 'completed'
                ELSE 'archived' END,
            n % 17 / 5, CASE WHEN n % 3 > 0 THEN now() + (n % 40000 - 20000) * interval '7 minutes' END,
            CASE WHEN n % 13 BETWEEN 3 AND 9 THEN now() - n * interval '4 minutes' END,
            now() - n * interval '5 minutes', now() - (n * 37 % 200000) * interval '1 minute'
        FROM generate_series(1, 200000) n,
            lpad(to_hex(CASE WHEN n % 10 = 0 THEN 1 ELSE 2 + n % 999 END), 32, '0') AS hex,
            CAST(hex AS uuid) AS account_id;
    INSERT INTO task_count SELECT account_id, coalesce(category_id, '{UUID(int=0)}'), status, priority, 0, count(*)
        FROM task GROUP BY 1, 2, 3, 4;
    DO $$ DECLARE definition text; BEGIN FOR definition IN SELECT dropped.definition FROM dropped LOOP
        EXECUTE definition; END LOOP; END $$;
    ANALYZE;
"""


class Plans:
    """The big account's connection, set up as the API's are."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.connection = connection
        self._names = (f"statement_{number}" for number in itertools.count())

    async def run(self, statement: Statement, *, analyze: bool = True, **values: Any) -> "Plan":
        """Run a statement as it is run the hundredth time, with the plan that is made for all accounts."""
        name = next(self._names)
        arguments = statement.arguments({"session_id": SESSION, "limit": LIMIT, **values})
        await self.connection.execute(f"PREPARE {name} AS {statement.sql}")
        options = "ANALYZE, BUFFERS OFF, TIMING OFF, FORMAT JSON" if analyze else "FORMAT JSON"
        given = f"({', '.join(map(_literal, arguments))})" if arguments else ""
        found = await self.connection.fetchval(f"EXPLAIN ({options}) EXECUTE {name}{given}")
        await self.connection.execute(f"DEALLOCATE {name}")
        return Plan(json.loads(found)[0]["Plan"])

    async def count(self, where: str) -> int:
        """How many tasks of the big account there are that ..."""
        found: int = await self.connection.fetchval(f"SELECT count(*) FROM task WHERE account_id = '{BIG}' AND {where}")
        return found


class Plan:
    """What PostgreSQL says it did."""

    def __init__(self, root: dict[str, Any]) -> None:
        self.root = root

    def __repr__(self) -> str:
        told = ("Node Type", "Relation Name", "Index Name", "Actual Loops", "Actual Rows", "Rows Removed by Filter")
        return "\n".join(str([node[name] for name in told if name in node]) for node in self.nodes())

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Every node."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            waiting += node.get("Plans", [])
            yield node

    def indexes(self) -> set[str]:
        """The indexes that were used."""
        return {node["Index Name"] for node in self.nodes() if "Index Name" in node and node.get("Actual Loops", 1)}

    def assert_through_indexes(self) -> None:
        """No table is read from end to end."""
        scanned = [node["Relation Name"] for node in self.nodes() if node["Node Type"] == "Seq Scan"]
        assert not scanned, self

    def rows_read(self, *tables: str) -> int:
        """How many rows of these tables were looked at, those that did not fit among them."""
        told = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
        rows: float = sum(
            sum(node.get(name, 0) for name in told) * node["Actual Loops"]
            for node in self.nodes()
            if node.get("Relation Name") in tables
        )
        return round(rows)


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return f"'{{{','.join(map(str, value))}}}'"
    return f"'{value}'"


@pytest.fixture
async def plans(host: Host, new_database: Any) -> Any:
    """The big account in its table."""
    name = await new_database("pattern")
    await host.execute(ROWS, name)
    settings = host.settings(name)
    connection = await asyncpg.connect(
        **connection_arguments(settings), server_settings=_server_settings(settings) | {"statement_timeout": "0"}
    )
    yield Plans(connection)
    await connection.close()


CATEGORY = "(SELECT id FROM category WHERE account_id = '00000000-0000-0000-0000-000000000001' AND name = '2')"
CONDITIONS: Sequence[tuple[dict[str, Any], str]] = [
    ({"status": ["todo"]}, "status = 'todo'"),
    ({"open": True}, "status IN ('todo', 'in_progress')"),
    ({"status": ["archived"], "priority": [3]}, "status = 'archived' AND priority = 3"),
    ({"priority": [0, 3]}, "priority IN (0, 3)"),
    ({"category_id": None}, f"category_id = {CATEGORY}"),
    ({"without_category": True}, "category_id IS NULL"),
    ({"overdue": True}, "status IN ('todo', 'in_progress') AND due_at < now()"),
    (
        {"due_after": NOW, "due_before": NOW + timedelta(days=1)},
        f"due_at BETWEEN '{NOW}' AND timestamptz '{NOW}' + interval '1 day'",
    ),
    ({"created_after": NOW - timedelta(days=1)}, f"created_at >= timestamptz '{NOW}' - interval '1 day'"),
    ({"updated_after": NOW - timedelta(hours=5)}, f"updated_at >= timestamptz '{NOW}' - interval '5 hours'"),
    ({"q": "common"}, "true"),
    ({"q": "frequent com"}, "title LIKE '% frequent'"),
    ({"q": "word7"}, "description ~ '^word7'"),
    ({"q": "word77"}, "description = 'word77'"),
    ({"q": "nowhere"}, "false"),
    ({"q": "c4ca4238a0b923820dcc509a6f75849b"}, "title LIKE '%c4ca4238a0b923820dcc509a6f75849b%'"),
    ({"q": "frequent", "status": ["todo"], "open": True}, "title LIKE '% frequent' AND status = 'todo'"),
    ({"q": "word7", "due_after": NOW}, "description ~ '^word7'"),
]


async def test_no_statement_reads_more_than_it_needs(plans: Plans) -> None:
    await _lists(plans)
    await _conditions(plans)
    await _statistics(plans)
    await _single_rows(plans)
    await _bulk(plans)


async def _place(plans: Plans, sort: Sort) -> dict[str, Any]:
    """The cursor of page 750 of a list."""
    key = lists._KEYS[sort.field].expression
    direction = "DESC" if sort.is_descending else ""
    row = await plans.connection.fetchrow(
        f"SELECT CAST({key} AS text) AS key, id FROM task WHERE account_id = '{BIG}' "
        f"ORDER BY {key} {direction}, id {direction} OFFSET {DEPTH} LIMIT 1"
    )
    assert row
    return {"after_key": row["key"], "after_id": row["id"]}


async def _lists(plans: Plans) -> None:
    for sort in Sort:
        place = await _place(plans, sort)
        for after in (False, True):
            plan = await plans.run(lists._page(sort, frozenset(), after=after, total=False), **place)
            plan.assert_through_indexes()
            assert plan.indexes() == {"session_pkey", f"task_{sort.field}_idx"}
            assert plan.rows_read("task") == LIMIT + 1
            plan = await plans.run(lists._page(sort, frozenset(), after=after, total=True), **place)
            plan.assert_through_indexes()
            assert plan.rows_read("task") == LIMIT + 1
            assert plan.rows_read("task_count") < 200


async def _conditions(plans: Plans) -> None:
    category_id = await plans.connection.fetchval(CATEGORY.strip("()"))
    for conditions, meaning in CONDITIONS:
        fitting = await plans.count(meaning)
        names = frozenset(conditions)
        for sort in (Sort.NEWEST, Sort.UPDATED, Sort.DUE, Sort.MOST_URGENT, Sort.TITLE):
            place = await _place(plans, sort)
            for after in (False, True):
                statement = lists._page(sort, names, after=after, total=False)
                values = {**place, **conditions, "category_id": category_id}
                plan = await plans.run(statement, **values)
                plan.assert_through_indexes()
                # Looked through in order; counted to see that there are more; those that fit, if few; those shown.
                few = fitting if fitting < 6000 else 0
                most = lists._WALK + lists._WALK + 1 + few + LIMIT + 1
                assert plan.rows_read("task") <= most, (sort, conditions, after, plan)


async def _statistics(plans: Plans) -> None:
    overdue = await plans.count("status IN ('todo', 'in_progress') AND due_at < now()")
    category_id = await plans.connection.fetchval(CATEGORY.strip("()"))
    for first in (None, NOW.date() - timedelta(days=365)):
        done = await plans.count(f"completed_at > now() - interval '{366 if first else 31} days'")
        values: dict[str, Any] = {"first": first, "last": first and NOW.date(), "time_zone": "Europe/Berlin"}
        plan = await plans.run(statistics._STATISTICS, **values)
        plan.assert_through_indexes()
        assert plan.rows_read("task") <= overdue + done
        assert plan.indexes() >= {"task_open_idx", "task_completed_at_idx"}
    plan = await plans.run(statistics._ONE, category_id=category_id)
    plan.assert_through_indexes()
    assert plan.rows_read("task") <= overdue
    assert plan.rows_read("task_count") < 30
    for after in (False, True):
        place: dict[str, Any] = {"after_key": "1", "after_id": uuid4()}
        plan = await plans.run(statistics._page(after=after), **place)
        plan.assert_through_indexes()
        assert plan.rows_read("task") <= overdue
        assert plan.rows_read("task_count", "category") < 250


async def _single_rows(plans: Plans) -> None:
    ids = {"task_id": uuid4(), "category_id": uuid4(), "versions": None}
    task = {f"new_{field}": None for field in ("title", "description", "due_at", "category_id", "status", "priority")}
    for statement in (
        store._GET,
        store._DELETE,
        store._update(frozenset({"title", "description", "due_at", "category_id", "status", "priority"})),
        categories._GET,
        categories._DELETE,
        categories._update(frozenset({"name"})),
        categories._page(after=True),
        categories._page(after=False),
    ):
        values = {**ids, **task, "new_name": "x", "after_key": "1", "after_id": uuid4()}
        plan = await plans.run(statement, analyze=False, **values)
        plan.assert_through_indexes()
        assert len(plan.indexes()) == 2


async def _bulk(plans: Plans) -> None:
    rows = await plans.connection.fetch(f"SELECT id, category_id FROM task WHERE account_id = '{BIG}' LIMIT 100")
    changes = [
        {"task_id": str(row["id"]), "title": "x", "status": "todo", "priority": 1}
        | ({"category_id": str(row["category_id"])} if row["category_id"] else {})
        for row in rows
    ]
    for count in (1, 100):
        items = json.dumps(changes[:count])
        for statement, looked_at in ((bulk._CREATE, 0), (bulk._CHANGE, 2), (bulk._DELETE, 2)):
            async with rolled_back(plans.connection):
                plan = await plans.run(statement, items=items)
            plan.assert_through_indexes()
            assert plan.rows_read("task") <= (looked_at + 1) * count, plan
            assert plan.rows_read("category") <= count, plan


@asynccontextmanager
async def rolled_back(connection: "asyncpg.Connection[asyncpg.Record]") -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()

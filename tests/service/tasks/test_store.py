"""How lists reach their rows: always through an index, and never more rows than the page."""

import re
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from service.database import connection_arguments
from service.tasks import store
from service.tasks.models import Sort
from tests.service.conftest import Host

TASKS = 3000


@pytest.fixture
async def crowded(host: Host, new_database: Any) -> tuple[str, UUID]:
    """A database in which one account has many tasks and others a few; returns its name and that account."""
    name = await new_database("pattern")
    account_id = uuid4()
    await host.execute(
        f"""
        INSERT INTO account (id, email, password_hash) VALUES ('{account_id}', 'a@example.com', '');
        INSERT INTO account (email, password_hash) SELECT n || '@example.com', '' FROM generate_series(1, 100) n;
        INSERT INTO task (account_id, title, status, priority, due_at, created_at)
            SELECT '{account_id}', md5(n::text), 'todo', n % 4, now() + n * interval '1 hour', now() - n * interval '1s'
            FROM generate_series(1, {TASKS}) n;
        INSERT INTO task (account_id, title, status, priority) SELECT id, 'x', 'todo', 1 FROM account;
        ANALYZE account, task;
        """,
        name,
    )
    return name, account_id


@pytest.mark.parametrize("after", [False, True])
async def test_every_order_reads_a_page_through_its_index(
    host: Host, crowded: tuple[str, UUID], *, after: bool
) -> None:
    name, account_id = crowded
    connection = await asyncpg.connect(**connection_arguments(host.settings(name)))
    keys = {"created_at": "2026-01-01", "due_at": "2026-12-01", "priority": "2", "title": "7"}
    for sort in Sort:
        statement = store._page(sort, frozenset(), after=after)
        values: dict[str, Any] = {"account_id": account_id, "limit": 20}
        if after:
            values |= {"after_key": keys[sort.removeprefix("-")], "after_id": uuid4()}
        rows = await connection.fetch(f"EXPLAIN (ANALYZE) {statement.sql}", *statement.arguments(values))
        plan = "\n".join(row[0] for row in rows)
        assert f"task_{sort.removeprefix('-')}_idx" in plan, plan
        assert "Seq Scan" not in plan
        assert "Sort" not in plan
        scanned = re.search(r"task_\w+_idx on task .*actual time=\S+ rows=(\d+)", plan)
        assert scanned, plan
        assert int(scanned[1]) <= 21
    await connection.close()

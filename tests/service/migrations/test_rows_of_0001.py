"""What the rows of the release before become."""

import shutil
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.service.conftest import ROOT, Host

_ROWS = """
    INSERT INTO account (id, email, password_hash)
        SELECT ('00000000-0000-7000-8000-00000000000' || n)::uuid, n || '@example.com', '' FROM generate_series(1, 2) n;
    INSERT INTO category (id, account_id, name, color)
        SELECT ('00000000-0000-7000-9000-00000000000' || n)::uuid,
            ('00000000-0000-7000-8000-00000000000' || (1 + n / 4))::uuid, repeat('x', 200), '#000000'
        FROM generate_series(1, 4) n;
    INSERT INTO task (account_id, category_id, title, status, priority)
        SELECT account_id, id, 'Prüfe ' || id, 'todo', 1 FROM category;
    INSERT INTO task (account_id, title, description, status, priority)
        SELECT id, 'Überweisung', 'Büro', 'completed', 3 FROM account, generate_series(1, 5);
"""


async def test_rows_of_the_release_before(host: Host, new_database: Any, tmp_path: Path) -> None:
    name = await new_database("template0")
    before = tmp_path / "before"
    shutil.copytree(ROOT / "service", before / "service", ignore=shutil.ignore_patterns("__pycache__", "0002*"))
    done = host.migrate("upgrade", database=name, folder=before)
    assert done.returncode == 0, done.stderr
    old = await host.connect("slipway_migrator", name)
    await old.execute(_ROWS)
    done = await host.migrate_here("upgrade", database=name)
    assert done.returncode == 0, done.stderr
    rows = await old.fetch("SELECT id, account_id, name FROM category ORDER BY id")
    names = [row["name"] for row in rows]
    assert names[0] == names[3] == "x" * 200
    assert names[1:3] == [f"{'x' * 163} {row['id']}" for row in rows[1:3]]
    counted = "SELECT status, sum(tasks)::int FROM task_count WHERE account_id = $1 GROUP BY 1 ORDER BY 1"
    account_id = UUID("00000000-0000-7000-8000-000000000001")
    assert [tuple(row) for row in await old.fetch(counted, account_id)] == [("completed", 5), ("todo", 3)]
    found = "SELECT count(*) FROM task WHERE search @@ search_all($1, $2)"
    assert await old.fetchval(found, account_id, "ÜBERWEISUNG bür") == 5
    assert await old.fetchval(found, account_id, "prüfe") == 3
    # The release before goes on to write, and knows nothing of versions and counts.
    await old.execute("UPDATE task SET title = 'x', status = 'todo' WHERE account_id = $1", account_id)
    assert await old.fetchval("SELECT bool_and(version = 2) FROM task WHERE account_id = $1", account_id)
    assert [tuple(row) for row in await old.fetch(counted, account_id)] == [("completed", 0), ("todo", 8)]
    await old.close()

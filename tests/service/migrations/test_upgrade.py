import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.migrations.schema_range import SchemaRange
from service.migrations.upgrade import ADVISORY_LOCK
from tests.service.conftest import Host

Snapshot = Callable[..., Path]
HEAD = SchemaRange.of_source().head
NEXT, AFTER = f"{int(HEAD) + 1:04}", f"{int(HEAD) + 2:04}"


async def state(host: Host, database: str) -> tuple[str, str] | None:
    """What the database says its schema is."""
    connection = await host.connect("slipway_migrator", database)
    try:
        row = await connection.fetchrow("SELECT revision, accepts_from FROM schema_state")
        versions = await connection.fetch("SELECT version_num FROM alembic_version")
        assert row
        assert [row["revision"]] == [version["version_num"] for version in versions]
        return row["revision"], row["accepts_from"]
    except asyncpg.UndefinedTableError:
        return None
    finally:
        await connection.close()


async def test_from_empty_to_head_and_again(host: Host, new_database: Any, tmp_path: Path) -> None:
    name = await new_database("template0")
    report = tmp_path / "report.json"
    done = host.migrate("--report", str(report), database=name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0001 Accounts, categories, tasks. 0.")
    first = json.loads(report.read_text())
    assert (first["from"], first["to"], first["release"]) == (None, HEAD, "0.0.0-source")
    assert [applied["revision"] for applied in first["applied"]] == ["0001", "0002"]
    assert set(first["applied"][0]) == {"revision", "summary", "seconds"}
    assert first["seconds"] >= first["waited_for_lock_seconds"] >= 0
    assert "error" not in first
    assert await state(host, name) == (HEAD, "0001")
    assert (await host.migrate_here("upgrade", "--report", str(report), database=name)).returncode == 0
    again = json.loads(report.read_text())
    assert (again["from"], again["to"], again["applied"]) == (HEAD, HEAD, [])


async def test_models_and_migrations_agree(host: Host, new_database: Any) -> None:
    name = await new_database("pattern")
    done = await host.migrate_here("check", database=name)
    assert done.returncode == 0, done.stderr
    await host.execute("ALTER TABLE task ADD COLUMN surprise text", name)
    done = await host.migrate_here("check", database=name)
    assert done.returncode == 1
    assert "surprise" in done.stderr
    assert "write the missing revision" in done.stderr


async def test_failing_revision_leaves_the_ones_before_it_and_says_why(
    host: Host, new_database: Any, snapshot: Snapshot, tmp_path: Path
) -> None:
    name = await new_database("pattern")
    folder = snapshot(
        {
            NEXT: 'op.add_column("task", sa.Column("extra", sa.Text()))',
            AFTER: 'op.execute("CREATE TABLE half (id int)"); op.execute("SELECT 1 / 0")',
        }
    )
    report = tmp_path / "report.json"
    done = host.migrate("upgrade", "--report", str(report), database=name, folder=folder)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr == (
        f"slipway-migrate: revision {AFTER} failed: division by zero: nothing of it was kept; "
        "correct the cause and run slipway-migrate again\n"
    )
    content = json.loads(report.read_text())
    assert (content["from"], content["to"]) == (HEAD, NEXT)
    assert "division by zero" in content["error"]
    assert await state(host, name) == (NEXT, "0001")
    connection = await host.connect("slipway_app", name)
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    await connection.close()


async def test_revision_that_is_no_program_fails_in_one_line_too(
    host: Host, new_database: Any, snapshot: Snapshot
) -> None:
    name = await new_database("pattern")
    done = host.migrate(database=name, folder=snapshot({NEXT: "raise KeyError('oops')"}))
    assert done.returncode == 1
    assert done.stderr.startswith(f"slipway-migrate: revision {NEXT} failed: 'oops': ")
    assert done.stderr.count("\n") == 1


async def test_killed_job_leaves_whole_revisions_and_the_next_completes(
    host: Host, new_database: Any, snapshot: Snapshot
) -> None:
    name = await new_database("pattern")
    change = 'op.add_column("task", sa.Column("extra", sa.Text())); op.execute("SELECT pg_sleep({})")'
    process = subprocess.Popen(  # noqa: ASYNC220 - it runs beside this test, which waits for nothing of it
        [sys.executable, "-m", "service.migrations.migrate"],
        cwd=snapshot({NEXT: change.format(30)}),
        env=host.environment("migration", name),
        stdout=subprocess.PIPE,
    )
    admin = await host.connect("slipway_admin", name)
    sleeping = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND query LIKE '%pg_sleep(30)%' AND pid <> pg_backend_pid()"
    )
    for _ in range(400):
        if await admin.fetchval(sleeping):
            break
        await asyncio.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert await state(host, name) == (HEAD, "0001")
    done = await asyncio.to_thread(host.migrate, database=name, folder=snapshot({NEXT: change.format(0)}))
    assert done.returncode == 0, done.stderr
    assert await state(host, name) == (NEXT, "0001")
    await admin.close()


async def test_second_job_waits_and_gives_up_in_time(host: Host, new_database: Any) -> None:
    name = await new_database("pattern")
    other = await host.connect("slipway_migrator", name)
    await other.execute(f"SELECT pg_advisory_lock({ADVISORY_LOCK})")
    done = await host.migrate_here(database=name, SLIPWAY_MIGRATION_LOCK_WAIT_SECONDS="0.3")
    assert done.returncode == 1
    assert "another migration job held the lock for 0.3 s" in done.stderr
    waiting = asyncio.create_task(host.migrate_here(database=name))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    await other.close()
    assert (await waiting).returncode == 0


async def test_table_lock_is_waited_for_in_bounds(host: Host, new_database: Any, snapshot: Snapshot) -> None:
    name = await new_database("pattern")
    reader = await host.connect("slipway_app", name)
    async with reader.transaction():
        await reader.fetch("SELECT FROM task")
        done = await asyncio.to_thread(
            host.migrate,
            database=name,
            folder=snapshot({NEXT: 'op.add_column("task", sa.Column("extra", sa.Text()))'}),
            SLIPWAY_MIGRATION_LOCK_TIMEOUT_SECONDS="0.2",
        )
    await reader.close()
    assert done.returncode == 1
    assert "lock timeout" in done.stderr
    assert await state(host, name) == (HEAD, "0001")


async def test_statement_is_bounded(host: Host, new_database: Any, snapshot: Snapshot) -> None:
    name = await new_database("pattern")
    folder = snapshot({NEXT: 'op.execute("SELECT pg_sleep(30)")'})
    done = host.migrate(database=name, folder=folder, SLIPWAY_MIGRATION_STATEMENT_TIMEOUT_SECONDS="0.2")
    assert done.returncode == 1
    assert "statement timeout" in done.stderr


@pytest.mark.parametrize(("accepts_from", "code"), [(HEAD, 0), (NEXT, 1)])
async def test_older_release_changes_nothing_on_a_newer_schema(
    host: Host, new_database: Any, snapshot: Snapshot, accepts_from: str, code: int
) -> None:
    name = await new_database("pattern")
    assert host.migrate(database=name, folder=snapshot({NEXT: "pass"}, accepts_from)).returncode == 0
    done = await host.migrate_here(database=name)
    assert done.returncode == code
    assert ("nothing to do" in done.stdout) is (code == 0)
    assert (f"deploy a release whose schema is {NEXT} or newer" in done.stderr) is (code == 1)
    assert await state(host, name) == (NEXT, accepts_from)


async def test_unreachable_database_and_wrong_settings_in_one_line(host: Host, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = await host.migrate_here(
        "--report", str(report), database="no_such_database", SLIPWAY_DATABASE_START_WAIT_SECONDS="0"
    )
    assert done.returncode == 1
    assert 'database "no_such_database" does not exist' in done.stderr
    assert done.stderr.count("\n") == 1
    assert "no_such_database" in json.loads(report.read_text())["error"]
    done = await host.migrate_here("--report", "/nowhere/report.json", database="x", SLIPWAY_LOCK_WAIT="1")
    assert done.returncode == 1
    assert "cannot write the report /nowhere/report.json" in done.stderr
    done = await host.migrate_here(database="x", SLIPWAY_LOCK_WAIT="1")
    assert done.returncode == 1
    assert "unknown setting SLIPWAY_LOCK_WAIT: did you mean " in done.stderr

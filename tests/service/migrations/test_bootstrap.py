from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.service.conftest import Host


@pytest.fixture
async def database(host: Host) -> AsyncIterator[str]:
    """A database that bootstrap and the migration job made, as in a deploy."""
    name = "bootstrapped"
    for arguments in (("bootstrap", "--database", name), ("upgrade",)):
        target = name if arguments == ("upgrade",) else "postgres"
        done = await host.migrate_here(*arguments, database=target)
        assert done.returncode == 0, done.stderr
    yield name
    await host.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def refused(host: Host, user: str, database: str, *statements: str) -> None:
    connection = await host.connect(user, database)
    for statement in statements:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


async def test_each_role_can_do_what_it_needs_and_no_more(host: Host, database: str) -> None:
    app = await host.connect("slipway_app", database)
    account = await app.fetchval("INSERT INTO account (email, password_hash) VALUES ('a@example.com', '') RETURNING id")
    await app.execute("UPDATE account SET full_name = 'Ann'")
    await app.execute(f"DELETE FROM account WHERE id = '{account}'")
    await app.execute("ANALYZE task")
    await app.close()
    await refused(
        host,
        "slipway_app",
        database,
        "CREATE TABLE x ()",
        "DROP TABLE task",
        "ALTER TABLE task ADD COLUMN x int",
        "TRUNCATE task",
        "UPDATE schema_state SET revision = '0000'",
        "DELETE FROM alembic_version",
        "SET ROLE slipway_migrator",
    )
    monitor = await host.connect("slipway_monitor", database)
    await monitor.fetch("SELECT * FROM task, schema_state, pg_stat_activity")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await monitor.execute("DELETE FROM task")
    await monitor.execute("SET default_transaction_read_only = off")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await monitor.execute("DELETE FROM task")
    await monitor.close()
    await refused(host, "slipway_migrator", database, "CREATE ROLE x", "CREATE DATABASE x")


async def test_again_repairs_and_loses_nothing(host: Host, database: str) -> None:
    await host.execute("INSERT INTO account (email, password_hash) VALUES ('a@example.com', '')", database)
    await host.execute(
        "ALTER ROLE slipway_monitor SUPERUSER PASSWORD 'another'; GRANT ALL ON SCHEMA public TO PUBLIC", database
    )
    done = await host.migrate_here("bootstrap", "--database", database, database="postgres")
    assert done.returncode == 0, done.stderr
    await refused(host, "slipway_app", database, "CREATE TABLE x ()")
    monitor = await host.connect("slipway_monitor", database)
    assert await monitor.fetchval("SELECT count(*) FROM account") == 1
    assert await monitor.fetchval("SHOW is_superuser") == "off"
    await monitor.close()


async def test_passwords_reach_the_server_only_as_verifiers(host: Host, database: str) -> None:
    admin = await host.connect("slipway_admin", "postgres")
    stored = await admin.fetch("SELECT rolpassword FROM pg_authid WHERE rolname LIKE 'slipway\\_%'")
    await admin.close()
    assert len(stored) >= 4
    assert all(row["rolpassword"].startswith("SCRAM-SHA-256$4096:") for row in stored)


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (("--database", "a; DROP"), {}, "is no plain database name"),
        ((), {"SLIPWAY_APP_PASSWORD": "ü"}, "must be ASCII"),
        (
            (),
            {"SLIPWAY_ADMIN_PASSWORD": "wrong"},
            "administrator slipway_admin: adminPassword counts only when the cluster is made: put the old value back",
        ),
        (
            (),
            {
                "SLIPWAY_DATABASE_URL": "postgresql://slipway_admin@/postgres?host=/nowhere",
                "SLIPWAY_DATABASE_START_WAIT_SECONDS": "0.1",
            },
            "cannot reach PostgreSQL",
        ),
    ],
)
async def test_failures_in_one_line(
    host: Host, arguments: tuple[str, ...], variables: dict[str, Any], message: str
) -> None:
    done = await host.migrate_here("bootstrap", *arguments, database="postgres", **variables)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


async def test_without_the_right_to_make_roles_it_says_so(host: Host) -> None:
    done = await host.migrate_here(
        "bootstrap",
        database="postgres",
        SLIPWAY_DATABASE_URL=host.server.url("slipway_app", "postgres"),
        SLIPWAY_ADMIN_PASSWORD="app-password",
    )
    assert done.returncode == 1
    assert "connect as an administrator of the server" in done.stderr

"""The bootstrap by the administrator of a managed PostgreSQL, who is no superuser."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from subprocess import CompletedProcess

import asyncpg
import pytest

from infra.embedded.database import Database as Server
from tests.environments import fresh_layout
from tests.service.conftest import PASSWORDS, Host

DATABASE = "managed"
ADMIN = "managed_admin"
ADMIN_PASSWORD = "managed-password"
NEONS_REFUSAL = (
    'Received HTTP code 400 from control plane: {"error":"Neon only supports being given plaintext passwords"}'
)
WARNING = "warning: slipway_monitor sees no other role's statistics"

Bootstrap = Callable[..., Awaitable[CompletedProcess[str]]]


@pytest.fixture(scope="module")
def empty_server() -> Iterator[Server]:
    """A cluster without our roles: the other tests' has them, and they are not this administrator's."""
    with fresh_layout() as layout:
        server = Server(layout)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
async def managed(host: Host, empty_server: Server) -> Host:
    """A host whose server is managed: its administrator may make roles and databases, and hand pg_monitor on."""
    managed = replace(host, server=empty_server)
    await managed.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    await managed.execute(f"DROP ROLE IF EXISTS {', '.join(PASSWORDS)}; DROP ROLE IF EXISTS {ADMIN}")
    await managed.execute(f"CREATE ROLE {ADMIN} LOGIN CREATEROLE CREATEDB PASSWORD '{ADMIN_PASSWORD}'")
    await managed.execute(f"GRANT pg_monitor TO {ADMIN} WITH ADMIN OPTION")
    return managed


@pytest.fixture
def bootstrap(managed: Host) -> Bootstrap:
    """Runs the job as that administrator."""

    async def run(**variables: str) -> CompletedProcess[str]:
        return await managed.migrate_here(
            "bootstrap",
            "--database",
            DATABASE,
            database="postgres",
            SLIPWAY_DATABASE_URL=managed.server.url(ADMIN, "postgres"),
            SLIPWAY_ADMIN_PASSWORD=ADMIN_PASSWORD,
            **variables,
        )

    return run


async def check_roles(managed: Host) -> None:
    """Migrate, then try what each role may and may not do."""
    done = await managed.migrate_here("upgrade", database=DATABASE)
    assert done.returncode == 0, done.stderr
    migrator = await managed.connect("slipway_migrator", DATABASE)
    await migrator.execute("CREATE SEQUENCE later")
    await migrator.close()
    app = await managed.connect("slipway_app", DATABASE)
    await app.execute("INSERT INTO account (email, password_hash) VALUES ('a@example.com', '')")
    assert await app.fetchval("UPDATE account SET full_name = 'Ann' RETURNING full_name") == "Ann"
    assert await app.fetchval("SELECT nextval('later')") == 1
    for statement in ("CREATE TABLE x ()", "DROP TABLE task", "ALTER TABLE task ADD COLUMN x int"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(statement)
    await app.close()
    monitor = await managed.connect("slipway_monitor", DATABASE)
    assert await monitor.fetchval("SELECT count(*) FROM account") == 1
    assert await monitor.fetchval("SELECT last_value FROM later") == 1
    await monitor.execute("SET default_transaction_read_only = off")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await monitor.execute("DELETE FROM account")
    await monitor.close()


async def may_monitor(managed: Host) -> bool:
    monitor = await managed.connect("slipway_monitor", DATABASE)
    try:
        return bool(await monitor.fetchval("SELECT pg_has_role('pg_monitor', 'USAGE')"))
    finally:
        await monitor.close()


async def test_an_administrator_who_is_no_superuser_does_it_again_and_again(
    managed: Host, bootstrap: Bootstrap
) -> None:
    for _ in range(2):
        done = await bootstrap()
        assert (done.returncode, done.stderr) == (0, "")
        assert "warning" not in done.stdout
    await check_roles(managed)
    assert await may_monitor(managed)
    done = await bootstrap()
    assert done.returncode == 0, done.stderr


async def test_without_pg_monitor_to_hand_on_it_warns_and_goes_on(managed: Host, bootstrap: Bootstrap) -> None:
    await managed.execute(f"REVOKE pg_monitor FROM {ADMIN}")
    for _ in range(2):
        done = await bootstrap()
        assert (done.returncode, done.stderr) == (0, "")
        assert WARNING in done.stdout
        assert done.stdout.count("\n") == 2
    await check_roles(managed)
    assert not await may_monitor(managed)
    await managed.execute("GRANT pg_monitor TO slipway_monitor")
    assert WARNING not in (await bootstrap()).stdout


async def test_where_only_plain_passwords_are_taken_no_log_has_them(
    managed: Host, bootstrap: Bootstrap, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_it_is = asyncpg.Connection.execute

    async def like_neon(connection: asyncpg.Connection, query: str, *arguments: object) -> str:
        if "SCRAM-SHA-256" in query:
            raise asyncpg.InternalServerError(NEONS_REFUSAL)
        return await as_it_is(connection, query, *arguments)

    password = 'it\'s 100 % "plain" \\ $$ $1'
    monkeypatch.setattr(asyncpg.Connection, "execute", like_neon)
    monkeypatch.setitem(PASSWORDS, "slipway_app", password)
    await managed.execute(f"ALTER ROLE {ADMIN} SET log_statement = 'ddl'")
    await managed.execute(f"ALTER ROLE {ADMIN} SET log_min_duration_statement = 0")
    for _ in range(2):
        done = await bootstrap(SLIPWAY_APP_PASSWORD=password)
        assert (done.returncode, done.stderr) == (0, "")
        assert "plain" not in done.stdout
    connection = await managed.connect("slipway_app", DATABASE)
    await connection.close()
    log = managed.server.log.read_text()
    assert "CREATE DATABASE managed" in log
    assert "set_config" in log
    for word in ("it's 100", "it''s 100", "migrator-password", "monitor-password"):
        assert word not in log


async def test_a_plain_password_that_is_refused_is_not_repeated(
    managed: Host, bootstrap: Bootstrap, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_it_is = asyncpg.Connection.execute

    async def like_neon(connection: asyncpg.Connection, query: str, *arguments: object) -> str:
        if "SCRAM-SHA-256" in query:
            raise asyncpg.InternalServerError(NEONS_REFUSAL)
        if query.startswith("DO"):
            raise asyncpg.InternalServerError("migrator-password\nis too weak")
        return await as_it_is(connection, query, *arguments)

    monkeypatch.setattr(asyncpg.Connection, "execute", like_neon)
    done = await bootstrap()
    assert done.returncode == 1
    assert "*** is too weak" in done.stderr
    assert "migrator-password" not in done.stderr
    assert done.stderr.count("\n") == 1

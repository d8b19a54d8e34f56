"""Makes the database and its three roles, each with the least it needs; running it again repairs and changes nothing.

slipway_migrator    owns the database and its schema; the migration job's
slipway_app         reads and writes rows, changes no schema; the API's
slipway_monitor     reads rows and statistics, writes nothing

The administrator is a superuser, or CREATEROLE CREATEDB as a managed PostgreSQL's is.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

import asyncpg

from service.connecting import Row, connect
from service.errors import DatabaseUnreachableError, MigrationError
from service.settings import BootstrapSettings

MIGRATOR_ROLE = "slipway_migrator"
APP_ROLE = "slipway_app"
MONITOR_ROLE = "slipway_monitor"

_ADVISORY_LOCK = 0x511B_0A70
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")

# Nets under the processes' own, shorter timeouts: for sessions by hand and for programs that set none.
_ROLE_SETTINGS = f"""
    ALTER ROLE {APP_ROLE} SET statement_timeout = '60s';
    ALTER ROLE {APP_ROLE} SET idle_in_transaction_session_timeout = '60s';
    ALTER ROLE {MONITOR_ROLE} SET statement_timeout = '15s';
    ALTER ROLE {MONITOR_ROLE} SET default_transaction_read_only = on;
"""

_SCHEMA_RIGHTS = f"""
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    GRANT USAGE ON SCHEMA public TO {APP_ROLE}, {MONITOR_ROLE};
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO {MONITOR_ROLE};
    GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {MONITOR_ROLE};
    ALTER DEFAULT PRIVILEGES FOR ROLE {MIGRATOR_ROLE} IN SCHEMA public GRANT SELECT ON TABLES TO {MONITOR_ROLE};
    ALTER DEFAULT PRIVILEGES FOR ROLE {MIGRATOR_ROLE} IN SCHEMA public GRANT SELECT ON SEQUENCES TO {MONITOR_ROLE};
    ALTER DEFAULT PRIVILEGES FOR ROLE {MIGRATOR_ROLE} IN SCHEMA public
        GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {APP_ROLE};
    ALTER DEFAULT PRIVILEGES FOR ROLE {MIGRATOR_ROLE} IN SCHEMA public GRANT USAGE ON SEQUENCES TO {APP_ROLE};
"""

# VACUUM and ANALYZE after a bulk load, where load tests run. MAINTAIN also allows LOCK TABLE: not in production.
_MAINTENANCE_RIGHTS = f"""
    GRANT MAINTAIN ON ALL TABLES IN SCHEMA public TO {APP_ROLE};
    ALTER DEFAULT PRIVILEGES FOR ROLE {MIGRATOR_ROLE} IN SCHEMA public GRANT MAINTAIN ON TABLES TO {APP_ROLE};
"""


async def bootstrap(settings: BootstrapSettings, database: str, say: Callable[[str], None]) -> None:
    """Make `database` and the roles, or bring them up to date, passwords included.

    Raises:
        DatabaseUnreachableError: PostgreSQL did not answer.
        MigrationError: PostgreSQL refused the administrator's password or a statement, or `database` is no plain name.
    """
    if not _NAME.fullmatch(database):
        raise MigrationError(f"{database!r} is no plain database name: use a-z, 0-9 and _, at most 63")
    as_admin = settings.model_copy(update={"database_password": settings.admin_password})
    passwords = {
        MIGRATOR_ROLE: settings.migrator_password.get_secret_value(),
        APP_ROLE: settings.app_password.get_secret_value(),
        MONITOR_ROLE: settings.monitor_password.get_secret_value(),
    }
    try:
        server = await _connect(as_admin)
        try:
            await server.execute(f"SELECT pg_advisory_lock({_ADVISORY_LOCK})")
            superuser = await server.fetchval("SHOW is_superuser") == "on"
            for role, password in passwords.items():
                await _make_role(server, role, password, superuser=superuser, in_plain_text=settings.database_tls)
            if not superuser:
                # Who makes a role may grant it, but acts for it, and owns what it owns, only by a grant to himself.
                await server.execute(f"GRANT {MIGRATOR_ROLE} TO CURRENT_USER WITH INHERIT TRUE, SET TRUE")
            await server.execute(_ROLE_SETTINGS)
            await _let_monitor(server, say)
            await _make_database(server, database)
            inside = await connect(as_admin, database=database)
            try:
                await inside.execute(_SCHEMA_RIGHTS)
                if settings.environment != "production":
                    await inside.execute(_MAINTENANCE_RIGHTS)
            finally:
                await inside.close()
        finally:
            await server.close()
    except asyncpg.PostgresError as error:
        raise MigrationError(
            f"bootstrap failed: {_one_line(error)}: connect as an administrator of the server"
        ) from error


async def _connect(settings: BootstrapSettings) -> "asyncpg.Connection[Row]":
    try:
        return await connect(settings)
    except DatabaseUnreachableError as error:
        if not isinstance(error.__cause__, asyncpg.InvalidPasswordError):
            raise
        user = unquote(urlsplit(settings.database_url).username or "")
        raise MigrationError(
            f"PostgreSQL refused the password of its administrator {user}: adminPassword counts only when the cluster "
            "is made: put the old value back (pulumi config set --secret slipway:adminPassword), or change it in the "
            f"cluster first (ALTER ROLE {user} PASSWORD ...); a managed server's is in slipway:databaseUrl"
        ) from error


async def _make_role(
    server: "asyncpg.Connection[Row]", role: str, password: str, *, superuser: bool, in_plain_text: bool
) -> None:
    exists = await server.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
    # PostgreSQL refuses ALTER ROLE ... NOSUPERUSER to all but superusers, also where it changes nothing.
    attributes = "LOGIN" if exists and not superuser else "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE"
    statement = f"{'ALTER' if exists else 'CREATE'} ROLE {role} {attributes} PASSWORD"
    try:
        await server.execute(f"{statement} '{_scram(password)}'")
    except asyncpg.PostgresError as error:
        # So says Neon, whose control plane wants to know every password. Without TLS it might be anybody who says so.
        if "plaintext passwords" not in str(error) or not in_plain_text:
            raise
        await _with_plain_password(server, statement, password)


async def _with_plain_password(server: "asyncpg.Connection[Row]", statement: str, password: str) -> None:
    """Run a statement that ends with PASSWORD so that what follows is in no text that a server usually logs."""
    try:
        async with server.transaction():
            # In a literal of ours it would be in the log of a server that logs DDL or slow statements: quoted there.
            await server.execute("SELECT set_config('slipway.password', $1, true)", password)
            await server.execute(
                f"DO $$ BEGIN EXECUTE format('{statement} %L', current_setting('slipway.password')); END $$"
            )
    except asyncpg.PostgresError as error:
        cause = _one_line(error).replace(password, "***")
        raise MigrationError(f"bootstrap failed: {statement}: {cause}: correct the cause and run it again") from None


async def _let_monitor(server: "asyncpg.Connection[Row]", say: Callable[[str], None]) -> None:
    if await server.fetchval("SELECT pg_has_role($1, 'pg_monitor', 'USAGE')", MONITOR_ROLE):
        return
    grant = f"GRANT pg_monitor TO {MONITOR_ROLE}"
    try:
        await server.execute(grant)
    except asyncpg.InsufficientPrivilegeError as error:
        say(
            f"warning: {MONITOR_ROLE} sees no other role's statistics: {_one_line(error)}: "
            f"run {grant} as a role that may, or do without"
        )


async def _make_database(server: "asyncpg.Connection[Row]", database: str) -> None:
    if not await server.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
        # PostgreSQL's own locale: text sorts the same everywhere, and no operating system upgrade breaks an index.
        await server.execute(
            f"CREATE DATABASE {database} OWNER {MIGRATOR_ROLE} TEMPLATE template0 ENCODING 'UTF8' "
            "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
        )
    await server.execute(
        f"ALTER DATABASE {database} OWNER TO {MIGRATOR_ROLE};"
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC;"
        f"GRANT CONNECT ON DATABASE {database} TO {MIGRATOR_ROLE}, {APP_ROLE}, {MONITOR_ROLE}"
    )


def _scram(password: str) -> str:
    """Compute PostgreSQL's stored form of a password (RFC 5803), so that the password never reaches its log."""
    if not password.isascii() or not password:
        raise MigrationError("a role's password must be ASCII and not empty: generate it again")
    iterations, salt = 4096, secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored_key, server_key))
    return f"SCRAM-SHA-256${iterations}:{salt64}${stored64}:{server64}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())

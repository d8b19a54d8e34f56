"""Makes the database and its three roles, each with the least it needs; running it again repairs and changes nothing.

slipway_migrator    owns the database and its schema; the migration job's
slipway_app         reads and writes rows, changes no schema; the API's
slipway_monitor     reads rows and statistics, writes nothing
"""

import base64
import hashlib
import hmac
import re
import secrets

import asyncpg

from service.database import Row, connect
from service.errors import MigrationError
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
    GRANT pg_monitor TO {MONITOR_ROLE};
"""

_SCHEMA_RIGHTS = f"""
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    GRANT USAGE ON SCHEMA public TO {APP_ROLE}, {MONITOR_ROLE};
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO {MONITOR_ROLE};
    ALTER DEFAULT PRIVILEGES FOR ROLE {MIGRATOR_ROLE} IN SCHEMA public GRANT SELECT ON TABLES TO {MONITOR_ROLE};
    ALTER DEFAULT PRIVILEGES FOR ROLE {MIGRATOR_ROLE} IN SCHEMA public
        GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {APP_ROLE};
    ALTER DEFAULT PRIVILEGES FOR ROLE {MIGRATOR_ROLE} IN SCHEMA public GRANT USAGE ON SEQUENCES TO {APP_ROLE};
"""

# VACUUM and ANALYZE after a bulk load, where load tests run. MAINTAIN also allows LOCK TABLE: not in production.
_MAINTENANCE_RIGHTS = f"""
    GRANT MAINTAIN ON ALL TABLES IN SCHEMA public TO {APP_ROLE};
    ALTER DEFAULT PRIVILEGES FOR ROLE {MIGRATOR_ROLE} IN SCHEMA public GRANT MAINTAIN ON TABLES TO {APP_ROLE};
"""


async def bootstrap(settings: BootstrapSettings, database: str) -> None:
    """Make `database` and the roles, or bring them up to date, passwords included.

    Raises:
        DatabaseUnreachableError: PostgreSQL did not answer.
        MigrationError: PostgreSQL refused a statement, or `database` is no plain name.
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
        server = await connect(as_admin)
        try:
            await server.execute(f"SELECT pg_advisory_lock({_ADVISORY_LOCK})")
            for role, password in passwords.items():
                await _make_role(server, role, password)
            await server.execute(_ROLE_SETTINGS)
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
        raise MigrationError(f"bootstrap failed: {error}: connect as an administrator of the server") from error


async def _make_role(server: "asyncpg.Connection[Row]", role: str, password: str) -> None:
    exists = await server.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
    verb = "ALTER" if exists else "CREATE"
    await server.execute(f"{verb} ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '{_scram(password)}'")


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

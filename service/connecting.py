"""The way to PostgreSQL: its address, TLS, and patience at the start.

TLS is on, with certificate and host name verified, wherever the connection leaves this machine.
"""

import asyncio
import random
import ssl
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from service.errors import DatabaseUnreachableError, SettingsError
from service.settings import ProcessSettings

Row = asyncpg.Record

# PostgreSQL is away, going away or full. What it says about our statements is not among them.
AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server's last words came in just before ours went out
    asyncpg.InsufficientResourcesError,  # too many connections, out of memory, disk full
    asyncpg.TransactionRollbackError,  # two requests that waited for one another; this one had to give way
    asyncpg.OperatorInterventionError,  # shutting down, starting up, statement timeout
    asyncpg.InvalidAuthorizationSpecificationError,  # a password being changed
    asyncpg.InvalidCatalogNameError,
)

# A wrong password, database or certificate does not become right by waiting.
_FINAL = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    ssl.SSLCertVerificationError,
)


async def connect(settings: ProcessSettings, **options: Any) -> "asyncpg.Connection[Row]":
    """Open one connection for a job or a check at the start, waiting for a PostgreSQL that is still starting.

    Raises:
        DatabaseUnreachableError: no connection within `database_start_wait_seconds`, or the server refuses for good.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + settings.database_start_wait_seconds
    pause_seconds = 0.05
    arguments = connection_arguments(settings)
    while True:
        try:
            return await asyncpg.connect(**arguments, **options)
        except AWAY as error:
            if isinstance(error, _FINAL) or loop.time() + pause_seconds > give_up_at:
                raise DatabaseUnreachableError(
                    f"cannot reach PostgreSQL at {settings.database_url}: {_cause(error)}: "
                    "start it, or correct SLIPWAY_DATABASE_URL, its password or SLIPWAY_DATABASE_CA_FILE"
                ) from error
        # Jitter: many processes that wait for one server must not knock all at once.
        await asyncio.sleep(pause_seconds * random.uniform(0.5, 1))  # noqa: S311 - spreads load, keeps no secret
        pause_seconds = min(1, pause_seconds * 2)


def connection_arguments(settings: ProcessSettings) -> dict[str, Any]:
    """What asyncpg needs to connect as these settings say."""
    return {
        "dsn": settings.database_url,
        # None, not "": asyncpg then looks for PGPASSWORD and a password file, as every PostgreSQL client does.
        "password": settings.database_password.get_secret_value() or None,
        "timeout": settings.database_connect_timeout_seconds,
        "ssl": _tls(settings),
    }


def _tls(settings: ProcessSettings) -> ssl.SSLContext | str:
    """What asyncpg needs as `ssl`: a context that verifies certificate and host name, or a mode that verifies nothing.

    Raises:
        SettingsError: the file with the authorities' certificates cannot be used.
    """
    if not settings.database_tls or all(map(_is_here, _hosts(settings.database_url))):
        return "prefer"
    path = settings.database_ca_file
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:  # ssl.SSLError too
        raise SettingsError(f"SLIPWAY_DATABASE_CA_FILE={path} is no file of certificates: {error.strerror}") from None


def _hosts(url: str) -> list[str]:
    parts = urlsplit(url)
    named = parts.netloc.rpartition("@")[2]
    if not named:
        return parse_qs(parts.query).get("host", [""])[0].split(",")
    return [_without_port(unquote(host)) for host in named.split(",")]


def _without_port(address: str) -> str:
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address if address.startswith("/") else address.partition(":")[0]


def _is_here(host: str) -> bool:
    if host == "localhost" or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _cause(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

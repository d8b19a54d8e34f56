"""A managed PostgreSQL's URL, taken apart."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlsplit

DEFAULT_PORT: Final = 5432
FORM: Final = "postgresql://admin:password@host:5432/postgres"


@dataclass(frozen=True)
class ManagedDatabase:
    """Where a managed PostgreSQL is, and who administers it.

    Args:
        host: its name, which its certificate must carry.
        port: where it listens.
        admin_url: the administrator's address, without the password.
        password: the administrator's.
    """

    host: str
    port: int
    admin_url: str
    password: str


def managed_database(url: str) -> ManagedDatabase:
    """Take apart what the secret `databaseUrl` holds.

    Raises:
        ValueError: it is no such URL; the message does not show it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise ValueError(f"must be {FORM}, but is no URL") from None
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ValueError(f"must be {FORM}, but begins otherwise")
    named = {"host": parts.hostname, "user": parts.username, "password": parts.password}
    if missing := [what for what, there in named.items() if not there]:
        raise ValueError(f"must be {FORM}, but has no {' and no '.join(missing)}")
    if parts.query or parts.fragment or "," in str(parts.hostname) or ":" in str(parts.hostname):
        raise ValueError(f"must be {FORM}, but names several hosts, an IPv6 address or options (TLS is verified)")
    host, user = str(parts.hostname), quote(unquote(str(parts.username)), safe="")
    database = parts.path.strip("/") or "postgres"
    return ManagedDatabase(host, port, f"postgresql://{user}@{host}:{port}/{database}", unquote(str(parts.password)))

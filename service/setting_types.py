"""Settings that are more than a number or a word: each type checks its text, and says in one line what is wrong."""

import ipaddress
import re
from email.utils import parseaddr
from typing import Annotated
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode


def _limit(text: str) -> str:
    from limits import parse_many  # noqa: PLC0415 - the migration job has no limits and need not load the library

    try:
        parsed = parse_many(text)
    except ValueError:
        parsed = []
    if len(parsed) != 1 or parsed[0].amount < 1:
        raise ValueError("must be attempts per time, as 10/minute or 100/15 minutes")
    return text


def _proxies(given: str | tuple[str, ...]) -> tuple[str, ...]:
    entries = tuple(part.strip() for part in given.split(",") if part.strip()) if isinstance(given, str) else given
    for entry in entries:
        try:
            _ = entry == "unix" or ipaddress.ip_network(entry)
        except ValueError:
            raise ValueError(f"{entry} is no network; write 10.0.0.0/8, fd00::/8, 10.0.0.7 or unix") from None
    return entries


def _origins(given: str | tuple[str, ...]) -> tuple[str, ...]:
    entries = tuple(part.strip() for part in given.split(",") if part.strip()) if isinstance(given, str) else given
    for entry in entries:
        parts = urlsplit(entry)
        if parts.scheme not in {"https", "http"} or not parts.hostname or entry != f"{parts.scheme}://{parts.netloc}":
            raise ValueError(f"{entry} is no origin; write https://app.example.com, without a path")
    return entries


def _cache_url(url: str) -> str:
    parts = _address(url, ("unix", "redis", "valkey", "rediss", "valkeys"), "cache_password")
    if unknown := set(parse_qs(parts.query)) - {"db", "ssl_ca_certs"}:
        raise ValueError(f"has a parameter {min(unknown)}, but only db and ssl_ca_certs are known")
    if parts.scheme == "unix" and not parts.path.strip("/"):
        raise ValueError("must name a socket: unix:///path")
    if parts.scheme != "unix" and not (parts.hostname and re.fullmatch(r"/?\d*", parts.path)):
        raise ValueError("must name a host, and a database by its number: redis://host:6379/0")
    return url


def _mail_url(url: str) -> str:
    parts = _address(url, ("outbox", "smtp", "smtps"), "mail_password")
    if parts.scheme == "outbox" and (parts.netloc or not parts.path.strip("/")):
        raise ValueError("must name a folder: outbox:///folder")
    if parts.scheme != "outbox" and not parts.hostname:
        raise ValueError("must name a host: smtp://user@host:587")
    return url


def _sender(text: str) -> str:
    # Looked at no further: the mail server knows whom it lets send.
    if not text.isprintable() or "@" not in parseaddr(text)[1]:
        raise ValueError("must be one address: no-reply@example.com or Name <no-reply@example.com>")
    return text


def _public_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be an address without query and fragment: https://tasks.example.com")
    return url.rstrip("/")


def _address(url: str, schemes: tuple[str, ...], password_setting: str) -> SplitResult:
    if not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        raise ValueError(f"must start with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("is no URL: look at its host and port") from None
    if parts.password is not None:
        raise ValueError(f"holds a password: move it to the secret {password_setting}")
    return parts


Limit = Annotated[str, AfterValidator(_limit)]
"""Attempts per time, in the notation of the library `limits`."""

Proxies = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_proxies)]
"""Networks, and the word `unix`."""

Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)]
"""Schemes with host and port, as browsers write them (RFC 6454, section 6)."""

CacheUrl = Annotated[str, AfterValidator(_cache_url)]
MailUrl = Annotated[str, AfterValidator(_mail_url)]
Sender = Annotated[str, AfterValidator(_sender)]
"""One mailbox, with a name before it or not (RFC 5322, section 3.4)."""

PublicUrl = Annotated[str, AfterValidator(_public_url)]

"""What may not stand side by side in a stack's configuration. Each rule says the key, what is wrong and what may be."""

import re
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urlsplit

from infra.contract import PLACED_SETTINGS, SECRET_SETTINGS
from infra.docker.uptime_configs import mailbox_of
from infra.docker.uptime_rules import ObjectiveError, Objectives
from infra.stack_budget import connection_budget
from infra.stack_keys import SECRETS, Stack

DIGEST = re.compile(r"[\w][\w.\-:/]*@sha256:[0-9a-f]{64}")
DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
MAILBOX = re.compile(r"[^\s{}\"@]+@[^\s{}\"@]+")
VOLUME = re.compile(r"[A-Za-z0-9][\w.-]*")
SETTING = re.compile(r"SLIPWAY_[A-Z][A-Z0-9_]*")
LEAST_REPLICAS: Final = 2
LEAST_DATABASE_MIB: Final = 256


def broken_rules(stack: Stack) -> list[str]:
    """A line for each rule that this configuration breaks; empty where it is fine."""
    return [line for rule in _RULES for line in rule(stack)]


def _names(stack: Stack) -> Iterator[str]:
    if not NAME.fullmatch(stack.environment):
        yield f"environment {stack.environment!r} must be a-z, 0-9 and -, at most 31 letters: rename the stack"
    if stack.database.storage and not VOLUME.fullmatch(stack.database.storage):
        yield f"database.storage {stack.database.storage!r} is no volume's name: use letters, digits, _, . and -"


def _image(stack: Stack) -> Iterator[str]:
    if stack.kind == "dev":
        return
    if stack.image is None:
        yield f"image is not set: {stack.kind} takes a digest only, as registry.example.com/slipway@sha256:..."
    elif not DIGEST.fullmatch(stack.image):
        yield f"image {stack.image!r} is no digest: {stack.kind} takes registry.example.com/slipway@sha256:... only"


def _pinned(stack: Stack) -> Iterator[str]:
    if not stack.production:
        return
    for name in type(stack.images).model_fields:
        reference = str(getattr(stack.images, name))
        if not DIGEST.fullmatch(reference):
            alias = type(stack.images).model_fields[name].alias
            yield f"images.{alias} {reference!r} is no digest: production takes name:tag@sha256:... only"


def _replicas(stack: Stack) -> Iterator[str]:
    if stack.production and stack.api.replicas < LEAST_REPLICAS:
        yield f"api.replicas is {stack.api.replicas}: production keeps {LEAST_REPLICAS} or more"


def _secrets(stack: Stack) -> Iterator[str]:
    external = stack.database.mode == "external"
    needed = {name for name, secret in SECRETS.items() if secret.required}
    needed = needed - {"adminPassword"} | {"databaseUrl"} if external else needed
    missing = [name for name in SECRETS if name in needed - stack.secrets]
    if "databaseUrl" in missing:
        yield "databaseUrl is not set: pulumi config set --secret slipway:databaseUrl, or database.mode container"
    if generated := [name for name in missing if name != "databaseUrl"]:
        yield f"{', '.join(generated)}: not set: slipway init {stack.environment} makes what is missing"
    if "databaseUrl" in stack.secrets and not external:
        yield "databaseUrl is set, but database.mode is container: choose external, or remove it"
    if "mailPassword" in stack.secrets and stack.mail.url.startswith("outbox:"):
        yield "mailPassword is set, but mail.url names no server: choose smtp:// or smtps://, or remove it"
    if "alertMailPassword" in stack.secrets and stack.uptime.alert_mail_to is None:
        yield "alertMailPassword is set, but uptime.alertMailTo is not: say who gets the alerts, or remove it"


def _database(stack: Stack) -> Iterator[str]:
    database = stack.database
    if database.mode == "container" and database.ca_file is not None:
        yield "database.caFile is for mode external: choose external, or remove it"
    if database.mode == "container" and database.memory_mib < LEAST_DATABASE_MIB:
        yield f"database.memoryMib is {database.memory_mib}: PostgreSQL needs {LEAST_DATABASE_MIB} or more"
    if database.mode == "external" and database.storage is not None:
        yield "database.storage is for mode container: choose container, or remove it"
    if database.reserved_connections >= database.max_connections:
        yield f"database.reservedConnections is {database.reserved_connections}: keep it below maxConnections"
    elif not (budget := connection_budget(stack)).fits:
        yield (
            f"database.maxConnections leaves too few connections: {budget.sum_text}: raise maxConnections, or lower "
            "api.replicas, api.workers or api.poolSize"
        )


def _edge(stack: Stack) -> Iterator[str]:
    edge = stack.edge
    if not DOMAIN.fullmatch(edge.domain):
        yield f"edge.domain {edge.domain!r} is no domain name: write it in lower case, as tasks.example.com"
    if edge.https_port == edge.http_port:
        yield f"edge.httpsPort and edge.httpPort are both {edge.https_port}: choose two ports"
    if edge.tls == "internal":
        return
    if "." not in edge.domain or edge.domain.endswith(".localhost") or edge.domain.rpartition(".")[2].isdecimal():
        yield f"edge.tls is automatic, but nobody vouches for {edge.domain}: choose internal, or a public edge.domain"
    if edge.acme_email is None or not MAILBOX.fullmatch(edge.acme_email):
        yield "edge.acmeEmail is not set: Let's Encrypt wants an address for edge.tls automatic; or choose internal"
    if (edge.https_port, edge.http_port) != (443, 80):
        yield "edge.tls is automatic, so Let's Encrypt must reach ports 443 and 80: set httpsPort and httpPort so"
    if edge.replicas > 1:
        yield (
            "edge.replicas: with edge.tls automatic each edge asks for its own certificate, and the answer may reach "
            "another: choose 1, or internal behind a balancer with a certificate"
        )


def _mail(stack: Stack) -> Iterator[str]:
    parts = urlsplit(stack.mail.url)
    if parts.scheme not in {"outbox", "smtp", "smtps"}:
        yield f"mail.url {stack.mail.url!r} has no scheme that is known: choose smtp://, smtps:// or, in dev, outbox://"
    elif parts.scheme == "outbox" and stack.kind != "dev":
        yield f"mail.url is an outbox, which {stack.kind} would lose: choose smtp://user@host:587 or smtps://user@host:465"
    elif parts.password is not None:
        yield "mail.url holds a password: move it to the secret mailPassword"
    elif parts.scheme != "outbox" and not parts.hostname:
        yield f"mail.url {stack.mail.url!r} names no server: write smtp://user@host:587 or smtps://user@host:465"
    if "@" not in stack.mail.sender:
        yield f"mail.from {stack.mail.sender!r} is no address: write no-reply@example.com or Name <me@example.com>"


def _settings(stack: Stack) -> Iterator[str]:
    for name in stack.api.settings:
        if not SETTING.fullmatch(name):
            yield f"api.settings.{name} is no setting of the service: its names begin with SLIPWAY_"
        elif name in SECRET_SETTINGS:
            yield f"api.settings.{name} is a secret: set the stack's key for it, one of {', '.join(SECRETS)}"
        elif name in PLACED_SETTINGS:
            yield f"api.settings.{name} follows from other keys: change those"


def _uptime(stack: Stack) -> Iterator[str]:
    if not stack.uptime.enabled:
        return
    uptime = stack.uptime
    if uptime.public_url is not None and not _is_site(uptime.public_url):
        yield f"uptime.publicUrl {uptime.public_url!r} is no site: write https://tasks.example.com, without a path"
    try:
        Objectives(uptime.availability_percent, uptime.latency_milliseconds, uptime.latency_percent)
    except ObjectiveError as error:
        yield f"uptime: {error}"
    if uptime.alert_mail_to and stack.mail.url.startswith("outbox:"):
        yield "uptime.alertMailTo is set, but mail.url names no server: choose smtp:// or smtps://"
    elif uptime.alert_mail_to:
        try:
            mailbox_of(stack.mail.url, to=uptime.alert_mail_to, sender=stack.mail.sender)
        except ValueError as error:
            yield f"uptime.alertMailTo: {error}"
    if stack.production and not (stack.uptime.alert_mail_to or "alertWebhook" in stack.secrets):
        yield "uptime.alertMailTo and alertWebhook are both not set: production's alerts must reach somebody; set one"


def _is_site(url: str) -> bool:
    parts = urlsplit(url)
    rest = (parts.path.strip("/"), parts.query, parts.fragment, parts.username)
    return parts.scheme == "https" and bool(parts.hostname) and not any(rest)


def _backups(stack: Stack) -> Iterator[str]:
    if stack.backups.url is not None:
        yield "backups.url: object stores are not supported yet: remove it, and the dumps go to a volume"


_RULES: Final[tuple[Callable[[Stack], Iterator[str]], ...]] = (
    _names,
    _image,
    _pinned,
    _replicas,
    _secrets,
    _database,
    _edge,
    _mail,
    _settings,
    _uptime,
    _backups,
)

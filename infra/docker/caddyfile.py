"""The edge's configuration, composed from the stack's. Pure text; Caddy checks it when it starts."""

from dataclasses import dataclass
from typing import Final

HTTPS_TARGET: Final = 8443
HTTP_TARGET: Final = 8080
"""Inside the container: ports that nobody needs a capability for."""
HEALTH_PORT: Final = 2020
BODY_LIMIT: Final = "2MB"
"""Above the service's own body_limit_bytes, so that its clear answer is what clients see; below what would hurt it."""
HEADER_LIMIT: Final = "32KB"
DATA_FOLDER: Final = "/var/tmp/caddy"  # noqa: S108 - a volume; see mounts.py for why there
WAIT_SECONDS: Final = 5
TRY_MILLISECONDS: Final = 100
"""How long a request waits for a replica, and how often it looks for one meanwhile."""
RETRY_SECONDS: Final = 2
"""In Retry-After, where no replica answers: about as long as one takes that is started anew."""

UNTRUSTED_HEADERS: Final = (
    *("Forwarded", "X-Real-IP", "X-Client-IP", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Prefix"),
    *("X-Original-URL", "X-Rewrite-URL", "True-Client-IP", "CF-Connecting-IP", "Fastly-Client-IP"),
)
"""What clients may send to pretend to be somebody or somewhere else. X-Forwarded-For, -Proto and -Host are not among
them: Caddy replaces those by what it saw itself."""

LOG_FORMAT: Final = (
    "format filter {",
    "\twrap json",
    "\tfields {",
    "\t\trequest>headers delete",
    "\t\tresp_headers delete",
    "\t\trequest>uri query {",
    "\t\t\treplace token REDACTED",
    "\t\t\treplace access_token REDACTED",
    "\t\t}",
    "\t}",
    "}",
)
"""Of requests and of errors alike: without what would let a log's reader in, which is tokens, cookies, and queries with
them."""

PROBLEM: Final = (
    '{"type":"about:blank","title":"{err.status_text}","status":{err.status_code},'
    '"detail":"{problem}","request_id":"{err.id}"}'
)
"""As the service's own errors look to clients (RFC 9457). The id stands as `err_id` in the line that says why."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """What the edge serves.

    Args:
        domain: the name that clients use.
        https_port: as published.
        automatic: whether Let's Encrypt vouches for it; else an authority of its own.
        acme_email: whom Let's Encrypt may write to.
        api: DNS name of all replicas.
        api_port: where they listen.
    """

    domain: str
    https_port: int
    automatic: bool
    acme_email: str | None
    api: str
    api_port: int


def caddyfile(site: Site) -> str:
    """The whole configuration, in Caddy's own language (its manual, "Caddyfile concepts")."""
    return "\n".join((_options(site), _redirect(site), _https(site), _health(), ""))


def _options(site: Site) -> str:
    lines = [
        "admin off",
        f"storage file_system {DATA_FOLDER}",
        f"http_port {HTTP_TARGET}",
        f"https_port {HTTPS_TARGET}",
        "auto_https disable_redirects",
        "skip_install_trust",
        "grace_period 10s",
        *([f"email {site.acme_email}"] if site.acme_email else []),
        *_log("default", "exclude http.handlers.reverse_proxy http.log.error"),
        *_log("errors", "include http.log.error", "level DEBUG"),
        "servers {",
        "\tprotocols h1 h2",
        f"\tmax_header_size {HEADER_LIMIT}",
        "\ttimeouts {",
        "\t\tread_header 10s",
        "\t\tread_body 60s",
        "\t\tidle 2m",
        "\t}",
        "}",
    ]
    return _block("", lines)


def _redirect(site: Site) -> str:
    port = "" if site.https_port == 443 else f":{site.https_port}"
    return _block(f"http://{site.domain}", [f"redir https://{site.domain}{port}{{uri}} 308"])


def _https(site: Site) -> str:
    lines = [
        *([] if site.automatic else ["tls internal"]),
        *_access_log(),
        "@unpublished path /metrics /metrics/*",
        "handle @unpublished {",
        "\terror 404",
        "}",
        "handle {",
        "\trequest_body {",
        f"\t\tmax_size {BODY_LIMIT}",
        "\t}",
        *(f"\t{line}" for line in _proxy(site)),
        "}",
        *_errors(),
    ]
    return _block(f"https://{site.domain}", lines)


def _log(name: str, *lines: str) -> list[str]:
    """One of the edge's own logs, on stderr.

    The proxy says at each try of each request that DNS names no replica: that is left out. The request's own error says
    it once; and with a handler of errors, Caddy takes such a line for one of debugging.
    """
    return [f"log {name} {{", "\toutput stderr", *(f"\t{line}" for line in (*lines, *LOG_FORMAT)), "}"]


def _access_log() -> list[str]:
    """One JSON line a request."""
    return ["log {", "\toutput stdout", *(f"\t{line}" for line in LOG_FORMAT), "}"]


def _proxy(site: Site) -> list[str]:
    """To the replicas that DNS names, which are those that Swarm found ready.

    Caddy's own active checks do not run for upstreams that come from DNS; Swarm's checks take their place. Its passive
    ones (`fail_duration`) are left out on purpose: Caddy counts a client's fault, such as an upload broken off, as the
    replica's, so that ten of these a second took the whole service away from everybody. Nor is a 503 a reason to leave
    a replica out (`unhealthy_status`): while the database is away each gives it, at once and with its reason. A replica
    that is lost or hangs is shunned all the same, because whoever waits for it counts as its connection.
    """
    return [
        "reverse_proxy {",
        "\tdynamic a {",
        f"\t\tname {site.api}.",  # complete, so that no search domain of the node's is tried after it
        f"\t\tport {site.api_port}",
        "\t\trefresh 500ms",
        "\t}",
        "\tlb_policy least_conn",
        # A connection that never came about is tried again for every method; one that broke, for these only.
        f"\tlb_try_duration {WAIT_SECONDS}s",
        f"\tlb_try_interval {TRY_MILLISECONDS}ms",
        "\tlb_retry_match {",
        "\t\tmethod GET HEAD",
        "\t}",
        *(f"\theader_up -{header}" for header in UNTRUSTED_HEADERS),
        "\ttransport http {",
        "\t\tdial_timeout 300ms",  # the replicas are near, and the next try may meet another one
        "\t\tkeepalive 30s",  # shorter than the service keeps an idle connection, so that no request meets its end
        "\t\tkeepalive_idle_conns_per_host 64",
        "\t}",
        "}",
    ]


def _errors() -> list[str]:
    """What the edge itself refuses, or cannot do because no replica answers."""
    return [
        "handle_errors {",
        "\tmap {err.status_code} {problem} {",
        '\t\t404 "There is nothing here."',
        '\t\t413 "The body is too large."',
        '\t\t~^50[234]$ "No replica of the service answers: try again in a moment."',
        '\t\tdefault "The request could not be handed to the service."',
        "\t}",
        "\t@away expression `{err.status_code} in [502, 503, 504]`",
        f"\theader @away Retry-After {RETRY_SECONDS}",
        "\theader Content-Type application/problem+json",
        "\theader X-Request-ID {err.id}",
        f"\trespond `{PROBLEM}` {{err.status_code}}",
        "}",
    ]


def _health() -> str:
    """For the container's own check, on loopback only."""
    return _block(f"http://127.0.0.1:{HEALTH_PORT}", ["bind 127.0.0.1", "respond 204"])


def _block(name: str, lines: list[str]) -> str:
    head = f"{name} {{" if name else "{"
    return "\n".join((head, *(f"\t{line}" for line in lines), "}", ""))

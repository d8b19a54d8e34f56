"""Headers that tell a browser what not to do with an answer (OWASP REST Security Cheat Sheet, "Security Headers")."""

from collections.abc import Sequence
from typing import TypeAlias

Headers: TypeAlias = list[tuple[bytes, bytes]]

_HTML = (b"content-type", b"text/html; charset=utf-8")
_CACHE_CONTROL = (b"cache-control", b"private, no-cache")
"""Unless the answer says something else: its data is somebody's, and may have changed."""
_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"vary", b"Accept-Encoding"),
)
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_PAGES_POLICY = (
    b"content-security-policy",
    (
        b"default-src 'none'; frame-ancestors 'none'; connect-src 'self'; "
        b"script-src 'unsafe-inline' https://cdn.jsdelivr.net; style-src 'unsafe-inline' https://cdn.jsdelivr.net; "
        b"img-src 'self' data: https://fastapi.tiangolo.com"
    ),
)
"""For the interactive documentation, our only pages: FastAPI's, with a script of their own and one from a CDN."""
_ONLY_TLS = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")


class SecurityHeaders:
    """The headers of every answer of one application.

    Args:
        behind_tls: clients reach it over TLS, and only so.
    """

    def __init__(self, *, behind_tls: bool) -> None:
        always = (*_ALWAYS, _ONLY_TLS) if behind_tls else _ALWAYS
        self._of_data = (*always, _POLICY)
        self._of_pages = (*always, _PAGES_POLICY)

    def complete(self, headers: Sequence[tuple[bytes, bytes]]) -> Headers:
        """Add to an answer's headers what they lack."""
        more = self._of_pages if _HTML in headers else self._of_data
        for name, _ in headers:
            if name == b"cache-control":
                return [*headers, *more]
        return [*headers, *more, _CACHE_CONTROL]

"""What RFC 9112 asks of a request's head and the parser lets pass: other readers of HTTP might take it for another."""

import re
from collections.abc import Sequence
from functools import lru_cache

from service.errors import ExpectationFailedError, MalformedRequestError, UnknownTransferCodingError

_HOST = re.compile(
    rb"(?:(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*"
    rb"|\[[0-9A-Fa-f:.]+\]|\[v[0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+\])(?::[0-9]*)?"
)
"""A host with or without a port (RFC 9110, section 7.2; RFC 3986, section 3.2.2); it may be empty."""


def require_sound(headers: Sequence[tuple[bytes, bytes]], version: str) -> None:
    """Refuse a head that is none; costs each request a microsecond or two.

    Args:
        headers: names, in lower case, and values.
        version: of HTTP, as the parser has it.

    Raises:
        MalformedRequestError: it is of another version, or says not or not clearly which host it is for (section 3.2).
        UnknownTransferCodingError: its body is encoded in more than chunks (section 6.1).
        ExpectationFailedError: it expects what nobody knows here (RFC 9110, section 10.1.1).
    """
    given = dict(headers)
    twice = _repeated(headers) if len(given) != len(headers) else ()
    host = given.get(b"host")
    if version == "1.1":
        if host is None:
            raise MalformedRequestError("HTTP/1.1 asks for a Host header.")
    elif version != "1.0":
        raise MalformedRequestError
    if b"host" in twice or not (host is None or _is_host(host)):
        raise MalformedRequestError("The Host header must name one host.")
    coding = given.get(b"transfer-encoding")
    if coding is not None and (b"transfer-encoding" in twice or coding.strip().lower() != b"chunked"):
        raise UnknownTransferCodingError
    expected = given.get(b"expect")
    if expected is not None and expected.strip().lower() != b"100-continue":
        raise ExpectationFailedError


def _repeated(headers: Sequence[tuple[bytes, bytes]]) -> set[bytes]:
    names = [name for name, _ in headers]
    return {name for name in names if names.count(name) > 1}


@lru_cache(maxsize=64)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None

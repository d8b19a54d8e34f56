"""The largest request body we take, declared or chunked; anything longer is a 413.

Two limits: one of the whole service, from its settings, and each operation's own (routing.py), which follows from what
its schema allows: who may send an e-mail and a password has no use for a megabyte, and nobody should read it.

Starlette has such a limit, but answers in plain text.
"""

from typing import TYPE_CHECKING, Any

from service.errors import BodyTooLargeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LEAST_BYTES = 16 * 1024
"""What every operation with a body takes, with as many blanks in it as anybody likes."""
_BYTES_PER_CHARACTER = 12  # \ud83d\ude00 is one
_BYTES_PER_VALUE = 64
"""What a number, a moment, a word of an enumeration or an id takes at most, with its name and blanks around it."""


class BodyLimit:
    """Refuses bodies of more than `limit_bytes`, before they are read if their length is declared."""

    def __init__(self, app: "ASGIApp", limit_bytes: int) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one request.

        Raises:
            BodyTooLargeError: now, or where the body is read.
        """
        await self._app(scope, limited(scope, receive, self._limit_bytes), send)


def limited(scope: "Scope", receive: "Receive", limit_bytes: int) -> "Receive":
    """Return where to receive a request from, so that more than this is never read.

    Raises:
        BodyTooLargeError: now, or where the body is read.
    """
    chunked = False
    for name, value in scope.get("headers", ()):  # the lifespan has none
        # The parser lets nothing but digits through, and no more of them than 64 bits hold.
        if name == b"content-length" and int(value) > limit_bytes:
            raise _too_large(limit_bytes)
        chunked = chunked or name == b"transfer-encoding"
    return _counted(receive, limit_bytes) if chunked else receive


def longest_json(schema: "Mapping[str, Any]") -> int:
    """Compute how many bytes the JSON of a value takes in its longest reasonable spelling; `schema` is its schema."""
    definitions = schema.get("$defs", {})

    def longest(part: "Mapping[str, Any]") -> int:
        if "$ref" in part:
            return longest(definitions[part["$ref"].rpartition("/")[2]])
        if "anyOf" in part:
            return max(longest(choice) for choice in part["anyOf"])
        characters: int = part.get("maxLength", 0) * _BYTES_PER_CHARACTER
        fields = sum(longest(field) for field in part.get("properties", {}).values())
        items = part["maxItems"] * longest(part["items"]) if "maxItems" in part else 0
        return _BYTES_PER_VALUE + characters + fields + items

    return longest(schema)


def _too_large(limit_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The body is larger than {limit_bytes} bytes.")


def _counted(receive: "Receive", limit_bytes: int) -> "Receive":
    received_bytes = 0

    async def counted() -> "Message":
        nonlocal received_bytes
        message = await receive()
        received_bytes += len(message.get("body", b""))
        if received_bytes > limit_bytes:
            raise _too_large(limit_bytes)
        return message

    return counted

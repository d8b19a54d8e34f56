"""Conditional requests (RFC 9110, section 13): no lost update, and no body that the client already has."""

import hashlib
import re
from typing import Annotated

from fastapi import Header
from starlette.requests import Request
from starlette.responses import Response

from service.errors import MalformedHeaderError

_BLANKS = " \t"
_TAG = re.compile(r'(?:W/)?"[!#-~\x80-\xff]*"')
_LIST = re.compile(rf"[ \t,]*{_TAG.pattern}(?:[ \t]*,[ \t,]*{_TAG.pattern})*[ \t,]*")
"""Entity tags (RFC 9110, section 8.8.3) with commas between; empty elements are allowed (section 5.6.1)."""
_OURS = re.compile(r'"[1-9][0-9]{0,8}"')

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=1000,
        description="ETag of the version that the change is meant for; another one is answered with 412",
    ),
]


def etag(version: int) -> str:
    """The ETag of a version of a row."""
    return f'"{version}"'


def versions_of(if_match: str | None) -> list[int] | None:
    """The versions that an If-Match accepts; None for every one.

    Tags that we never gave out, weak ones among them, match nothing: strong comparison, as the RFC asks here.

    Raises:
        MalformedHeaderError: it is neither * nor a list of entity tags.
    """
    if if_match is None or if_match.strip(_BLANKS) == "*":
        return None
    tags = _tags(if_match)
    if tags is None:
        raise MalformedHeaderError('If-Match must be * or entity tags, as "3" or "3", "4".')
    return [int(tag[1:-1]) for tag in tags if _OURS.fullmatch(tag)]


def versioned(request: Request, version: int, view: str) -> Response:
    """Answer with a row's JSON and its version as ETag, or with 304 to a client that has just this version."""
    return _conditional(request, etag(version), view)


def written(version: int, view: str) -> Response:
    """Answer with the JSON of a row that was just written and its version as ETag."""
    return Response(view, headers={"ETag": etag(version)}, media_type="application/json")


def digested(request: Request, view: str) -> Response:
    """Answer with the JSON of a list and its digest as ETag, or with 304 to a client that has just this list.

    The tag is weak: it stands for what the list says, in whatever encoding (compressed, say) it says it.
    """
    return _conditional(request, f'W/"{hashlib.sha256(view.encode()).hexdigest()[:32]}"', view)


def _conditional(request: Request, tag: str, view: str) -> Response:
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    known = ",".join(value.decode("latin-1") for name, value in request.scope["headers"] if name == b"if-none-match")
    if known and _is_known(tag, known):
        return Response(status_code=304, headers=headers)
    return Response(view, headers=headers, media_type="application/json")


def _is_known(tag: str, if_none_match: str) -> bool:
    """Whether a client has what a tag stands for, by weak comparison; what is malformed says nothing."""
    if if_none_match.strip(_BLANKS) == "*":
        return True
    return tag.removeprefix("W/") in [known.removeprefix("W/") for known in _tags(if_none_match) or ()]


def _tags(listed: str) -> list[str] | None:
    """The entity tags of a list; None if it is none."""
    return _TAG.findall(listed) if _LIST.fullmatch(listed) else None

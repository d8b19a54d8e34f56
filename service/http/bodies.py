"""Bodies of requests, from bytes to fields: what costs much to read is refused by a look at the bytes."""

from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from service.errors import InvalidInputError, UnsupportedCodingError, UnsupportedMediaTypeError

_MOST_FORM_FIELDS = 20
_MOST_JSON_VALUES = 10_000
_FEW_BYTES = 32 * 1024
"""A body of this size is read in a millisecond or two, whatever it holds."""


async def json_body(request: Request) -> bytes:
    """Return a body that is said to be JSON.

    Raises:
        UnsupportedMediaTypeError: it is said to be something else.
        InvalidInputError: it has more values than anything that is taken here.
    """
    _require(request, "application/json")
    body = await request.body()
    if len(body) > _FEW_BYTES and _counts_more_values(body):
        raise InvalidInputError.of("body", f"has more than {_MOST_JSON_VALUES} values")
    return body


async def form_body(request: Request) -> dict[str, str]:
    """Return the fields of a form, decoded as browsers encode them (https://url.spec.whatwg.org/#urlencoded-parsing).

    Raises:
        UnsupportedMediaTypeError: the body is said to be something else.
        InvalidInputError: it has too many fields, or bytes that are no UTF-8.
    """
    _require(request, "application/x-www-form-urlencoded")
    try:
        text = (await request.body()).decode()
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FORM_FIELDS, errors="strict"))
    except UnicodeDecodeError:
        raise InvalidInputError.of("body", "is not UTF-8") from None
    except ValueError:
        raise InvalidInputError.of("body", f"has more than {_MOST_FORM_FIELDS} fields") from None


def _counts_more_values(body: bytes) -> bool:
    """Whether there are more commas and brackets outside of strings than JSON of so many values has.

    Pydantic reads a megabyte of text in a millisecond, one of empty arrays in sixty, and nobody else is served
    meanwhile. Each step here passes over the bytes at the speed of memory.
    """
    if _separators(body) <= _MOST_JSON_VALUES:
        return False
    strings = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if strings.count(b'"') > 2 * _MOST_JSON_VALUES:
        return True
    return _separators(b"".join(strings.split(b'"')[::2])) > _MOST_JSON_VALUES


def _separators(body: bytes) -> int:
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _require(request: Request, media_type: str) -> None:
    headers: Any = request.headers
    sent, _, parameters = headers.get("content-type", "").partition(";")
    if sent.strip().lower() != media_type:
        raise UnsupportedMediaTypeError(f"The body must be {media_type}.")
    if parameters:
        for parameter in parameters.lower().split(";"):
            name, _, value = parameter.partition("=")
            if name.strip() == "charset" and value.strip().strip('"') not in {"utf-8", "utf8"}:
                raise UnsupportedMediaTypeError("The body must be in UTF-8.")
    if headers.get("content-encoding", "identity").strip().lower() not in {"identity", ""}:
        raise UnsupportedCodingError

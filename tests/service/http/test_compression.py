import gzip
from collections.abc import Sequence
from typing import Any

import pytest

from service.http.compression import Gzip

JSON = (b"content-type", b"application/json")
LONG = b'{"items":[' + b'"the same again",' * 500 + b'""]}'


async def answered(
    asked: bytes | None, *pieces: bytes, headers: Sequence[tuple[bytes, bytes]] = (), status: int = 200
) -> tuple[dict[bytes, bytes], bytes, int]:
    """Headers, body and number of messages of an answer of these pieces, to a client that accepts `asked`."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        length = [] if len(pieces) > 1 else [(b"content-length", str(len(pieces[0])).encode())]
        await send({"type": "http.response.start", "status": status, "headers": [JSON, *length, *headers]})
        for number, piece in enumerate(pieces, 1):
            await send({"type": "http.response.body", "body": piece, "more_body": number < len(pieces)})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": [] if asked is None else [(b"accept-encoding", asked)]}
    await Gzip(app)(scope, None, send)  # type: ignore[arg-type]
    return dict(sent[0]["headers"]), b"".join(message["body"] for message in sent[1:]), len(sent)


@pytest.mark.parametrize("asked", [b"gzip", b"deflate, gzip;q=0.5, br", b"GZIP", b"gzip; q=1.0"])
async def test_compresses_for_who_asks(asked: bytes) -> None:
    headers, body, _ = await answered(asked, LONG)
    assert headers[b"content-encoding"] == b"gzip"
    assert int(headers[b"content-length"]) == len(body) < len(LONG) / 10
    assert gzip.decompress(body) == LONG


@pytest.mark.parametrize("asked", [None, b"", b"br", b"identity", b"gzip;q=0", b"gzip;q=0.000", b"xgzip"])
async def test_leaves_it_for_who_does_not(asked: bytes | None) -> None:
    headers, body, _ = await answered(asked, LONG)
    assert b"content-encoding" not in headers
    assert body == LONG
    assert int(headers[b"content-length"]) == len(LONG)


@pytest.mark.parametrize(
    "header",
    [
        (b"cache-control", b"no-store"),  # a secret
        (b"cache-control", b"private, no-store"),
        (b"etag", b'"3"'),  # of these very bytes
        (b"content-encoding", b"br"),
    ],
)
async def test_leaves_what_must_not_be_compressed(header: tuple[bytes, bytes]) -> None:
    assert (await answered(b"gzip", LONG, headers=[header]))[1] == LONG


async def test_leaves_what_is_short() -> None:
    assert (await answered(b"gzip", LONG[:500]))[1] == LONG[:500]
    assert (await answered(b"gzip", b"", status=304))[1] == b""


async def test_a_weak_tag_stays_good() -> None:
    headers, body, _ = await answered(b"gzip", LONG, headers=[(b"etag", b'W/"3"')])
    assert headers[b"etag"] == b'W/"3"'
    assert gzip.decompress(body) == LONG


async def test_compresses_pieces_as_they_come() -> None:
    pieces = [LONG, b"", b"x" * 1_000_000, LONG]
    headers, body, messages = await answered(b"gzip", *pieces)
    assert messages == 1 + len(pieces)
    assert b"content-length" not in headers
    assert gzip.decompress(body) == b"".join(pieces)

"""Kept connections against servers that answer, hang up and talk nonsense."""

import asyncio
from typing import Any

import pytest

from loadtests.connection import request_bytes
from loadtests.exchange import Exchanges
from loadtests.journeys import Request
from tests.loadtests.canned import BODY, serving

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


async def ask(exchanges: Exchanges, times: int = 1) -> list[tuple[int, bytes, str]]:
    request = request_bytes(Request("me", "GET", "/"), exchanges.netloc)
    told = []
    for _ in range(times):
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await exchanges.ask(request, lambda *all_of_it, it=answer: it.set_result(all_of_it))
        status, body, _, error = await answer
        told.append((status, body, error))
    return told


def asked(url: str, times: int = 1) -> list[tuple[int, bytes, str]]:
    async def all_of_it() -> list[tuple[int, bytes, str]]:
        exchanges = Exchanges(url)
        try:
            return await ask(exchanges, times)
        finally:
            exchanges.close()

    return asyncio.run(all_of_it())


def test_answers_come_whole_over_a_kept_connection() -> None:
    with serving(pieces=5) as url:
        assert asked(url, 3) == [(200, BODY, "")] * 3
    with serving(answer=CHUNKED) as url:
        assert asked(url, 2) == [(200, b"abcde", "")] * 2


def test_a_connection_that_ends_after_its_answer_is_no_failure() -> None:
    closing = b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    with serving(answer=closing, close_after=1) as url:
        assert asked(url, 3) == [(201, b"ok", "")] * 3


@pytest.mark.parametrize(
    ("attributes", "error"),
    [
        ({"answer": b"what?\r\n\r\n"}, "HttpParserInvalidStatusLineError|HttpParserError"),
        ({"answer": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "close_after": 1}, "connection closed"),
    ],
)
def test_what_is_no_answer_has_a_name(attributes: dict[str, Any], error: str) -> None:
    with serving(**attributes) as url:
        [(status, _, told)] = asked(url)
    assert status == 0
    assert told in error.split("|")


def test_refused_and_expired_requests_have_names() -> None:
    assert asked("http://127.0.0.1:9") == [(0, b"", "ConnectionRefusedError")]

    async def expire(url: str) -> tuple[int, bytes, str]:
        exchanges = Exchanges(url)
        waiting = asyncio.create_task(ask(exchanges))
        await asyncio.sleep(0.2)
        exchanges.expire(before=float("inf"))
        [told] = await waiting
        return told

    with serving(answer=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf") as url:
        assert asyncio.run(expire(url)) == (0, b"", "timeout")

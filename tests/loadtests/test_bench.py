import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import uvloop

from loadtests.bench import BenchError, measure, requests_per_second

BODY = b'{"items":[]}' * 400


class Canned(asyncio.Protocol):
    """Answers whatever comes with the same bytes, in as many pieces as asked for."""

    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    pieces = 1
    close_after = 0

    def write(self, rest: bytes, size: int) -> None:
        if not self.transport.is_closing():
            self.transport.write(rest[:size])
            if len(rest) > size:
                asyncio.get_running_loop().call_later(0.002, self.write, rest[size:], size)

    def connection_made(self, transport: Any) -> None:
        self.transport, self.answered = transport, 0

    def data_received(self, data: Any) -> None:
        assert data.startswith(b"GET /api/v1/tasks")
        assert b"\r\nAuthorization: Bearer secret\r\n" in data
        self.write(self.answer, -(-len(self.answer) // self.pieces))
        self.answered += 1
        if self.close_after and self.answered >= self.close_after:
            self.transport.close()


@contextmanager
def serving(**attributes: Any) -> Iterator[str]:
    loop = uvloop.new_event_loop()
    protocol = type("Answering", (Canned,), attributes)
    server = loop.run_until_complete(loop.create_server(protocol, "127.0.0.1", 0))
    port = cast("asyncio.Server", server).sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def rate(url: str, **options: Any) -> Any:
    return uvloop.run(requests_per_second(url, "/api/v1/tasks?limit=20", "secret", 0.3, **options))


def test_counts_answers() -> None:
    with serving() as url:
        assert rate(url) > 1_000


@pytest.mark.parametrize("pieces", [2, 3, 7])
def test_answers_may_come_in_pieces(pieces: int) -> None:
    with serving(pieces=pieces) as url:
        assert 20 < rate(url, connections=2) < 2 / (0.002 * (pieces - 1)) * 1.1


def test_a_faster_server_has_a_higher_ratio_and_the_core_is_given_back() -> None:
    before = os.sched_getaffinity(0)
    with serving(pieces=9) as slow, serving() as fast:
        found = measure(
            {"ours": slow, "ceiling": fast}, token="secret", task_id="t", rounds=3, seconds=0.1, core=min(before)
        )
    assert os.sched_getaffinity(0) == before
    assert set(found) == {"list_20", "get_one"}
    for one in found.values():
        assert 0 < one["low"] <= one["ratio"] <= one["high"] < 0.9
        assert one["ours_rps"] < one["ceiling_rps"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "401 Unauthorized"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "without Content-Length"),
    ],
)
def test_anything_but_200_fails(answer: bytes, words: str) -> None:
    with serving(answer=answer) as url, pytest.raises(BenchError, match=words):
        rate(url)


def test_a_broken_connection_fails() -> None:
    with serving(close_after=3) as url, pytest.raises(BenchError, match="closed a connection in use"):
        rate(url)


def test_no_answer_fails() -> None:
    with serving(answer=b"") as url, pytest.raises(BenchError, match="not one answer"):
        rate(url)


def test_no_server_fails() -> None:
    with pytest.raises(BenchError, match="cannot be reached"):
        rate("http://127.0.0.1:1")

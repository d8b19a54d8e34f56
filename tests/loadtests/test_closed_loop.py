"""The client of the measurements, against servers that answer well, in pieces, wrongly, or not at all."""

from typing import Any

import pytest
import uvloop

from loadtests.closed_loop import ClosedLoopError, latencies_ms, requests_per_second
from loadtests.journeys import Request
from tests.loadtests.canned import serving

LIST = Request("list_20", "GET", "/api/v1/tasks?limit=20", token="secret")


def rate(url: str, *, connections: int = 16, request: Request = LIST) -> Any:
    return uvloop.run(requests_per_second(url, [request] * connections, 0.3))


def test_counts_answers() -> None:
    with serving() as url:
        assert rate(url) > 1_000


def test_each_connection_sends_its_own_request() -> None:
    seen: set[bytes] = set()
    requests = [Request("get", "GET", "/api/v1/tasks", token=f"token-{number}") for number in range(5)]
    with serving(seen=seen) as url:
        uvloop.run(requests_per_second(url, requests, 0.2))
    assert len(seen) == 5
    for number in range(5):
        assert sum(b"Authorization: Bearer token-%d\r\n" % number in one for one in seen) == 1


def test_one_connection_sends_requests_in_turn_and_times_them() -> None:
    seen: set[bytes] = set()
    requests = [Request("get", "GET", f"/api/v1/tasks?q={number}", token="secret") for number in range(3)]
    with serving(pieces=3, seen=seen) as url:
        latencies = uvloop.run(latencies_ms(url, requests, 0.3))
    assert {one.partition(b" HTTP")[0][-1:] for one in seen} == {b"0", b"1", b"2"}
    assert latencies.min() > 2
    assert 10 <= len(latencies) <= 150


def test_a_body_is_sent_and_another_status_expected() -> None:
    seen: set[bytes] = set()
    request = Request("create", "POST", "/api/v1/tasks", 201, "secret", '{"title": "你"}')
    with serving(answer=b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}", seen=seen) as url:
        assert rate(url, request=request) > 1_000
    [sent] = seen
    assert b"\r\nContent-Length: 16\r\n" in sent
    assert sent.endswith('\r\n\r\n{"title": "你"}'.encode())


@pytest.mark.parametrize("pieces", [2, 3, 7])
def test_answers_may_come_in_pieces(pieces: int) -> None:
    with serving(pieces=pieces) as url:
        assert 20 < rate(url, connections=2) < 2 / (0.002 * (pieces - 1)) * 1.1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "401 Unauthorized"),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", "201 Created' instead of 200"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "without Content-Length"),
    ],
)
def test_anything_but_what_is_expected_fails(answer: bytes, words: str) -> None:
    with serving(answer=answer) as url, pytest.raises(ClosedLoopError, match=words):
        rate(url)


def test_a_broken_connection_fails() -> None:
    with serving(close_after=3) as url, pytest.raises(ClosedLoopError, match="closed a connection in use"):
        rate(url)


def test_no_answer_fails() -> None:
    with serving(answer=b"") as url, pytest.raises(ClosedLoopError, match="not one answer"):
        rate(url)


def test_no_server_fails() -> None:
    with pytest.raises(ClosedLoopError, match="cannot be reached"):
        rate("http://127.0.0.1:1")

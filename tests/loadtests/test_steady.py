"""The steady reader against servers that answer, refuse, hang up and hang."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.recorder import Samples, read_samples
from loadtests.steady import SAMPLES
from tests.loadtests.canned import serving
from tests.loadtests.conftest import ROOT

PROBLEM = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: 2\r\n"


@contextmanager
def reading(url: str, record: Path, rate: float = 100) -> Iterator[Any]:
    """A reader at work for as long as the block lasts; its samples are there afterwards."""
    record.mkdir()
    requests = [
        {"kind": kind, "path": f"/api/v1/{kind}", "token": f"token of {kind}"} for kind in ("list_20", "get_one")
    ]
    (record / "requests.json").write_text(json.dumps(requests))
    options = ("--host", url, "--requests", record / "requests.json", "--record", record, "--rate", str(rate))
    with subprocess.Popen([sys.executable, "-m", "loadtests.steady", *options], cwd=ROOT) as reader:
        deadline = time.monotonic() + 20
        while not (record / SAMPLES).exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield
        reader.terminate()
        assert reader.wait(timeout=15) == 0


def read(url: str, record: Path, seconds: float = 1.0) -> Samples:
    with reading(url, record):
        time.sleep(seconds)
    return read_samples(record / SAMPLES)


def test_asks_in_turn_at_its_rate_over_kept_and_new_connections(tmp_path: Path) -> None:
    seen: set[bytes] = set()
    with serving(seen=seen) as url:
        samples = read(url, tmp_path / "record")
    assert samples.done == {"failure": "", "arrivals": len(samples)}
    assert len(samples) >= 80
    assert np.diff(np.sort(samples.columns["start_us"])).tolist() == [10_000] * (len(samples) - 1)
    assert len(samples.succeeded()) == len(samples)
    assert abs(len(samples.of_kind("list_20")) - len(samples.of_kind("get_one"))) <= 1
    assert sorted(b"Authorization: Bearer token of list_20" in one for one in seen) == [False, True]
    assert abs(samples.head["began_at"] - time.monotonic()) < 60


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (PROBLEM + b"Retry-After: 1\r\n\r\n{}", "status 503"),
        (PROBLEM + b"\r\n{}", "status 503 without Retry-After"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "status 500 without problem+json"),
        (b"what?\r\n\r\n", "ValueError"),
    ],
)
def test_tells_what_is_wrong_with_an_answer(tmp_path: Path, answer: bytes, error: str) -> None:
    with serving(answer=answer) as url:
        samples = read(url, tmp_path / "record", 0.4)
    assert {samples.errors[code] for code in samples.columns["error"]} == {error}


def test_a_refused_and_a_cut_connection_have_names(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    samples = read(nobody, tmp_path / "refused", 0.4)
    assert {samples.errors[code] for code in samples.columns["error"]} == {"ConnectionRefusedError"}
    with serving(answer=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", close_after=1) as url:
        samples = read(url, tmp_path / "cut", 0.4)
    assert {samples.errors[code] for code in samples.columns["error"]} <= {
        "IncompleteReadError",
        "ConnectionResetError",
    }


def test_a_connection_that_the_server_ends_between_requests_is_no_failure(tmp_path: Path) -> None:
    with serving(close_after=3) as url:
        samples = read(url, tmp_path / "record")
    assert len(samples.succeeded()) == len(samples)
    told = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    with serving(answer=told, close_after=1) as url:
        samples = read(url, tmp_path / "told")
    assert len(samples.succeeded()) == len(samples)


def test_a_standstill_is_seen_by_every_request_that_it_lasts(tmp_path: Path) -> None:
    """Open loop: 50 requests are due in half a second, and each has waited since then."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with reading(url, tmp_path / "record"):
            time.sleep(0.5)
            thread = threading.Thread(target=answer_all, args=(listener,))
            thread.start()
            time.sleep(0.5)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    samples = read_samples(tmp_path / "record" / SAMPLES)
    latencies_ms = samples.columns["latency_us"] / 1e3
    assert len(samples.succeeded()) == len(samples)
    assert latencies_ms.max() > 350
    waited = np.sort(latencies_ms)[::-1]
    assert (waited > 100).sum() >= 20


def answer_all(listener: socket.socket) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=answer_one, args=(client,), daemon=True).start()


def answer_one(client: socket.socket) -> None:
    with client:
        while client.recv(4096):
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

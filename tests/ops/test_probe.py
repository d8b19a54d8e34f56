import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.layout import Layout
from loadtests.recorder import Recorder, read_samples
from ops.probe import ACCOUNTS, Probe, counted


class Service:
    """As much of the API as the probe asks; `broken` makes every change of a task fail."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.broken = False
        self.refuses = False


@pytest.fixture
def service() -> Iterator[tuple[str, Service]]:
    told = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            what = (
                f"{self.command} {self.path.split('?')[0].removeprefix('/api/v1').rpartition('/task-')[0] or self.path}"
            )
            told.asked[what] += 1
            status, content = 200, {"access_token": "t", "expires_in": 900, "id": "task-1", "items": []}
            if self.command == "POST" and not self.path.endswith("login"):
                status = 429 if told.refuses else 201
            if self.command == "PATCH" and told.broken:
                status = 502
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if status < 400 else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def probed(url: str, folder: Path, seconds: float = 1.5) -> dict[str, Any]:
    layout = Layout(folder, "dev")
    layout.home.mkdir(parents=True, exist_ok=True)
    record = layout.home / f"record-{time.monotonic_ns()}"
    record.mkdir()
    with Probe(layout, url, None, record) as probe:
        assert not probe.result or "problem" in probe.result
        probe.begin()
        time.sleep(seconds)
    return probe.result


def test_it_reads_and_writes_and_counts_and_keeps_its_accounts(service: tuple[str, Service], tmp_path: Path) -> None:
    url, told = service
    result = probed(url, tmp_path)
    assert result["failed"] == 0
    assert result["requests"] > 100
    assert result["new_connections"] >= result["requests"] // 10
    assert result["outage_ms"] == 0
    assert told.asked["POST /api/v1/auth/register"] == ACCOUNTS
    assert 0.2 < sum(count for what, count in told.asked.items() if "PATCH" in what) / result["requests"] < 0.3
    kept = tmp_path / ".slipway" / "dev" / "probe.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    told.broken = True
    result = probed(url, tmp_path)
    assert told.asked["POST /api/v1/auth/register"] == ACCOUNTS  # the same accounts, with the same tokens
    assert list(result["failures"]) == ["update: status 502 without problem+json"]
    assert result["failed"] == result["failures"]["update: status 502 without problem+json"] > 10
    assert result["outage_ms"] > 500


def test_a_probe_that_cannot_begin_says_why(service: tuple[str, Service], tmp_path: Path) -> None:
    url, told = service
    told.refuses = True
    assert "429" in probed(url, tmp_path, seconds=0)["problem"]
    assert "the probe could not begin: " in probed("http://127.0.0.1:9", tmp_path, seconds=0)["problem"]


def test_no_requests_are_no_result_to_divide_by(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "samples.bin", {"began_at": 0.0})
    recorder.close({})
    result = counted(read_samples(tmp_path / "samples.bin"))
    assert (result["requests"], result["failed"], result["p99_ms"]) == (0, 0, None)


def test_where_nothing_changes_nobody_asks(service: tuple[str, Service], tmp_path: Path) -> None:
    url, told = service
    layout = Layout(tmp_path, "dev")
    layout.home.mkdir(parents=True)
    with Probe(layout, url, None, tmp_path) as probe:
        before = told.asked.total()
    assert probe.result == {}
    assert told.asked.total() == before

"""The image's HEALTHCHECK, against a real API and against everything that is none."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.contract import (
    DEFAULT_PORT,
    HEALTH_PATIENCE_SECONDS,
    HEALTH_WATCHED_SECONDS,
    LIVE_PATH,
    READY_PATH,
)
from service import healthcheck
from tests.ports import unused_port
from tests.service.conftest import ROOT, Host
from tests.service.processes import Api

READY = b'HTTP/1.1 200 OK\r\n\r\n{"status":"ready"}'
ALIVE = b'HTTP/1.1 200 OK\r\n\r\n{"status":"ok"}'
UNAVAILABLE = b'HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n\r\n{"status":"unavailable"}'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this container remembers that it was ready."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def ready_since(folder: Path, port: int, seconds: float) -> None:
    """Make it a container that was first ready so long ago."""
    mark = folder / f"slipway-ready-{port}"
    mark.touch()
    at = time.time() - seconds
    os.utime(mark, (at, at))


def check(*words: str, **variables: str) -> tuple[int, str]:
    """The program as the image runs it: exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "service.healthcheck", *words],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()


@contextlib.contextmanager
def answering(answer: bytes, *, wait_seconds: float = 0) -> Iterator[int]:
    """A server that answers everybody, after a while, with these bytes; its port."""
    with answering_in_turn(lambda _: answer, wait_seconds=wait_seconds) as port:
        yield port


@contextlib.contextmanager
def answering_in_turn(answer: Callable[[str], bytes], *, wait_seconds: float = 0) -> Iterator[int]:
    """A server that asks what to answer, by path, each time that it is asked; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        path = connection.recv(1024).split(b" ")[1].decode()
                        time.sleep(wait_seconds)
                        connection.sendall(answer(path))

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_ready_api_is_healthy_and_a_stopped_one_is_not(host: Host, shared_database: str) -> None:
    port = unused_port()
    with tempfile.TemporaryDirectory(prefix="slipway-api-") as folder:  # short: it holds a socket
        environment = host.environment("api", shared_database)
        api = Api(Path(folder), ROOT, environment, workers=1, listen_also=(f"127.0.0.1:{port}",))
        api.start()
        try:
            api.ready()
            code, said = check(str(port))
            assert code == 0, said
            assert said.startswith('200 {"status":"ready"')
            assert check(PORT=str(port))[0] == 0
        finally:
            api.stop()
    assert check(str(port)) == (1, f"no answer from 127.0.0.1:{port}: Connection refused")


def test_what_is_down_is_said(folder: Path) -> None:
    with answering(UNAVAILABLE) as port:
        ready_since(folder, port, 1)
        assert check(str(port)) == (1, '503 {"status":"unavailable"}')


def test_one_that_starts_is_waited_for(folder: Path) -> None:
    answers = [UNAVAILABLE] * 3
    with answering_in_turn(lambda _: answers.pop() if answers else READY) as port:
        assert healthcheck.main([str(port)]) == 0
        assert not answers
        assert (folder / f"slipway-ready-{port}").exists()


def test_one_that_was_ready_gets_a_second_question_and_no_more(folder: Path) -> None:
    answers = [UNAVAILABLE]
    with answering_in_turn(lambda _: answers.pop() if answers else READY) as port:
        ready_since(folder, port, 1)
        assert healthcheck.main([str(port)]) == 0
    with answering(UNAVAILABLE) as port:
        ready_since(folder, port, 1)
        began = time.monotonic()
        assert healthcheck.main([str(port)]) == 1
        assert time.monotonic() - began < healthcheck.STARTS.patience_seconds / 2


@pytest.mark.parametrize("seconds", [0, HEALTH_WATCHED_SECONDS - 5])
def test_a_new_replica_has_to_stay_ready(seconds: int, folder: Path) -> None:
    with answering_in_turn(lambda path: ALIVE if path == LIVE_PATH else UNAVAILABLE) as port:
        ready_since(folder, port, seconds)
        assert healthcheck.main([str(port)]) == 1


def test_an_old_replica_has_to_live_only(folder: Path) -> None:
    """Without its database it says 503 to its clients; nobody restarts it for that."""
    with answering_in_turn(lambda path: ALIVE if path == LIVE_PATH else UNAVAILABLE) as port:
        ready_since(folder, port, HEALTH_WATCHED_SECONDS + 1)
        began = time.monotonic()
        assert check(str(port)) == (0, '200 {"status":"ok"}')
        assert time.monotonic() - began >= healthcheck.LIVES.least_seconds, "all is well: no need to hurry"
    code, said = check(str(port))
    assert code == 1
    assert "Connection refused" in said


def test_the_first_readiness_is_what_counts(folder: Path) -> None:
    with answering(READY) as port:
        ready_since(folder, port, 5)
        before = (folder / f"slipway-ready-{port}").stat().st_mtime
        assert healthcheck.main([str(port)]) == 0
        assert (folder / f"slipway-ready-{port}").stat().st_mtime == before


def test_without_a_place_to_remember_it_readiness_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/proc/nowhere")
    with answering(READY) as port:
        assert healthcheck.main([str(port)]) == 0


def test_no_question_takes_longer_than_docker_waits() -> None:
    for each in (healthcheck.STARTS, healthcheck.WATCHED, healthcheck.LIVES):
        assert each.patience_seconds + each.answer_seconds < HEALTH_PATIENCE_SECONDS


def test_who_does_not_answer_in_time_is_not_healthy(folder: Path) -> None:
    with answering(READY, wait_seconds=1.5) as port:
        ready_since(folder, port, 1)
        began = time.monotonic()
        assert healthcheck.main([str(port)]) == 1
        assert time.monotonic() - began < 1.4


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1"])
def test_what_speaks_no_http_is_not_healthy(answer: bytes, folder: Path) -> None:
    with answering(answer) as port:
        ready_since(folder, port, 1)
        code, said = check(str(port))
    assert code == 1
    assert said.startswith(f"127.0.0.1:{port} speaks no HTTP")


@pytest.mark.parametrize("words", [("0",), ("65536",), ("http",), ("-1",), ("80", "81")])
def test_a_wrong_port_is_wrong_usage(words: tuple[str, ...]) -> None:
    code, said = check(*words)
    assert code == 2
    assert "give one port" in said


def test_it_asks_where_the_contract_says() -> None:
    assert (healthcheck.DEFAULT_PORT, healthcheck.READY_PATH, healthcheck.LIVE_PATH) == (
        DEFAULT_PORT,
        READY_PATH,
        LIVE_PATH,
    )
    assert healthcheck.WATCHED_SECONDS == HEALTH_WATCHED_SECONDS


def test_it_loads_next_to_nothing() -> None:
    """It runs every few seconds in every replica."""
    program = "import sys; before = set(sys.modules); import service.healthcheck; print(*set(sys.modules) - before)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {program}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert len(loaded) < 25, sorted(loaded)
    assert {name for name in loaded if name.startswith("service")} == {"service", "service.healthcheck"}

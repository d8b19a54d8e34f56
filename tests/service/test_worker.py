"""The workers' end, with a real gunicorn: a switch that no client notices, and no orphan."""

import asyncio
import os
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.ports import unused_port
from tests.service.conftest import ROOT, Host
from tests.service.processes import Api


@contextmanager
def serving(host: Host, database: str, *, variables: dict[str, str] | None = None, **options: Any) -> Iterator[Api]:
    """An API that is ready."""
    with tempfile.TemporaryDirectory(prefix="slipway-api-") as folder:  # short: it holds a socket
        api = Api(Path(folder), ROOT, host.environment("api", database, **(variables or {})), **options)
        api.start()
        try:
            api.ready()
            yield api
        finally:
            api.stop()


@pytest.fixture
def api(host: Host, shared_database: str) -> Iterator[Api]:
    """An API that is ready, with two workers."""
    with serving(host, shared_database) as api:
        yield api


def until(condition: Callable[[], bool], timeout_seconds: float = 60) -> None:
    """Wait for a condition."""
    give_up_at = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


class Load:
    """Clients that keep connections and clients that make new ones, and what went wrong for them."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self.answers: Counter[int] = Counter()
        self.failures: list[str] = []
        self.closes = 0
        self.stopping = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask for as long as the block lasts; nothing may go wrong."""
        clients = [self._keep(pause_seconds) for pause_seconds in (0.01, 0.05, 0.2, 0.4)]
        clients += [self._renew(pause_seconds) for pause_seconds in (0.02, 0.05)]
        tasks = [asyncio.create_task(client) for client in clients]
        await asyncio.sleep(0.3)
        yield
        self.stopping = True
        await asyncio.gather(*tasks)
        assert self.failures == []
        assert set(self.answers) == {200}  # readiness too: nobody is sent away from a replica that goes on

    async def _keep(self, pause_seconds: float) -> None:
        """Ask again and again on one connection, for as long as it is kept."""
        async with self._client() as http:
            while not self.stopping:
                await self._ask(http, "/version")
                await asyncio.sleep(pause_seconds)

    async def _renew(self, pause_seconds: float) -> None:
        """Ask on a new connection each time."""
        while not self.stopping:
            async with self._client() as http:
                await self._ask(http, "/health/ready")
            await asyncio.sleep(pause_seconds)

    def _client(self) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(uds=str(self._socket), verify=False)
        return httpx.AsyncClient(transport=transport, base_url="http://api", timeout=10)

    async def _ask(self, http: httpx.AsyncClient, path: str) -> None:
        try:
            answer = await http.get(path)
            self.answers[answer.status_code] += 1
            self.closes += answer.headers.get("connection") == "close"
        except httpx.HTTPError as error:
            self.failures.append(repr(error))


async def test_switch_under_load_fails_no_request(api: Api) -> None:
    load, old = Load(api.socket), api.process
    async with load.running():
        os.kill(old.pid, signal.SIGUSR2)

        def successor_serves() -> bool:
            return any(child.children() for child in psutil.Process(old.pid).children())

        await asyncio.to_thread(until, successor_serves)
        await asyncio.sleep(1.0)
        asked_before = sum(load.answers.values())
        os.kill(old.pid, signal.SIGTERM)
        await asyncio.to_thread(old.wait, 20)
        await asyncio.sleep(0.5)
    assert sum(load.answers.values()) > asked_before + 20
    assert load.closes >= 1  # what was kept learned that its connection ends
    assert old.returncode == 0


async def test_reload_under_load_fails_no_request(api: Api) -> None:
    def workers() -> set[int]:
        return {child.pid for child in psutil.Process(api.process.pid).children()}

    async with Load(api.socket).running():
        before = workers()
        os.kill(api.process.pid, signal.SIGHUP)
        await asyncio.to_thread(until, lambda: len(workers()) == 2 and not workers() & before)


@pytest.mark.parametrize("workers", [1, 2])
async def test_recycled_workers_fail_no_request(host: Host, shared_database: str, workers: int) -> None:
    options = {"workers": workers, "max_requests": 60, "max_requests_jitter": 20}
    with serving(host, shared_database, variables={"SLIPWAY_LAME_DUCK_SECONDS": "2"}, **options) as api:
        seen: set[int] = set()

        def recycled() -> bool:
            seen.update(child.pid for child in psutil.Process(api.process.pid).children())
            return len(seen) >= workers + 3

        async with Load(api.socket).running():
            await asyncio.to_thread(until, recycled)
        assert any("Maximum request limit" in line["event"] for line in api.lines())


def test_a_replica_that_ends_says_so_before_it_refuses(host: Host, shared_database: str) -> None:
    address = f"127.0.0.1:{unused_port()}"
    variables = {"SLIPWAY_LAME_DUCK_SECONDS": "10"}
    plain = httpx.HTTPTransport(verify=False, limits=httpx.Limits(max_keepalive_connections=0))
    with (
        serving(host, shared_database, variables=variables, listen_also=[address]) as api,
        httpx.Client(transport=plain, base_url=f"http://{address}", timeout=5) as http,
    ):
        assert http.get("/health/ready").status_code == 200
        os.kill(api.process.pid, signal.SIGTERM)
        until(
            lambda: (answer := http.get("/health/ready")).status_code == 503 and answer.json()["status"] == "stopping"
        )
        served = http.get("/version")
        assert served.status_code == 200
        assert served.headers["connection"] == "close"
        os.kill(api.process.pid, signal.SIGINT)  # enough
        assert api.process.wait(timeout=10) == 0
        with pytest.raises(httpx.ConnectError):
            http.get("/health/ready")


def test_request_in_flight_is_answered_before_the_workers_leave(api: Api) -> None:
    stopper = threading.Timer(0.5, os.kill, (api.process.pid, signal.SIGTERM))
    stopper.start()
    with api.client() as http:
        body = _slowly(b'{"email": "x"}', seconds=2)
        answer = http.post("/api/v1/auth/register", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.headers["connection"] == "close"
    assert api.process.wait(timeout=15) == 0


def _slowly(body: bytes, seconds: float) -> Iterator[bytes]:
    yield body[:4]
    time.sleep(seconds)
    yield body[4:]


def test_idle_connections_delay_the_end_by_the_lame_duck_only(api: Api) -> None:
    with api.client() as http:
        assert http.get("/health/live").status_code == 200
        started = time.monotonic()
        os.kill(api.process.pid, signal.SIGTERM)
        assert api.process.wait(timeout=25) == 0  # less than the 30 s that a request in flight is waited for
        assert time.monotonic() - started > 0.9


def test_killed_worker_is_replaced_and_none_outlives_a_killed_master(api: Api) -> None:
    def workers() -> set[int]:
        return {child.pid for child in psutil.Process(api.process.pid).children()}

    victim = min(workers())
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in workers() and len(workers()) == 2)
    api.ready()
    orphans = psutil.Process(api.process.pid).children()
    os.kill(api.process.pid, signal.SIGKILL)
    api.process.wait()
    # A zombie has ended, however slow whoever adopted it is to notice.
    until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in orphans))


def test_quick_stop_waits_for_nobody(api: Api) -> None:
    with api.client() as http:
        http.get("/health/live")
        os.kill(api.process.pid, signal.SIGINT)
        api.process.wait(timeout=25)  # less than the 30 s that a request in flight is waited for


def test_the_bounds_of_the_protocol_hold_in_the_worker(host: Host, shared_database: str) -> None:
    def spoken(api: Api, request: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(api.socket))
            connection.sendall(request)
            received = b""
            while piece := connection.recv(65536):
                received += piece
            return received

    with serving(host, shared_database, variables={"SLIPWAY_HEADER_TIMEOUT_SECONDS": "0.1"}) as api:
        for request, status in (
            (b"GET / HTTP/1.1\r\nX: \0\r\n\r\n", b"400 Bad Request"),
            (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", b"414 "),
            (b"GET / HTTP/1.1\r\nX: " + b"a" * 20000 + b"\r\n\r\n", b"431 Request Header Fields Too Large"),
            (b"GET / HTTP/1.1\r\nHost:", b"408 Request Timeout"),
        ):
            received = spoken(api, request)
            assert received.startswith(b"HTTP/1.1 " + status), received
            assert b"content-type: application/problem+json" in received
        refused = [line["status"] for line in api.lines() if line["event"] == "request" and line["status"] >= 400]
        assert refused == [400, 414, 431, 408]

"""The workers' end, with a real gunicorn: a switch that no client notices, and no orphan."""

import asyncio
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.service.conftest import ROOT, Host
from tests.service.processes import Api


@pytest.fixture
def api(host: Host, shared_database: str) -> Iterator[Api]:
    """An API that is ready."""
    with tempfile.TemporaryDirectory(prefix="slipway-api-") as folder:  # short: it holds a socket
        api = Api(Path(folder), ROOT, host.environment("api", shared_database))
        api.start()
        try:
            api.ready()
            yield api
        finally:
            api.stop()


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

    async def keep(self, pause_seconds: float) -> None:
        """Ask again and again on one connection, for as long as it is kept."""
        async with self._client() as http:
            while not self.stopping:
                await self._ask(http)
                await asyncio.sleep(pause_seconds)

    async def renew(self, pause_seconds: float) -> None:
        """Ask on a new connection each time."""
        while not self.stopping:
            async with self._client() as http:
                await self._ask(http)
            await asyncio.sleep(pause_seconds)

    def _client(self) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(uds=str(self._socket), retries=0)
        return httpx.AsyncClient(transport=transport, base_url="http://api", timeout=10)

    async def _ask(self, http: httpx.AsyncClient) -> None:
        try:
            answer = await http.get("/version")
            self.answers[answer.status_code] += 1
            self.closes += answer.headers.get("connection") == "close"
        except httpx.HTTPError as error:
            self.failures.append(repr(error))


async def test_switch_under_load_fails_no_request(api: Api) -> None:
    load = Load(api.socket)
    clients = [load.keep(0.01), load.keep(0.05), load.keep(0.2), load.keep(0.4), load.renew(0.02), load.renew(0.05)]
    tasks = [asyncio.create_task(client) for client in clients]
    await asyncio.sleep(0.5)
    old = api.process
    os.kill(old.pid, signal.SIGUSR2)

    def successor_serves() -> bool:
        children = [child for child in psutil.Process(old.pid).children() if child.children()]
        return bool(children)

    await asyncio.to_thread(until, successor_serves)
    await asyncio.sleep(1.0)
    asked_before = sum(load.answers.values())
    os.kill(old.pid, signal.SIGTERM)
    await asyncio.to_thread(old.wait, 20)
    await asyncio.sleep(0.5)
    load.stopping = True
    await asyncio.gather(*tasks)
    assert load.failures == []
    assert set(load.answers) == {200}
    assert sum(load.answers.values()) > asked_before + 20
    assert load.closes >= 1  # what was kept learned that its connection ends
    assert old.returncode == 0


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
        assert api.process.wait(timeout=10) == 0
        assert 0.9 < time.monotonic() - started < 5


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
    _, alive = psutil.wait_procs(orphans, timeout=5)
    assert alive == []


def test_quick_stop_waits_for_nobody(api: Api) -> None:
    with api.client() as http:
        http.get("/health/live")
        started = time.monotonic()
        os.kill(api.process.pid, signal.SIGINT)
        api.process.wait(timeout=10)
        assert time.monotonic() - started < 4

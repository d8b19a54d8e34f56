"""The figures for Prometheus: what is counted, and that they are right over several workers and their successors."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from service import metrics
from service.main import build_app
from service.release import Release
from tests.service.conftest import ROOT, Host, User, running
from tests.service.processes import Api

Figures = dict[str, float]


def read(text: str) -> Figures:
    """Samples by name and labels, as `name{label="value"}`."""
    found = {}
    for family in parse_text(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


async def figures(http: httpx.AsyncClient) -> Figures:
    answer = await http.get("/metrics")
    assert answer.status_code == 200, answer.text
    return read(answer.text)


async def eventually_is(http: httpx.AsyncClient, name: str, value: float) -> Figures:
    """Wait for a figure, not for long."""
    async with asyncio.timeout(30):
        while (found := await figures(http)).get(name) != value:  # noqa: ASYNC110 - a figure has no event
            await asyncio.sleep(0.02)
    return found


def requests(figures: Figures, method: str, route: str, status: int) -> float:
    labels = f'method="{method}",route="{route}",status="{status}"'
    return figures.get(f"slipway_http_requests_total{{{labels}}}", 0)


async def test_counts_and_times_by_route(http: httpx.AsyncClient, user: User) -> None:
    before = await figures(http)
    for _ in range(3):
        await user.call("GET", "/tasks", expect=200)
    await user.call("GET", "/tasks/00000000-0000-7000-8000-000000000000", expect=404)
    await http.get("/no/such/path")
    await http.get("/nor/this/one")
    await http.request("FROBNICATE", "/health/live")
    after = await figures(http)

    def more(method: str, route: str, status: int) -> float:
        return requests(after, method, route, status) - requests(before, method, route, status)

    assert more("GET", "/api/v1/tasks", 200) == 3
    assert more("GET", "/api/v1/tasks/{task_id}", 404) == 1
    assert more("GET", "unmatched", 404) == 2
    assert sum(value for name, value in after.items() if 'method="other"' in name and "_count" in name) >= 1
    timed = 'slipway_http_request_duration_seconds_count{method="GET",route="/api/v1/tasks"}'
    assert after[timed] - before.get(timed, 0) == 3
    assert not any("FROBNICATE" in name or "such" in name for name in after)


async def test_gauges_are_of_now(host: Host, shared_database: str, release: Release) -> None:
    app = build_app(host.settings(shared_database), release)
    async with running(app) as http:
        user = await User.register(http)
        await user.call("GET", "/tasks", expect=200)
        in_use = 'slipway_database_connections{state="in_use"}'
        await eventually_is(http, in_use, 0)  # the mail's delivery looks for work, too
        taken = await app.state.parts.database.pool.acquire()
        busy = await eventually_is(http, in_use, 1)
        app.state.parts.database.pool.release(taken)
        await eventually_is(http, in_use, 0)
        assert busy['slipway_waiting{queue="database"}'] == 0
        assert busy['slipway_waiting{queue="passwords"}'] == 0
        assert busy['slipway_breakers_open{dependency="cache"}'] == 0
        assert busy[f'slipway_release_workers{{release="{release.name}"}}'] == 1
        assert 20e6 < busy['slipway_worker_resident_memory_bytes{slot="0"}'] < 2e9


async def test_speaks_openmetrics_to_who_asks(http: httpx.AsyncClient) -> None:
    await http.get("/health/live")
    answer = await http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = parse_openmetrics(answer.text)  # type: ignore[no-untyped-call]
    assert "slipway_http_requests" in {family.name for family in families}


@pytest.mark.parametrize("accept", ["", "*/*", "application/openmetrics-text; version=x.y", "text/plain; version=9;"])
async def test_takes_any_accept_header(http: httpx.AsyncClient, accept: str) -> None:
    answer = await http.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
async def test_is_not_there_for_who_comes_through_a_proxy(http: httpx.AsyncClient, header: str) -> None:
    answer = await http.get("/metrics", headers={header: "10.0.0.1"})
    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/not-found"


async def test_is_not_there_for_a_trusted_proxy(host: Host, shared_database: str, release: Release) -> None:
    # What httpx's transport says its own address is.
    async with running(build_app(host.settings(shared_database, trusted_proxies="127.0.0.1"), release)) as http:
        assert (await http.get("/metrics")).status_code == 404


async def test_is_no_part_of_the_document(http: httpx.AsyncClient) -> None:
    assert "/metrics" not in (await http.get("/openapi.json")).json()["paths"]


def test_an_unknown_label_makes_no_second_series() -> None:
    metrics.observe("GET", None, 404, 0.001)
    metrics.observe("GET", "unmatched", 404, 0.001)
    text, _ = metrics.exposition("")
    assert text.count(b'slipway_http_requests_total{method="GET",route="unmatched",status="404"}') == 1


# Several processes


@pytest.fixture
def api(host: Host, shared_database: str) -> Iterator[Api]:
    """Two workers."""
    with tempfile.TemporaryDirectory(prefix="slipway-api-") as folder:
        api = Api(Path(folder), ROOT, host.environment("api", shared_database))
        api.start()
        try:
            api.ready()
            yield api
        finally:
            api.stop()


def ask(api: Api, path: str) -> httpx.Response:
    with api.client() as http:
        return http.get(path)


def live_requests(api: Api) -> float:
    return requests(read(ask(api, "/metrics").text), "GET", "/health/live", 200)


def eventually(api: Api, wanted: float) -> None:
    """The answer comes a moment before it is counted."""
    give_up_at = time.monotonic() + 30
    while (found := live_requests(api)) != wanted:
        assert found < wanted
        assert time.monotonic() < give_up_at, found
        time.sleep(0.02)


def workers(api: Api) -> set[int]:
    return {child.pid for child in psutil.Process(api.process.pid).children()}


def until(condition: Callable[[], bool], timeout_seconds: float = 60) -> None:
    give_up_at = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def replace_one(api: Api) -> None:
    """Kill a worker, and wait for the one in its place."""
    before = workers(api)
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len(workers(api) - before) == 1 and len(workers(api)) == 2)
    api.ready()


def test_workers_count_together_and_a_killed_one_is_not_forgotten(api: Api) -> None:
    for _ in range(40):
        assert ask(api, "/health/live").status_code == 200
    eventually(api, 40)
    until(lambda: api.starts() == 2)
    for _ in range(2):
        replace_one(api)
    ask(api, "/health/live")
    eventually(api, 41)
    until(lambda: api.starts() == 4)
    now = read(ask(api, "/metrics").text)
    assert len([name for name in now if name.startswith("slipway_worker_resident_memory_bytes")]) == 2


def test_counts_go_on_over_a_new_master_and_nothing_is_left(api: Api) -> None:
    for _ in range(10):
        ask(api, "/health/live")
    eventually(api, 10)
    old = psutil.Process(api.process.pid)
    folders = {
        Path(file.path).parent for file in psutil.Process(min(workers(api))).open_files() if "worker-" in file.path
    }
    (folder,) = folders
    os.kill(old.pid, signal.SIGUSR2)
    until(lambda: any(child.children() for child in old.children()))
    (new,) = [child for child in old.children() if child.children()]
    until(lambda: len(new.children()) == 2)
    for _ in range(10):
        ask(api, "/health/live")
    eventually(api, 20)
    old.terminate()
    api.process.wait(15)
    assert folder.is_dir()
    for _ in range(10):
        ask(api, "/health/live")
    eventually(api, 30)
    files = {path.name for path in folder.glob("*.db")}
    assert len(files) <= 4 * 3  # four workers at once, three kinds of figures
    new.terminate()
    psutil.wait_procs([new], timeout=15)
    assert not folder.exists()

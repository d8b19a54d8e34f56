import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.main import build_app
from service.release import Release
from tests.service.conftest import Door, Host, User, running


async def eventually(http: httpx.AsyncClient, status: int) -> dict[str, Any]:
    """Ask until /health/ready answers so, for 3 s at most."""
    give_up_at = time.monotonic() + 3
    while (answer := await http.get("/health/ready")).status_code != status:
        assert time.monotonic() < give_up_at, answer.text
        await asyncio.sleep(0.05)
    content: dict[str, Any] = answer.json()
    return content


async def test_ready(http: httpx.AsyncClient) -> None:
    answer = await http.get("/health/ready")
    assert answer.status_code == 200
    content = answer.json()
    assert content["status"] == "ready"
    assert set(content["checks"]) == {"database", "cache"}
    for check in content["checks"].values():
        assert check["state"] == "up"
        assert check["milliseconds"] >= 0


async def test_without_postgresql_alive_but_not_ready_and_well_again_by_itself(
    host: Host, door: Door, new_database: Any, release: Release
) -> None:
    name = await new_database("pattern")
    async with running(build_app(door.settings(name), release)) as http:
        assert (await eventually(http, 200))["status"] == "ready"
        user = await User.register(http)
        door.close("postgres")
        await host.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        assert (await http.get("/health/live")).status_code == 200
        content = await eventually(http, 503)
        assert content["status"] == "unavailable"
        assert content["checks"]["database"]["state"] == "down"
        assert str(door.folder) not in str(content)
        answer = await user.call("GET", "/tasks")
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) >= 1
        assert (await http.get("/version")).json()["schema"]["database"] is None
        door.open("postgres")
        await eventually(http, 200)
        await user.call("GET", "/tasks", expect=200)


async def test_a_database_that_hangs_costs_no_request_more_than_its_deadline(
    door: Door, silence: Path, shared_database: str, release: Release
) -> None:
    settings = door.settings(shared_database, database_deadline_seconds=1.5)
    async with running(build_app(settings, release)) as http:
        user = await User.register(http)
    async with running(build_app(settings, release)) as http:
        user.http = http
        door.close("postgres", behind=silence)
        started = time.monotonic()
        answers = await asyncio.gather(http.get("/health/ready"), user.call("GET", "/tasks"))
        assert [answer.status_code for answer in answers] == [503, 503]
        assert time.monotonic() - started < 2
        started = time.monotonic()
        await http.get("/health/ready")
        assert time.monotonic() - started < 1
        door.open("postgres")
        await eventually(http, 200)


@pytest.mark.parametrize("hangs", [False, True])
async def test_without_valkey_degraded(
    door: Door, silence: Path, shared_database: str, release: Release, *, hangs: bool
) -> None:
    async with running(build_app(door.settings(shared_database), release)) as http:
        door.close("valkey", behind=silence if hangs else None)
        started = time.monotonic()
        answer = await http.get("/health/ready")
        assert time.monotonic() - started < 1
        assert answer.status_code == 200
        assert answer.json()["status"] == "degraded"
        assert answer.json()["checks"]["cache"]["state"] == "down"
        door.open("valkey")
        assert (await eventually(http, 200))["checks"]["database"]["state"] == "up"


async def test_every_connection_taken_is_a_503_with_a_time(host: Host, shared_database: str, release: Release) -> None:
    settings = host.settings(shared_database, database_pool_size=1, database_deadline_seconds=0.3)
    app = build_app(settings, release)
    async with running(app) as http:
        user = await User.register(http)
        pool = app.state.parts.database._pool
        async with pool.acquire():
            started = time.monotonic()
            answer = await user.call("GET", "/tasks")
            assert time.monotonic() - started < 1
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        await user.call("GET", "/tasks", expect=200)


async def test_version_names_release_and_schema(http: httpx.AsyncClient, release: Release) -> None:
    content = (await http.get("/version")).json()
    assert content["release"] == release.name
    assert content["schema"] == {
        "database": release.schema.head,
        "head": release.schema.head,
        "oldest": release.schema.oldest,
        "newest": release.schema.newest,
    }

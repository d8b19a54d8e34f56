import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from service.database import Database, Statement
from service.main import build_app
from service.probe import SCHEMA_STATE
from service.release import Release
from service.settings import Settings
from tests.service.conftest import Door, Host, User, running
from tests.service.pauses import paused

ONE = Statement(text("SELECT 1"))
# The times that are promised are set shorter than this; what is not bounded at all lasts for ever.
PATIENCE_SECONDS = 10


async def eventually(http: httpx.AsyncClient, status: int) -> dict[str, Any]:
    """Ask until /health/ready answers so."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
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
    assert set(content["checks"]) == {"database", "schema", "cache"}
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
        assert time.monotonic() - started < PATIENCE_SECONDS
        started = time.monotonic()
        await http.get("/health/ready")
        assert time.monotonic() - started < PATIENCE_SECONDS
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
        assert time.monotonic() - started < PATIENCE_SECONDS
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
        pool = app.state.parts.database.pool
        taken = await pool.acquire()
        started = time.monotonic()
        answer = await user.call("GET", "/tasks")
        assert time.monotonic() - started < PATIENCE_SECONDS
        pool.release(taken)
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


async def test_a_database_that_stands_still_is_told_within_a_second(
    host: Host, shared_database: str, release: Release
) -> None:
    # Short of the promised times, which the machine may add to.
    times = {"health_timeout_seconds": 0.5, "database_deadline_seconds": 1.5}
    async with running(build_app(host.settings(shared_database, database_pool_size=2, **times), release)) as http:
        user = await User.register(http)
        await eventually(http, 200)
        with paused(host.server):
            requests = [asyncio.create_task(user.call("GET", "/tasks")) for _ in range(6)]
            await asyncio.sleep(0.3)  # so that the last answer grows old
            async with asyncio.timeout(PATIENCE_SECONDS):
                answer = None
                while answer is None or answer.status_code != 503:
                    started = time.monotonic()
                    answer = await http.get("/health/ready")
                    assert time.monotonic() - started < PATIENCE_SECONDS
            assert answer.json()["status"] == "unavailable"
            assert (await http.get("/health/live")).status_code == 200
            async with asyncio.timeout(PATIENCE_SECONDS):
                answers = await asyncio.gather(*requests)
            assert {answer.status_code for answer in answers} == {503}
            assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
        await eventually(http, 200)
        await user.call("GET", "/tasks", expect=200)


async def test_a_pool_in_full_use_is_ready_as_long_as_somebody_is_answered(
    host: Host, shared_database: str, release: Release
) -> None:
    app = build_app(host.settings(shared_database, database_pool_size=1), release)
    async with running(app) as http:
        database = app.state.parts.database
        await database.fetch_value(ONE)
        taken = await database.pool.acquire()
        # Without a wait for its turn, which would end in "down".
        assert (await http.get("/health/ready")).json()["checks"]["database"]["state"] == "up"
        content = await eventually(http, 503)  # nobody was answered for a second
        assert content["checks"]["database"]["state"] == "down"
        database.pool.release(taken)
        await eventually(http, 200)


async def test_a_flood_of_probes_asks_once(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    fetch_row = Database.fetch_row

    async def counted(self: Database, statement: Statement, **values: Any) -> Any:
        asked.extend([statement] if statement is SCHEMA_STATE else [])
        return await fetch_row(self, statement, **values)

    monkeypatch.setattr(Database, "fetch_row", counted)
    answers = await asyncio.gather(*(http.get("/health/ready") for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(asked) == 1


async def test_one_who_hangs_up_takes_the_answer_from_nobody(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = asyncio.create_task(http.get("/health/ready"))
    second = asyncio.create_task(http.get("/health/ready"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).status_code == 200


async def test_a_schema_that_this_release_cannot_run_on_is_not_ready(
    host: Host, new_database: Any, release: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    name = await new_database("pattern")
    async with running(build_app(host.settings(name), release)) as http:
        await eventually(http, 200)
        await host.execute("UPDATE schema_state SET revision = '9999', accepts_from = '9999'", name)
        content = await eventually(http, 503)
        assert content["checks"]["schema"]["state"] == "down"
        assert content["checks"]["database"]["state"] == "up"
        assert capsys.readouterr().out.count("schema 9999 is newer") == 1  # once, however often it is asked
        await host.execute(f"UPDATE schema_state SET revision = '{release.schema.head}', accepts_from = '0001'", name)
        await eventually(http, 200)


async def test_a_replica_that_ends_is_not_ready(host: Host, shared_database: str, release: Release) -> None:
    app = build_app(host.settings(shared_database), release)
    async with running(app) as http:
        app.state.replica_ends = lambda: True
        answer = await http.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json() == {"status": "stopping", "checks": {}}
        assert (await http.get("/health/live")).status_code == 200


async def test_ready_within_a_second_beside_a_flood_of_logins(
    host: Host, shared_database: str, release: Release
) -> None:
    # The passwords' full price, and more of them than are taken.
    costly = {"password_memory_kib": 19456, "password_passes": 2, "password_queue_length": 8}
    limits = {name: "100000/minute" for name in Settings.model_fields if name.startswith("limit_")}
    async with running(build_app(host.settings(shared_database, **costly, **limits), release)) as http:
        form = {"username": "nobody@example.com", "password": "wrong"}
        logins = [asyncio.create_task(http.post("/api/v1/auth/login", data=form)) for _ in range(40)]
        for _ in range(5):
            started = time.monotonic()
            assert (await http.get("/health/ready")).status_code == 200
            assert time.monotonic() - started < PATIENCE_SECONDS
            await asyncio.sleep(0.05)
        statuses = {answer.status_code for answer in await asyncio.gather(*logins)}
        assert statuses == {401, 503}

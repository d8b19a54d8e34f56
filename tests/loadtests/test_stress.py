import asyncio
import json
from pathlib import Path

import asyncpg
import pytest

from loadtests.dataset import load
from loadtests.journeys import Request, login
from loadtests.population import Parameters
from loadtests.stress import flood, locked_task, slow_clients
from tests.loadtests.canned import serving
from tests.loadtests.conftest import Migrated


async def test_a_flood_repeats_every_request_and_counts_the_answers() -> None:
    seen: set[bytes] = set()
    logins = [login(f"account-{number}@dataset.example", "wrong") for number in range(5)]
    with serving(answer=b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", close_after=3, seen=seen) as url:
        async with flood(url, logins) as tally:
            await asyncio.sleep(0.5)
        after = dict(tally)
        await asyncio.sleep(0.1)
        assert dict(tally) == after, "it ends with its block"
    assert tally["401"] > 50
    assert len(seen) == 5


async def test_a_flood_goes_on_while_nobody_answers() -> None:
    async with flood("http://127.0.0.1:1", [Request("list_20", "GET", "/")]) as tally:
        await asyncio.sleep(0.3)
    assert tally["ConnectionRefusedError"] > 2


async def test_slow_clients_send_a_byte_at_a_time_and_come_again_when_closed() -> None:
    seen: set[bytes] = set()
    with serving(answer=b"", seen=seen, close_after=1) as url:
        async with slow_clients(url, 20) as tally:
            await asyncio.sleep(1.0)
    assert seen == {b"G"}
    assert tally["closed by the server"] >= 20
    assert tally["opened"] > 20
    with serving(answer=b"") as url:
        async with slow_clients(url, 20) as tally:
            await asyncio.sleep(0.3)
    assert tally == {"opened": 20}


async def test_a_locked_task_cannot_be_changed_until_the_block_ends(migrated: Migrated, tmp_path: Path) -> None:
    password = migrated.password_file.read_text()
    credentials = tmp_path / "credentials.json"
    await load(database_url=migrated.url, password=password, credentials=credentials, parameters=Parameters(2, 5))
    assert json.loads(credentials.read_text())["accounts"] == 2
    connection = await migrated.connect()
    try:
        task_id = await connection.fetchval("SELECT id FROM task LIMIT 1")
        await connection.execute("SET lock_timeout = 100")
        async with locked_task(migrated.url, password, str(task_id)):
            with pytest.raises(asyncpg.LockNotAvailableError):
                await connection.execute("UPDATE task SET title = 'x' WHERE id = $1", task_id)
        assert await connection.execute("UPDATE task SET title = 'x' WHERE id = $1", task_id) == "UPDATE 1"
    finally:
        await connection.close()

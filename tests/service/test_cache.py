import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.cache import Cache as Server
from service import cache as cache_module
from service.cache import Cache, CacheUnavailableError
from tests.environments import fresh_layout
from tests.service.conftest import Door, Host


@asynccontextmanager
async def opened(settings: Any) -> AsyncIterator[Cache]:
    cache = Cache(settings)
    yield cache
    await cache.close()


async def closed_again(cache: Cache) -> None:
    """Wait until the breaker is closed."""
    give_up_at = time.monotonic() + 30
    while not cache.available:
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.02)


def lines(capsys: pytest.CaptureFixture[str], event: str) -> list[dict[str, Any]]:
    """The log lines of one kind."""
    return [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if line["event"] == event]


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probe more often than a service would."""
    monkeypatch.setattr(cache_module, "_PROBE_SECONDS", 0.1)


@pytest.fixture
def server() -> Iterator[Server]:
    """A Valkey of the test's own, to be broken."""
    with fresh_layout() as layout:
        server = Server(layout)
        server.start()
        yield server
        server.stop()


async def test_answers_over_a_socket(host: Host) -> None:
    async with opened(host.settings("x")) as cache:
        await cache.ping()
        assert cache.available


@pytest.mark.parametrize("password", ["wrong", ""])
async def test_a_wrong_or_no_password_is_an_outage(
    host: Host, password: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(host.settings("x", cache_password=password)) as cache:
        with pytest.raises(CacheUnavailableError):
            await cache.ping()
        assert not cache.available
    (line,) = lines(capsys, "dependency is away")
    assert line["dependency"] == "valkey"
    assert "password" in line["cause"] or "NOAUTH" in line["cause"] or "Authentication" in line["cause"]
    assert "wrong" not in line["cause"].replace("WRONGPASS", "")


async def test_answers_over_tcp(host: Host) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = host.cache.url.removeprefix("unix://")
        behind_reader, behind_writer = await asyncio.open_unix_connection(path)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while part := await source.read(1000):
                target.write(part)
            target.close()

        await asyncio.gather(copy(reader, behind_writer), copy(behind_reader, writer))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with opened(host.settings("x", cache_url=f"redis://127.0.0.1:{port}/1")) as cache:
            await cache.ping()


async def test_a_server_that_hangs_up_is_away(host: Host) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with opened(host.settings("x", cache_url=f"redis://127.0.0.1:{port}")) as cache:
            with pytest.raises(CacheUnavailableError):
                await cache.ping()


async def test_a_silent_server_costs_its_timeout_once(
    door: Door, silence: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(door.settings("x", cache_timeout_seconds=0.3)) as cache:
        await cache.ping()
        await cache.pool.disconnect()
        door.close("valkey", behind=silence)
        started = time.monotonic()
        calls = await asyncio.gather(*(cache.ping() for _ in range(50)), return_exceptions=True)
        assert time.monotonic() - started < 5, "they waited one after the other"
        assert {type(error) for error in calls} == {CacheUnavailableError}
        started = time.monotonic()
        for _ in range(1000):
            with pytest.raises(CacheUnavailableError):
                await cache.ping()
        assert time.monotonic() - started < 30, "each waited"
        await asyncio.sleep(0.5)  # while probes fail
        assert not cache.available
        door.open("valkey")
        await closed_again(cache)
        await cache.ping()
    log = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["event"] for line in log] == ["dependency is away", "dependency is back"]


async def test_a_paused_server_is_found_out_within_the_timeout_and_found_again(server: Server, host: Host) -> None:
    settings = host.settings("x", cache_url=server.url, cache_password=server.password, cache_timeout_seconds=0.2)
    process = server.process()
    assert process is not None
    async with opened(settings) as cache:
        await asyncio.gather(*(cache.ping() for _ in range(20)))
        process.suspend()
        started = time.monotonic()
        await asyncio.gather(*(cache.ping() for _ in range(20)), return_exceptions=True)
        assert time.monotonic() - started < 3, "they waited one after the other"
        assert not cache.available
        process.resume()
        await closed_again(cache)
        await asyncio.gather(*(cache.ping() for _ in range(20)))


async def test_a_killed_server_that_comes_back_is_used_again(server: Server, host: Host) -> None:
    settings = host.settings("x", cache_url=server.url, cache_password=server.password)
    async with opened(settings) as cache:
        await asyncio.gather(*(cache.ping() for _ in range(20)))
        process = server.process()
        assert process is not None
        process.kill()
        await asyncio.to_thread(process.wait, 5)
        with pytest.raises(CacheUnavailableError):
            await cache.ping()
        await asyncio.to_thread(server.start)
        await closed_again(cache)
        await asyncio.gather(*(cache.ping() for _ in range(20)))


async def test_a_server_that_is_full_is_away_until_it_has_room(server: Server, host: Host) -> None:
    settings = host.settings("x", cache_url=server.url, cache_password=server.password)
    async with opened(settings) as cache, opened(settings) as admin:
        await admin.client.config_set("maxmemory-policy", "noeviction")
        await admin.client.config_set("maxmemory", "1")
        with pytest.raises(CacheUnavailableError) as caught:
            await cache.ping()
        assert "used memory" in str(caught.value.__cause__)
        assert await admin.client.ping(), "which would not have told"
        await admin.client.config_set("maxmemory", "0")
        await closed_again(cache)


async def test_calls_that_are_given_up_cost_no_connection(host: Host) -> None:
    async with opened(host.settings("x", cache_pool_size=2)) as cache:
        for _ in range(20):
            calls = [asyncio.create_task(cache.ping()) for _ in range(10)]
            await asyncio.sleep(0)
            for call in calls[::2]:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        assert cache.available
        assert cache._places._value == 2
        assert not cache.pool._in_use_connections
        await cache.ping()


async def test_closing_does_not_wait_for_a_probe(door: Door) -> None:
    cache = Cache(door.settings("x"))
    door.close("valkey")
    with pytest.raises(CacheUnavailableError):
        await cache.ping()
    started = time.monotonic()
    await cache.close()
    assert time.monotonic() - started < 0.5

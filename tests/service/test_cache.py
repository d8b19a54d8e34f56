import asyncio

import pytest

from service.cache import Cache, CacheError
from tests.service.conftest import Host


async def test_answers_over_a_socket(host: Host) -> None:
    await Cache(host.settings("x")).ping()


@pytest.mark.parametrize("password", ["wrong", ""])
async def test_wrong_or_no_password_is_said(host: Host, password: str) -> None:
    with pytest.raises(CacheError, match=r"WRONGPASS|NOAUTH"):
        await Cache(host.settings("x", cache_password=password)).ping()


async def test_answers_over_tcp(host: Host) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = host.cache.url.removeprefix("unix://")
        behind_reader, behind_writer = await asyncio.open_unix_connection(path)
        behind_writer.write(await reader.read(1000))
        writer.write(await behind_reader.readuntil(b"PONG\r\n"))
        behind_writer.close()
        writer.close()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await Cache(host.settings("x", cache_url=f"redis://127.0.0.1:{port}/0")).ping()


async def test_a_server_that_hangs_up_is_down(host: Host) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises((CacheError, ConnectionError)):
            await Cache(host.settings("x", cache_url=f"redis://127.0.0.1:{port}")).ping()

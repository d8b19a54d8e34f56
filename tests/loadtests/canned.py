"""A server that answers whatever comes with the same bytes, well or badly, for tests of what measures servers."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, cast

import uvloop

BODY = b'{"items":[]}' * 400


class Canned(asyncio.Protocol):
    """Answers whatever comes with the same bytes, in as many pieces as asked for."""

    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    pieces = 1
    close_after = 0
    seen: ClassVar[set[bytes]] = set()

    def write(self, rest: bytes, size: int) -> None:
        if not self.transport.is_closing():
            self.transport.write(rest[:size])
            if len(rest) > size:
                asyncio.get_running_loop().call_later(0.002, self.write, rest[size:], size)

    def connection_made(self, transport: Any) -> None:
        self.transport, self.answered = transport, 0

    def data_received(self, data: Any) -> None:
        self.seen.add(bytes(data))
        self.write(self.answer, -(-len(self.answer) // self.pieces))
        self.answered += 1
        if self.close_after and self.answered >= self.close_after:
            self.transport.close()


@contextmanager
def serving(**attributes: Any) -> Iterator[str]:
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    protocol = type("Answering", (Canned,), attributes)
    opening = asyncio.run_coroutine_threadsafe(loop.create_server(protocol, "127.0.0.1", 0), loop)
    server = cast("asyncio.Server", opening.result())
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(_close(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(server: asyncio.Server) -> None:
    server.close()
    await asyncio.sleep(0.05)  # for the ends of the clients' connections to come in
    await asyncio.get_running_loop().shutdown_asyncgens()

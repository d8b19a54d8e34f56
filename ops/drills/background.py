"""An async block that goes on in a thread of its own while the drill waits."""

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

__all__ = ["in_background"]

_Yielded = TypeVar("_Yielded")


@contextlib.contextmanager
def in_background(block: AbstractAsyncContextManager[_Yielded]) -> Iterator[_Yielded]:
    """Enter an async context manager in another thread's event loop, and leave it there when this block ends."""
    loop, leave = asyncio.new_event_loop(), asyncio.Event()
    entered: Future[_Yielded] = Future()

    async def stay() -> None:
        try:
            async with block as yielded:
                entered.set_result(yielded)
                await leave.wait()
        except Exception as error:
            if entered.done():
                raise
            entered.set_exception(error)

    with ThreadPoolExecutor(1, thread_name_prefix="drill") as thread:
        staying = thread.submit(loop.run_until_complete, stay())
        try:
            yield entered.result()
        finally:
            loop.call_soon_threadsafe(leave.set)
            staying.result()
            loop.close()

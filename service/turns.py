"""Turns at heavy work: what one request may cost is bounded elsewhere, here how many cost it at once.

A quota counts requests. A hundred tasks of ten thousand characters are one, and keep a core of PostgreSQL busy for a
second; eight of them at once would leave nothing for those who only want to read.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID
from weakref import WeakValueDictionary

from service.errors import UnavailableError


class Turns:
    """Heavy work of one worker, so many pieces at once.

    An account waits with one piece at a time, so that nobody's many stand before another's only one.

    Args:
        at_once: how many pieces are done at the same time.
        wait_seconds: longest wait for a turn.
    """

    def __init__(self, at_once: int, wait_seconds: float) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._wait_seconds = wait_seconds
        self._queues: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
        self.waiting = 0

    @asynccontextmanager
    async def take(self, account_id: UUID) -> AsyncIterator[None]:
        """Do the block's work when it is an account's turn.

        Raises:
            UnavailableError: the turn did not come in time.
        """
        queue = self._queues.setdefault(account_id, asyncio.Lock())
        async with AsyncExitStack() as held:
            self.waiting += 1
            try:
                async with asyncio.timeout(self._wait_seconds):
                    await held.enter_async_context(queue)
                    await held.enter_async_context(self._turns)
            except TimeoutError:
                raise UnavailableError from None
            finally:
                self.waiting -= 1
            yield

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator

import pytest

from ops.drills.background import in_background


@contextlib.asynccontextmanager
async def counting(steps: list[str]) -> AsyncIterator[list[int]]:
    counted: list[int] = []

    async def count() -> None:
        while True:
            counted.append(len(counted))
            await asyncio.sleep(0.001)

    task = asyncio.create_task(count())
    steps.append(threading.current_thread().name)
    try:
        yield counted
    finally:
        task.cancel()
        steps.append("left")


def test_it_goes_on_in_another_thread_until_the_block_ends() -> None:
    steps: list[str] = []
    with in_background(counting(steps)) as counted:
        before = len(counted)
        while len(counted) < before + 5:
            pass
        assert steps != ["left"]
        assert steps[0].startswith("drill")
    assert steps[-1] == "left"
    assert "drill" not in {thread.name[:5] for thread in threading.enumerate()}


def test_it_is_left_when_the_block_raises() -> None:
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt), in_background(counting(steps)):
        raise KeyboardInterrupt
    assert steps[-1] == "left"


def test_what_cannot_be_entered_is_told_at_once() -> None:
    @contextlib.asynccontextmanager
    async def failing() -> AsyncIterator[None]:
        raise ValueError("no way in")
        yield

    with pytest.raises(ValueError, match="no way in"), in_background(failing()):
        raise AssertionError

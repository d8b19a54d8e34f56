import asyncio
from uuid import uuid4

import pytest

from service.errors import UnavailableError
from service.turns import Turns

ANN, BOB, EVE = uuid4(), uuid4(), uuid4()


class Work:
    """Pieces of heavy work, each done when it is told so."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.begun: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}

    def start(self, account: object, name: str) -> "asyncio.Task[None]":
        self._ends[name] = asyncio.Event()
        return asyncio.get_running_loop().create_task(self._do(account, name))

    async def _do(self, account: object, name: str) -> None:
        async with self._turns.take(account):  # type: ignore[arg-type]
            self.begun.append(name)
            await self._ends[name].wait()

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


async def test_pieces_are_done_one_after_another() -> None:
    work = Work(turns := Turns(1, 60))
    tasks = [work.start(who, name) for who, name in ((ANN, "a"), (BOB, "b"), (EVE, "c"))]
    await work.settle()
    assert (work.begun, turns.waiting) == (["a"], 2)
    await work.end("a")
    assert (work.begun, turns.waiting) == (["a", "b"], 1)
    await work.end("b", "c")
    await asyncio.gather(*tasks)
    assert (work.begun, turns.waiting) == (["a", "b", "c"], 0)
    assert not turns._queues


async def test_many_of_one_account_do_not_stand_before_the_only_one_of_another() -> None:
    work = Work(Turns(1, 60))
    tasks = [work.start(EVE, f"eve {number}") for number in range(5)] + [work.start(ANN, "ann")]
    await work.settle()
    await work.end("eve 0")
    assert work.begun == ["eve 0", "ann"]
    await work.end("ann", *(f"eve {number}" for number in range(5)))
    await asyncio.gather(*tasks)


async def test_as_many_at_once_as_allowed_but_one_of_each_account() -> None:
    work = Work(Turns(2, 60))
    tasks = [work.start(who, name) for who, name in ((EVE, "e1"), (EVE, "e2"), (ANN, "a"), (BOB, "b"))]
    await work.settle()
    assert work.begun == ["e1", "a"]
    await work.end("e1", "e2", "a", "b")
    await asyncio.gather(*tasks)


async def test_who_waits_too_long_is_told_when_to_come_back() -> None:
    work = Work(turns := Turns(1, 0.02))
    first = work.start(ANN, "a")
    for who in (ANN, BOB):  # in the own queue, and in everybody's
        with pytest.raises(UnavailableError) as refused:
            await work.start(who, "late")
        assert refused.value.headers == {"Retry-After": "1"}
    assert turns.waiting == 0
    await work.end("a")
    await first
    assert work.begun == ["a"]
    again = work.start(ANN, "b")  # nothing is held by those who gave up
    await work.end("b")
    await again


async def test_work_that_fails_or_takes_long_gives_its_turn_back() -> None:
    turns = Turns(1, 0.02)

    async def fail_late() -> None:
        async with turns.take(ANN):
            await asyncio.sleep(0.03)
            raise TimeoutError

    with pytest.raises(TimeoutError):  # its own, not one of waiting
        await fail_late()
    work = Work(turns)
    task = work.start(ANN, "cancelled")
    await work.settle()
    task.cancel()
    await work.settle()
    again = work.start(BOB, "b")
    await work.end("b")
    await again
    assert work.begun == ["cancelled", "b"]

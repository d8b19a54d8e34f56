import asyncio
import time

from loadtests.ticks import Ticks


def test_ticks_come_at_their_rate_and_none_is_left_out_when_the_loop_was_busy() -> None:
    async def count() -> tuple[float, list[float]]:
        seen: list[float] = []
        first = time.perf_counter() + 0.02
        ticks = Ticks(first, 1_000, seen.append)
        await asyncio.sleep(0.1)
        time.sleep(0.15)  # noqa: ASYNC251 - the loop stands still
        while len(seen) < 250:  # noqa: ASYNC110 - that is what is tested
            await asyncio.sleep(0.01)
        ticks.stop()
        after = len(seen)
        await asyncio.sleep(0.05)
        assert len(seen) == after, "no tick after the end"
        return first, seen

    first, seen = asyncio.run(count())
    assert [round((moment - first) * 1e6) for moment in seen] == [number * 1_000 for number in range(len(seen))]


def test_no_tick_comes_before_it_is_due() -> None:
    async def early() -> list[float]:
        seen: list[float] = []
        ticks = Ticks(time.perf_counter() + 0.05, 500, lambda intended: seen.append(time.perf_counter() - intended))
        while len(seen) < 100:  # noqa: ASYNC110 - that is what is tested
            await asyncio.sleep(0.01)
        ticks.stop()
        return seen

    assert min(asyncio.run(early())) >= 0

"""Moving windows: at most so many attempts in any stretch of so long, exact over all workers and replicas.

The library `limits` keeps them in Valkey, each as a list of moments that one script reads and extends at once. While
Valkey is away this process keeps windows of its own: not those of `limits`, which look through every key they know
with each attempt, and know as many as a flood brings.
"""

import time
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from service.cache import Cache, CacheUnavailableError
from service.errors import TooManyRequestsError
from service.rate_limits.standing import Standing

_MOST_KEYS = 10_000


class Attempt(NamedTuple):
    """An attempt, as one of the windows that limit it sees it.

    Args:
        rate: how many, in how long.
        key: whose attempts the window holds.
        is_told: whether whoever attempts may know how many are left: not where others' attempts count too.
    """

    rate: RateLimitItem
    key: str
    is_told: bool


class MovingWindows:
    """The windows, in Valkey or, while that is away, in this process."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        # The scheme alone: the pool knows where Valkey is.
        storage = RedisStorage("async+valkey://", connection_pool=cache.pool, key_prefix="slipway")  # type: ignore[arg-type] # limits hands the pool on
        self._limiter = MovingWindowRateLimiter(storage)
        self._memory = MemoryWindows()

    async def hit(self, attempts: Sequence[Attempt], before: Standing | None = None) -> Standing:
        """Count one attempt in each window, in their order; a window that is full leaves those after it alone.

        Returns:
            The lowest standing that may be told, of these windows and one `before` them.

        Raises:
            TooManyRequestsError: a window is full. An attempt that is refused is not counted in the window that
                refuses it, so places come free as the counted ones grow old, however many try.
        """
        try:
            standings = await self._cache.call(lambda: self._hit_in_valkey(attempts))
        except CacheUnavailableError:
            standings = [self._memory.hit(attempt.rate, attempt.key) for attempt in attempts]
        told = [standing for standing, attempt in zip(standings, attempts, strict=True) if attempt.is_told]
        return min(told if before is None else [before, *told], key=lambda standing: standing.remaining)

    async def _hit_in_valkey(self, attempts: Sequence[Attempt]) -> list[Standing]:
        return [await self._hit_one(attempt) for attempt in attempts]

    async def _hit_one(self, attempt: Attempt) -> Standing:
        rate, key, _ = attempt
        allowed = await self._limiter.hit(rate, key)
        reset_at, remaining = await self._limiter.get_window_stats(rate, key)
        standing = Standing(rate.amount, remaining, max(0, reset_at - time.time()))
        if not allowed:
            raise TooManyRequestsError(standing.limit, standing.reset_seconds)
        return standing


class MemoryWindows:
    """The windows of this process. Of more than `_MOST_KEYS` the ones that were longest out of use are forgotten."""

    def __init__(self) -> None:
        self._moments: dict[str, list[float]] = {}

    def hit(self, rate: RateLimitItem, key: str) -> Standing:
        """Count an attempt.

        Raises:
            TooManyRequestsError: the window is full.
        """
        now, period_seconds = time.monotonic(), rate.get_expiry()
        moments = self._moments.pop(key, [])
        self._moments[key] = moments  # last in the order now
        del moments[: bisect_right(moments, now - period_seconds)]
        if len(moments) >= rate.amount:
            raise TooManyRequestsError(rate.amount, moments[0] + period_seconds - now)
        moments.append(now)
        if len(self._moments) > _MOST_KEYS:
            del self._moments[next(iter(self._moments))]
        return Standing(rate.amount, rate.amount - len(moments), moments[0] + period_seconds - now)

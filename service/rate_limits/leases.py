"""A quota for each account that all workers share, without asking Valkey for each request.

A worker leases a share of an account's quota and spends it by itself; only to lease it asks Valkey. The quota is a
window that opens with an account's first request and lasts as long as the limit says. What is leased counts as used,
so nobody ever gets more than the limit; what workers hold and do not use is lost to the account, so a lease is never
so large that all workers together could sit on a tenth of the limit: the script below knows what each of them may
still hold, and gives half of what is left of that tenth. Where the tenth is taken, leases are of one request.
"""

import asyncio
import os
import time
from uuid import UUID

from limits import RateLimitItem

from service.cache import Cache, CacheUnavailableError
from service.errors import TooManyRequestsError
from service.rate_limits.standing import Standing

_MOST_LEASED = 100
_FEW_SHARES = 1000
_IDLE_PART = 0.1

_LEASE = """
local limit = tonumber(ARGV[1])
local known = redis.call('HMGET', KEYS[1], 'granted', 'idle', ARGV[3])
local granted = tonumber(known[1] or 0)
local idle_elsewhere = tonumber(known[2] or 0) - tonumber(known[3] or 0)
local lease = 1 + math.floor(math.max(0, limit * ARGV[5] - idle_elsewhere) / 2)
lease = math.max(0, math.min(lease, ARGV[4], limit - granted))
local idle = math.max(0, lease - 1)
redis.call('HSET', KEYS[1], 'granted', granted + lease, 'idle', idle_elsewhere + idle, ARGV[3], idle)
if granted == 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {lease, limit - granted - lease, redis.call('PTTL', KEYS[1])}
"""
"""Leases from the window KEYS[1] to the worker ARGV[3]: returns the lease, what is left to lease, milliseconds to the
window's end. ARGV: limit, milliseconds of a window, worker, most in a lease, part of the limit that may lie idle. Of a
lease one request is used at once, so one less may lie idle."""


class _Share:
    """What this worker holds of one account's quota."""

    __slots__ = ("alone_ends_at", "alone_granted", "ends_at", "held", "lock", "unleased")

    def __init__(self) -> None:
        self.held = self.unleased = 0
        self.ends_at = 0.0
        self.lock = asyncio.Lock()
        self.alone_granted = 0  # while Valkey is away: this process's own window
        self.alone_ends_at = 0.0


class LeasedQuota:
    """The quota of every account.

    Args:
        rate: requests, and the length of a window.
        cache: where the windows are; while it is away each worker keeps windows of its own.
    """

    def __init__(self, rate: RateLimitItem, cache: Cache) -> None:
        self._limit = rate.amount
        self._period_seconds = rate.get_expiry()
        self._cache = cache
        self._script = cache.client.register_script(_LEASE)
        self._worker = os.urandom(8).hex()
        self._shares: dict[UUID, _Share] = {}
        self._sweep_at = _FEW_SHARES

    def take(self, account_id: UUID) -> Standing | None:
        """Spend one request of what this worker holds; None if it must lease first.

        Raises:
            TooManyRequestsError: the quota is used up.
        """
        share = self._shares.get(account_id)
        if share is None:
            return None
        left_seconds = share.ends_at - time.monotonic()
        if left_seconds <= 0:
            return None
        if share.held:
            share.held -= 1
            return Standing(self._limit, share.held + share.unleased, left_seconds)
        if share.unleased:
            return None
        raise TooManyRequestsError(self._limit, left_seconds)

    async def lease(self, account_id: UUID) -> None:
        """Get another share, if there is one; requests that need one at the same time get one together."""
        share = self._shares.get(account_id) or self._add(account_id)
        async with share.lock:
            now = time.monotonic()  # before Valkey looks at its clock, so that our window ends no later than its
            if now < share.ends_at and (share.held or not share.unleased):
                return
            try:
                held, unleased, left_milliseconds = await self._cache.call(lambda: self._ask(account_id))
                share.held, share.unleased, share.ends_at = held, unleased, now + left_milliseconds / 1000
            except CacheUnavailableError:
                self._lease_alone(share, now)

    async def _ask(self, account_id: UUID) -> list[int]:
        milliseconds = self._period_seconds * 1000
        answer: list[int] = await self._script(
            [f"slipway:quota:{account_id}"], [self._limit, milliseconds, self._worker, _MOST_LEASED, _IDLE_PART]
        )
        return answer

    def _lease_alone(self, share: _Share, now: float) -> None:
        if now >= share.alone_ends_at:
            share.alone_granted, share.alone_ends_at = 0, now + self._period_seconds
        # No more than Valkey would give, so that it is asked again soon.
        share.held = min(_MOST_LEASED, self._limit - share.alone_granted)
        share.alone_granted += share.held
        share.unleased, share.ends_at = self._limit - share.alone_granted, share.alone_ends_at

    def _add(self, account_id: UUID) -> _Share:
        if len(self._shares) >= self._sweep_at:
            now = time.monotonic()
            kept = {key: share for key, share in self._shares.items() if share.ends_at > now or share.lock.locked()}
            self._shares, self._sweep_at = kept, max(_FEW_SHARES, 2 * len(kept))
        share = self._shares[account_id] = _Share()
        return share

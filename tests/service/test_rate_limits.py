import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any
from unittest import mock
from uuid import uuid4

import pytest
from limits import parse

from service.cache import Cache
from service.errors import TooManyRequestsError
from service.rate_limits import leases
from service.rate_limits import windows as windows_module
from service.rate_limits.limits import RateLimits
from service.rate_limits.standing import Standing
from service.rate_limits.windows import MemoryWindows
from service.settings import Settings
from tests.service.conftest import Door, Host

Workers = Callable[..., list[RateLimits]]


@pytest.fixture
async def workers(host: Host) -> AsyncIterator[Workers]:
    """Makes limiters as so many workers would have them, each with its own way to one Valkey."""
    async with AsyncExitStack() as stack:

        def make(number: int = 1, settings: Settings | None = None, **changes: Any) -> list[RateLimits]:
            settings = settings or host.settings("x", **changes)
            caches = [Cache(settings) for _ in range(number)]
            for cache in caches:
                stack.push_async_callback(cache.close)
            return [RateLimits(settings, cache) for cache in caches]

        yield make


async def allowed(attempts: Sequence[Awaitable[Standing]]) -> int:
    """How many attempts, all made at once, are allowed."""
    answers = await asyncio.gather(*attempts, return_exceptions=True)
    assert {type(answer) for answer in answers} <= {Standing, TooManyRequestsError}
    return sum(isinstance(answer, Standing) for answer in answers)


def someone() -> str:
    return f"{uuid4().hex}@example.com"


def somewhere() -> str:
    return f"2001:db8:{random.randrange(1 << 16):x}:{random.randrange(1 << 16):x}::1"


# Sensitive operations


async def test_a_limit_is_exact_over_all_workers(workers: Workers) -> None:
    limits = workers(4, limit_login_pair="10/minute")
    email, address = someone(), somewhere()
    attempts = [random.choice(limits).check("login", address=address, account=email) for _ in range(60)]
    assert await allowed(attempts) == 10
    with pytest.raises(TooManyRequestsError) as caught:
        await limits[0].check("login", address=address, account=f" {email.upper()} ")
    assert 50 <= int(caught.value.headers["Retry-After"]) <= 60
    assert caught.value.headers["RateLimit-Limit"] == "10"
    assert caught.value.headers["RateLimit-Remaining"] == "0"
    assert caught.value.headers["RateLimit-Reset"] == caught.value.headers["Retry-After"]


async def test_what_is_left_is_told(workers: Workers) -> None:
    (limits,) = workers(limit_login_pair="10/minute", limit_login_address="5/minute", limit_login_account="2/minute")
    standing = await limits.check("login", address=somewhere(), account=someone())
    assert standing[:2] == (5, 4), "the lowest, but not of the window that others fill too"
    assert dict(standing.headers) == {
        b"ratelimit-limit": b"5",
        b"ratelimit-remaining": b"4",
        b"ratelimit-reset": b"60",
    }


async def test_a_window_moves(workers: Workers) -> None:
    (limits,) = workers(limit_registration_address="3/second")
    address = somewhere()
    for _ in range(2):
        assert await allowed([limits.check("registration", address=address) for _ in range(5)]) == 3
        with pytest.raises(TooManyRequestsError) as caught:
            await limits.check("registration", address=address)
        assert caught.value.headers["Retry-After"] == "1"
        await asyncio.sleep(1.05)


async def test_one_stranger_shuts_out_only_himself(workers: Workers) -> None:
    (limits,) = workers(limit_login_pair="3/minute", limit_login_account="8/minute")
    email, stranger = someone(), somewhere()
    assert await allowed([limits.check("login", address=stranger, account=email) for _ in range(50)]) == 3
    await limits.check("login", address=somewhere(), account=email)
    await limits.check("login", address=stranger, account=someone())


async def test_many_strangers_find_a_limit_too(workers: Workers) -> None:
    (limits,) = workers(limit_login_pair="3/minute", limit_login_account="8/minute")
    email = someone()
    assert await allowed([limits.check("login", address=somewhere(), account=email) for _ in range(50)]) == 8


async def test_an_address_that_is_used_up_uses_up_no_account(workers: Workers) -> None:
    (limits,) = workers(limit_reset_address="2/minute", limit_reset_account="3/minute")
    email, address = someone(), somewhere()
    assert await allowed([limits.check("reset", address=address, account=someone()) for _ in range(5)]) == 2
    assert await allowed([limits.check("reset", address=address, account=email) for _ in range(5)]) == 0
    assert await allowed([limits.check("reset", address=somewhere(), account=email) for _ in range(5)]) == 3


async def test_one_network_is_one_client(workers: Workers) -> None:
    (limits,) = workers(limit_refresh_address="4/minute")
    network = somewhere().removesuffix("1")
    assert await allowed([limits.check("refresh", address=f"{network}{host:x}") for host in range(20)]) == 4


async def test_valkey_sees_no_email(workers: Workers, host: Host) -> None:
    (limits,) = workers()
    email = someone()
    await limits.check("login", address=somewhere(), account=email)
    await limits.check("reset", address=somewhere(), account=email)
    cache = Cache(host.settings("x"))
    keys = [key.decode() async for key in cache.client.scan_iter("slipway:*")]
    await cache.close()
    assert any("login/pair" in key for key in keys)
    assert not [key for key in keys if email.partition("@")[0] in key]


async def test_without_valkey_each_process_keeps_the_limits_and_hands_them_back(
    workers: Workers, door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = workers(2, door.settings("x", limit_login_pair="5/minute", limit_account="250/minute"))
    account_id, email, address = uuid4(), someone(), somewhere()
    door.close("valkey")
    for limits in (first, second):
        assert await allowed([limits.check("login", address=address, account=email) for _ in range(30)]) == 5
        assert await allowed([limits.account(account_id) for _ in range(300)]) == 250
    door.open("valkey")
    give_up_at = asyncio.get_running_loop().time() + 30
    while not first._windows._cache.available:
        assert asyncio.get_running_loop().time() < give_up_at
        await asyncio.sleep(0.02)
    assert await allowed([first.check("login", address=address, account=someone()) for _ in range(30)]) == 30
    assert await allowed([first.check("login", address=address, account=email) for _ in range(30)]) == 5
    account_id = uuid4()
    assert await allowed([first.account(account_id) for _ in range(300)]) == 250
    assert len(capsys.readouterr().out.splitlines()) <= 4, "each worker says when it begins and when it ends"


def test_windows_in_memory_move_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = mock.Mock(return_value=1000.0)
    monkeypatch.setattr("time.monotonic", clock)
    monkeypatch.setattr(windows_module, "_MOST_KEYS", 3)
    windows, rate = MemoryWindows(), parse("2/minute")
    assert windows.hit(rate, "a") == (2, 1, 60)
    clock.return_value += 20
    assert windows.hit(rate, "a") == (2, 0, 40)
    with pytest.raises(TooManyRequestsError) as caught:
        windows.hit(rate, "a")
    assert caught.value.headers["Retry-After"] == "40"
    clock.return_value += 40
    assert windows.hit(rate, "a") == (2, 0, 20), (
        "the first attempt has grown old, those that were refused never counted"
    )
    for key in "bcd":
        windows.hit(rate, key)
    assert set(windows._moments) == {"b", "c", "d"}


# Everything else


@pytest.mark.parametrize("rate", [1, 7, 60, 600, 2345])
@pytest.mark.parametrize("shares", [[1], [1, 1], [1] * 16, [1000] + [1] * 15, [3 ** (n % 7) for n in range(32)]])
async def test_a_quota_is_never_exceeded_and_nine_tenths_of_it_can_be_used(
    workers: Workers, rate: int, shares: list[int]
) -> None:
    limits, account_id = workers(len(shares), limit_account=f"{rate}/hour"), uuid4()
    answered = 0
    for worker in limits:  # each has served the account before, as little as it may be
        answered += await allowed([worker.account(account_id)])
    chosen = random.choices(limits, shares, k=2 * rate + 100)
    for start in range(0, len(chosen), 50):  # some at once
        answered += await allowed([worker.account(account_id) for worker in chosen[start : start + 50]])
    heaviest = limits[shares.index(max(shares))]
    while await allowed([heaviest.account(account_id)]):
        answered += 1
    assert 0.9 * rate < answered <= rate


async def test_workers_seldom_ask(workers: Workers) -> None:
    (limits,) = workers(limit_account="600/hour")
    account_id = uuid4()
    with asked(limits) as ask:
        for _ in range(600):
            await limits.account(account_id)
        assert ask.call_count <= 0.1 * 600
        for _ in range(600):
            with pytest.raises(TooManyRequestsError):
                await limits.account(account_id)
        assert ask.call_count <= 0.1 * 600, "who has used up a quota costs no round trips"


async def test_requests_at_one_time_ask_once(workers: Workers) -> None:
    (limits,) = workers(limit_account="10000/hour")
    account_id = uuid4()
    with asked(limits) as ask:
        assert await allowed([limits.account(account_id) for _ in range(100)]) == 100
    assert ask.call_count == 1


async def test_a_request_that_is_given_up_leaves_the_others_theirs(workers: Workers) -> None:
    (limits,) = workers(limit_account="10/hour")
    account_id = uuid4()
    requests = [asyncio.create_task(limits.account(account_id)) for _ in range(5)]
    await asyncio.sleep(0)
    requests[0].cancel()
    answers = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(answer) for answer in answers[1:]] == [Standing] * 4


async def test_a_quota_comes_back_when_its_window_ends(workers: Workers) -> None:
    limits, account_id = workers(2, limit_account="6/second"), uuid4()
    for _ in range(2):
        assert await allowed([random.choice(limits).account(account_id) for _ in range(30)]) == 6
        with pytest.raises(TooManyRequestsError) as caught:
            await limits[0].account(account_id)
        assert caught.value.headers["Retry-After"] == "1"
        await asyncio.sleep(1.05)


async def test_accounts_have_quotas_of_their_own_and_idle_ones_are_forgotten(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_FEW_SHARES", 10)
    (limits,) = workers(limit_account="2/second")
    for _ in range(3):
        accounts = [uuid4() for _ in range(40)]
        for account_id in accounts:
            assert (await limits.account(account_id)).remaining == 1
        await asyncio.sleep(1.05)
    assert len(limits._quota._shares) <= 80


async def test_standings_count_down(workers: Workers) -> None:
    (limits,) = workers(limit_account="50/minute")
    account_id = uuid4()
    standings = [await limits.account(account_id) for _ in range(50)]
    assert [standing.remaining for standing in standings] == list(range(49, -1, -1))
    assert {standing.limit for standing in standings} == {50}
    assert all(59 < standing.reset_seconds <= 60 for standing in standings)


def asked(limits: RateLimits) -> Any:
    """Counts how often the quota asks Valkey."""
    return mock.patch.object(limits._quota, "_ask", side_effect=limits._quota._ask)

import asyncio
import time
from collections.abc import Iterator

import pytest

from service.accounts.passwords import Passwords
from service.errors import PasswordQueueFullError
from service.settings import Settings


def settings(**changes: int) -> Settings:
    known = {"password_memory_kib": 8, "password_passes": 1, **changes}
    return Settings(
        database_url="postgresql://x@/x",
        cache_url="unix:///x",
        token_keys="{}",
        **known,  # type: ignore[arg-type]
    )


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(settings())
    yield made
    made.close()


async def test_right_and_wrong(passwords: Passwords) -> None:
    stored = await passwords.hash("correct horse")
    assert stored.startswith("$argon2id$")
    assert await passwords.verify("correct horse", stored) == (True, None)
    assert await passwords.verify("wrong horse", stored) == (False, None)
    assert await passwords.verify("correct horse", None) == (False, None)
    assert await passwords.verify("correct horse", "no hash") == (False, None)
    assert await passwords.hash("correct horse") != stored


async def test_dearer_parameters_give_a_new_hash(passwords: Passwords) -> None:
    stored = await passwords.hash("correct horse")
    dearer = Passwords(settings(password_passes=2))
    right, new_hash = await dearer.verify("correct horse", stored)
    assert right
    assert new_hash
    assert await dearer.verify("correct horse", new_hash) == (True, None)
    dearer.close()


async def test_a_flood_is_refused_and_leaves_the_loop_free() -> None:
    passwords = Passwords(settings(password_memory_kib=65536, password_passes=2, password_queue_length=3))
    longest_stall = 0.0

    async def watch() -> None:
        nonlocal longest_stall
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0)
            longest_stall = max(longest_stall, time.perf_counter() - started)

    watcher = asyncio.create_task(watch())
    results = await asyncio.gather(*(passwords.hash("x") for _ in range(20)), return_exceptions=True)
    watcher.cancel()
    refused = [result for result in results if isinstance(result, PasswordQueueFullError)]
    assert len(refused) == 16
    assert len([result for result in results if isinstance(result, str)]) == 4
    assert longest_stall < 0.25
    assert isinstance(await passwords.hash("and afterwards"), str)
    passwords.close()

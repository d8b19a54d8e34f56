import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from service.accounts.passwords import Passwords
from service.errors import PasswordQueueFullError
from service.settings import Settings


def settings(**changes: int) -> Settings:
    known: dict[str, Any] = {
        "password_memory_kib": 8,
        "password_passes": 1,
        "password_threads": 1,
        "password_queue_length": 32,
    }
    return Settings.model_construct(**{**known, **changes})


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
    passwords = Passwords(settings(password_memory_kib=16384, password_passes=2, password_queue_length=3))
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    watcher = asyncio.create_task(watch())
    results = await asyncio.gather(*(passwords.hash("x") for _ in range(20)), return_exceptions=True)
    watcher.cancel()
    refused = [result for result in results if isinstance(result, PasswordQueueFullError)]
    assert len(refused) == 16
    assert len([result for result in results if isinstance(result, str)]) == 4
    assert turns > 100, "a loop that hashed itself would have had one turn a hash"
    assert isinstance(await passwords.hash("and afterwards"), str)
    passwords.close()


async def test_the_thread_that_hashes_lets_the_loop_go_first(passwords: Passwords) -> None:
    import os
    import threading

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert await passwords._in_thread(niceness) == niceness() + 10
    assert passwords.at_once == 0


def test_default_parameters_are_not_below_what_owasp_asks() -> None:
    """OWASP's Password Storage Cheat Sheet: 19 MiB and two passes, or more."""
    fields = Settings.model_fields
    assert fields["password_memory_kib"].default >= 19456
    assert fields["password_passes"].default >= 2

"""Passwords: Argon2id, computed off the event loop by a few threads with a bounded queue before them.

A hash costs some 50 ms of a core on purpose: 32 MiB and two passes, where OWASP's least is 19 MiB and two. On the event
loop it would stop every other request for as long; in an unbounded pool a flood of logins would pile up work that
nobody waits for any more; and threads of the same rank as the loop would take half of its core from it. Argon2 itself
runs without the interpreter's lock, so what is left for the loop is all but the last part of the core.
"""

import asyncio
import os
import secrets
import sys
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

from service.errors import PasswordQueueFullError
from service.metrics import PASSWORDS, count
from service.settings import Settings

_Result = TypeVar("_Result")
_NICENESS = 10
"""A tenth of the loop's share of a core that both want. With less the thread could be kept from a busy machine's cores
just while it holds the interpreter's lock, and the loop would wait for it."""


class Passwords:
    """Hashes and verifies passwords. Make it after the worker's fork: threads do not survive one."""

    def __init__(self, settings: Settings) -> None:
        self._argon2 = PasswordHash(
            (Argon2Hasher(time_cost=settings.password_passes, memory_cost=settings.password_memory_kib, parallelism=1),)
        )
        self._threads = ThreadPoolExecutor(
            settings.password_threads, thread_name_prefix="password", initializer=_step_back
        )
        self._most_at_once = settings.password_threads + settings.password_queue_length
        self._at_once = 0
        # What an unknown account's password is compared with; made by the time the first login can arrive.
        self._nobodys: Future[str] = self._threads.submit(self._argon2.hash, secrets.token_hex())

    @property
    def at_once(self) -> int:
        """How many passwords are being hashed or wait for it."""
        return self._at_once

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Hash a new password.

        Raises:
            PasswordQueueFullError: too many are waiting already.
        """
        return await self._in_thread(lambda: self._argon2.hash(_normal(password)))

    async def verify(self, password: str, password_hash: str | None) -> tuple[bool, str | None]:
        """Compare a password with a stored hash, or with nobody's for None, at the same cost.

        Returns:
            Whether it is the right one, and a new hash to store if the old one's parameters are out of date.

        Raises:
            PasswordQueueFullError: too many are waiting already.
        """

        def compare() -> tuple[bool, str | None]:
            if password_hash is None:
                self._argon2.verify(_normal(password), self._nobodys.result())
                return False, None
            try:
                return self._argon2.verify_and_update(_normal(password), password_hash)
            except UnknownHashError:
                return False, None

        return await self._in_thread(compare)

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        if self._at_once >= self._most_at_once:
            count(PASSWORDS, "rejected")
            raise PasswordQueueFullError
        count(PASSWORDS, "accepted")
        self._at_once += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._at_once -= 1


def _step_back() -> None:
    """Let the event loop's thread go first; on Linux each thread has a niceness of its own (setpriority(2))."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _normal(password: str) -> str:
    """The same characters as the same code points, however they were typed (NIST SP 800-63B-4, section 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)

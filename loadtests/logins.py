"""The tokens that visitors show, good for as long as a run lasts. Without I/O, so that any client can ask for them."""

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from loadtests.journeys import Reply, Request

__all__ = ["Logins"]

Ask: TypeAlias = Callable[[Request], Reply]


class Logins:
    """One token for each account.

    Args:
        requests: the login of each account.
        ask: sends a request and returns its reply; ValueError when that is not the one expected.
    """

    def __init__(self, requests: Sequence[Request], ask: Ask) -> None:
        self._requests = requests
        self._ask = ask
        self._lifetime_seconds = math.inf
        self.tokens: list[str] = []

    def begin(self, each: Callable[[Callable[[Request], str], Sequence[Request]], Iterable[str]]) -> None:
        """Log all accounts in.

        Args:
            each: like `map`: calls a function with each request, one by one or several at once.

        Raises:
            ValueError: a login did not work.
            KeyError: its answer holds no token.
        """
        self.tokens = list(each(self._token, self._requests))

    def keep_good(self, sleep: Callable[[float], None]) -> None:
        """Log in again, account after account, before tokens end; does not return while they ever end.

        No token gets older than two thirds of its life, and a run that is over before a third has passed sees none of
        this. An account that cannot log in keeps the token it has: the answers to it will tell.
        """
        if not self.tokens or math.isinf(self._lifetime_seconds):
            return
        sleep(self._lifetime_seconds / 3)
        while True:
            for index, request in enumerate(self._requests):
                with contextlib.suppress(ValueError, KeyError):
                    self.tokens[index] = self._token(request)
                sleep(self._lifetime_seconds / 3 / len(self._requests))

    def _token(self, request: Request) -> str:
        answer = self._ask(request).json()
        self._lifetime_seconds = min(self._lifetime_seconds, answer.get("expires_in", math.inf))
        return str(answer["access_token"])

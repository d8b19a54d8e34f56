import json
from typing import Any

import pytest

from loadtests.journeys import Reply, Request, login
from loadtests.logins import Logins

ACCOUNTS = [login(f"{name}@dataset.example", "p") for name in ("ada", "ben", "cyd")]


class EndedError(Exception):
    pass


class Service:
    """Gives each login the next number as its token; may refuse."""

    def __init__(self, **answer: Any) -> None:
        self.answer = answer
        self.given = 0
        self.refuses = False

    def __call__(self, request: Request) -> Reply:
        if self.refuses:
            raise ValueError("status 503")
        self.given += 1
        return Reply(json.dumps({"access_token": str(self.given), **self.answer}).encode())


def begun(service: Service) -> Logins:
    logins = Logins(ACCOUNTS, service)
    logins.begin(map)
    assert logins.tokens == ["1", "2", "3"]
    return logins


def test_tokens_are_renewed_in_turn_before_two_thirds_of_their_life() -> None:
    logins = begun(Service(expires_in=900))
    clock, made_at = 0.0, dict.fromkeys("123", 0.0)
    oldest = 0.0

    def sleep(seconds: float) -> None:
        nonlocal clock, oldest
        for token in logins.tokens:
            made_at.setdefault(token, clock)
        clock += seconds
        oldest = max(oldest, *(clock - made_at[token] for token in logins.tokens))
        if clock > 10_000:
            raise EndedError

    with pytest.raises(EndedError):
        logins.keep_good(sleep)
    assert oldest <= 600
    assert len(made_at) < 3 + 3 * 10_000 / 300 + 1


def test_a_short_run_logs_nobody_in_again() -> None:
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        raise EndedError

    with pytest.raises(EndedError):
        begun(Service(expires_in=900)).keep_good(sleep)
    assert slept == [300]


@pytest.mark.parametrize("requests", [ACCOUNTS, []])
def test_tokens_that_never_end_are_kept(requests: Any) -> None:
    logins = Logins(requests, Service())
    logins.begin(map)
    logins.keep_good(lambda _: pytest.fail("waits for nothing"))


def test_an_account_that_cannot_log_in_keeps_its_token() -> None:
    service = Service(expires_in=900)
    logins = begun(service)
    service.refuses = True
    naps = iter(range(5))

    def sleep(_: float) -> None:
        if next(naps, None) is None:
            raise EndedError

    with pytest.raises(EndedError):
        logins.keep_good(sleep)
    assert logins.tokens == ["1", "2", "3"]

"""Rate limits: what is counted, for whom, and where.

Sensitive operations (`check`) are counted exactly, in moving windows (rate_windows.py):

- Every attempt counts, whether it succeeds or not, and a success takes nothing back: the answer to a login then tells
  nothing by its place in a series, and whoever knows one password gains no attempts at another.
- per client address: a flood from one place, or one password tried on many accounts. An IPv6 address counts as its /64,
  which is what one customer gets (client_address.py).
- per account and address together (login): the tight one. A stranger who keeps guessing shuts out himself; the owner,
  elsewhere, has a window of his own.
- per account, from anywhere: wide for logins, since whoever fills it shuts out the owner too. With the defaults that
  takes four addresses at work all the time, and ends as places come free one by one, in a quarter of an hour at the
  latest. Tight for mails (reset, resend): each one that is counted is in the owner's mailbox already.
- An account is what the client calls it, an e-mail that may have no account: the answers are the same. Valkey sees its
  hash only.

Windows are tried in this order, and one that is full keeps the attempt from the next: an address that has used up its
attempts cannot use up an account's.

Everything else (`account`) is counted per account, in shares that workers lease (rate_leases.py).
"""

from hashlib import blake2b
from typing import Literal
from uuid import UUID

from service.cache import Cache
from service.errors import TooManyRequestsError
from service.http.client_address import network_of
from service.metrics import RATE_LIMIT_DECISIONS, count
from service.rate_limits.leases import LeasedQuota
from service.rate_limits.standing import Standing, rate_of
from service.rate_limits.windows import Attempt, MovingWindows
from service.settings import Settings

Operation = Literal["login", "registration", "reset", "resend", "confirmation", "refresh"]

_SUBJECTS: dict[Operation, tuple[Literal["address", "pair", "account"], ...]] = {
    "login": ("address", "pair", "account"),
    "registration": ("address",),
    "reset": ("address", "account"),
    "resend": ("address", "account"),
    "confirmation": ("address",),
    "refresh": ("address",),
}
"""Whose attempts at an operation are counted; the rate is the setting `limit_<operation>_<subject>`."""


class RateLimits:
    """All limits of one worker."""

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self._rates = {
            (operation, subject): rate_of(getattr(settings, f"limit_{operation}_{subject}"))
            for operation, subjects in _SUBJECTS.items()
            for subject in subjects
        }
        self._windows = MovingWindows(cache)
        self._quota = LeasedQuota(rate_of(settings.limit_account), cache)

    async def check(
        self, operation: Operation, *, address: str, account: str | None = None, before: Standing | None = None
    ) -> Standing:
        """Count an attempt at a sensitive operation: at once, or first the address, which is known first.

        Args:
            operation: what is attempted.
            address: the client's, from client_address.py.
            account: the e-mail or id of the account it is about; None where accounts are not limited, and while it is
                not known yet.
            before: what this gave for the same attempt while only the address was known; it is not counted again.

        Returns:
            What is left to this client; says nothing of what others attempted at the same account.

        Raises:
            TooManyRequestsError: a limit is reached.
        """
        network = network_of(address)
        whose = blake2b((account or "").strip().lower().encode(), digest_size=16).hexdigest()
        keys = {"address": network, "pair": f"{whose}/{network}", "account": whose}
        attempts = [
            Attempt(self._rates[operation, subject], f"{operation}/{subject}/{keys[subject]}", subject != "account")
            for subject in _SUBJECTS[operation]
            if (before is None if subject == "address" else account is not None)
        ]
        try:
            standing = await self._windows.hit(attempts, before)
        except TooManyRequestsError:
            count(RATE_LIMIT_DECISIONS, operation, "limited")
            raise
        count(RATE_LIMIT_DECISIONS, operation, "allowed")
        return standing

    async def account(self, account_id: UUID) -> Standing:
        """Count a request of an account; suspends only to lease a share. Only what is refused gets into the metric.

        Raises:
            TooManyRequestsError: the account has used up its quota.
        """
        try:
            while (standing := self._quota.take(account_id)) is None:
                await self._quota.lease(account_id)
        except TooManyRequestsError:
            count(RATE_LIMIT_DECISIONS, "account", "limited")
            raise
        return standing

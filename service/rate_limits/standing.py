"""What is left of a rate limit, and how an answer says so."""

from math import ceil
from typing import NamedTuple

from limits import RateLimitItem, parse


class Standing(NamedTuple):
    """Where somebody stands with a limit.

    Args:
        limit: requests that the limit allows in its time.
        remaining: how many of them are left.
        reset_seconds: when there will be more.
    """

    limit: int
    remaining: int
    reset_seconds: float

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The RateLimit headers, for `scope["state"]["headers"]` (draft-ietf-httpapi-ratelimit-headers-06)."""
        return [
            (b"ratelimit-limit", b"%d" % self.limit),
            (b"ratelimit-remaining", b"%d" % self.remaining),
            (b"ratelimit-reset", b"%d" % ceil(self.reset_seconds)),
        ]


def rate_of(text: str) -> RateLimitItem:
    """Read a setting such as `10/minute`, which the settings have checked."""
    return parse(text)

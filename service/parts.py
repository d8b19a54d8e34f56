"""What one worker keeps for all its requests, and how a route gets at it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from starlette.requests import Request
from starlette.responses import Response

from service.accounts.passwords import Passwords
from service.accounts.tokens import Tokens
from service.cache import Cache
from service.database import Database
from service.http.client_address import TrustedProxies
from service.mail.delivery import Delivery
from service.probe import Probe
from service.rate_limits.limits import RateLimits
from service.release import Release
from service.settings import Settings
from service.turns import Turns


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a running worker."""

    settings: Settings
    release: Release
    database: Database
    cache: Cache
    probe: Probe
    limits: RateLimits
    proxies: TrustedProxies
    delivery: Delivery
    tokens: Tokens
    passwords: Passwords
    bulk_turns: Turns
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def of(cls, request: Request) -> Self:
        """The parts of the worker that serves a request."""
        parts: Self = request.app.state.parts
        return parts


def json_response(text: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with JSON that PostgreSQL has already written."""
    return Response(text, status, headers, media_type="application/json")

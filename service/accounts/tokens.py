"""Access tokens: JWTs signed with one key of a ring and verified with any of it, so that a key can change gently."""

import base64
import binascii
import json
import time
from dataclasses import dataclass
from typing import Self
from uuid import UUID, uuid4

import jwt
from jwt.types import Options

from service.errors import SettingsError, UnauthenticatedError
from service.settings import Settings

_REQUIRED: Options = {"require": ["exp", "iat", "iss", "aud", "jti", "sub"]}
_ALGORITHMS = {"HS256"}
_LEAST_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class _Key:
    algorithm: str
    secret: bytes


class Tokens:
    """Issues and verifies access tokens. Each key verifies its own algorithm only, whatever a token's header says."""

    def __init__(
        self, keys: dict[str, _Key], signing: str, *, issuer: str, audience: str, lifetime_seconds: int
    ) -> None:
        self._keys = keys
        self._signing = signing
        self._issuer = issuer
        self._audience = audience
        self.lifetime_seconds = lifetime_seconds

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read the key ring.

        Raises:
            SettingsError: it is not one, or a key is too weak.
        """
        try:
            ring = json.loads(settings.token_keys.get_secret_value())
            keys = {entry["kid"]: _Key(entry["alg"], _decode(entry["key"])) for entry in ring["keys"]}
            signing = ring["signing"]
        except (ValueError, KeyError, TypeError, binascii.Error):
            # Not the cause's own words: they may quote the secret.
            raise SettingsError("SLIPWAY_TOKEN_KEYS is not a key ring: write it as service/settings.py says") from None
        for kid, key in keys.items():
            if key.algorithm not in _ALGORITHMS or len(key.secret) < _LEAST_KEY_BYTES:
                raise SettingsError(f"SLIPWAY_TOKEN_KEYS: key {kid} must be HS256 of {_LEAST_KEY_BYTES} bytes or more")
        if signing not in keys:
            raise SettingsError(f"SLIPWAY_TOKEN_KEYS: the signing key {signing} is not among the keys: add it")
        return cls(
            keys,
            signing,
            issuer=settings.token_issuer,
            audience=settings.token_audience,
            lifetime_seconds=settings.token_lifetime_seconds,
        )

    def issue(self, account_id: UUID) -> str:
        """Make a token for an account, good for `lifetime_seconds` from now."""
        key = self._keys[self._signing]
        now = int(time.time())
        claims = {
            "sub": str(account_id),
            "iss": self._issuer,
            "aud": self._audience,
            "iat": now,
            "exp": now + self.lifetime_seconds,
            "jti": uuid4().hex,
        }
        return jwt.encode(claims, key.secret, key.algorithm, {"kid": self._signing})

    def verify(self, token: str) -> UUID:
        """Return the account that a token speaks for.

        Raises:
            UnauthenticatedError: it is not ours, not whole, or no longer good.
        """
        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(
                token,
                key.secret,
                algorithms=[key.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                options=_REQUIRED,
            )
            return UUID(claims["sub"])
        except (jwt.PyJWTError, KeyError, ValueError, TypeError):
            raise UnauthenticatedError from None


def _decode(key: str) -> bytes:
    return base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))

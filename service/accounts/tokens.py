"""Access tokens: JWTs signed with one key of a ring and verified with any of it, so that a key can change gently.

A new key joins the ring, signs once every worker knows it, and the old one leaves when its last token has ended. A key
is HS256 (a secret that signs and verifies) or EdDSA (an Ed25519 pair, or only the public half of one that signs
elsewhere). What a token says of its algorithm is never believed: the key that it names decides (RFC 8725, section 3.1).
"""

import base64
import binascii
import json
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID, uuid4

from service.accounts.models import Identity
from service.errors import SettingsError, UnauthenticatedError
from service.imports import without
from service.settings import Settings

if TYPE_CHECKING:
    from jwt.types import Options

_REQUIRED: "Options" = {"require": ["exp", "iat", "iss", "aud", "jti", "sub", "sid"]}
_LEEWAY_SECONDS = 10
"""How far the clocks of our machines may differ: `iat` and `nbf` may lie that far ahead. `exp` is not extended."""
_KEY_BYTES = 32
"""The least for HS256 (RFC 7518, section 3.2), and what a half of an Ed25519 pair has."""
_MOST_REMEMBERED = 10_000
_LAST_SECOND = 253_402_300_799  # of the year 9999


@dataclass(frozen=True, slots=True)
class _Key:
    algorithm: str
    signs: Any
    verifies: Any
    public: str | None = None


class Tokens:
    """Issues and verifies access tokens."""

    def __init__(
        self, keys: dict[str, _Key], signing: str, *, issuer: str, audience: str, lifetime_seconds: int
    ) -> None:
        self._keys = keys
        self._signing = signing
        self._issuer = issuer
        self._audience = audience
        self.lifetime_seconds = lifetime_seconds
        self._verified: dict[str, tuple[Identity, float]] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read the key ring, and load what its algorithms need.

        Raises:
            SettingsError: it is not one, or a key is too weak.
        """
        ring, signing = _read_ring(settings.token_keys.get_secret_value())
        # PyJWT loads cryptography wherever it is installed: 75 ms and 14 MB for whoever signs with HMAC.
        with nullcontext() if any(entry["alg"] == "EdDSA" for entry in ring) else without("cryptography.hazmat"):
            import jwt  # noqa: F401, PLC0415 - first of all here, so that the line above decides
        keys = {entry["kid"]: _key(entry) for entry in ring}
        if signing not in keys or keys[signing].signs is None:
            raise SettingsError(f"SLIPWAY_TOKEN_KEYS: no key {signing} that can sign is among the keys: add it")
        return cls(
            keys,
            signing,
            issuer=settings.token_issuer,
            audience=settings.token_audience,
            lifetime_seconds=settings.token_lifetime_seconds,
        )

    def issue(self, who: Identity) -> str:
        """Make a token for a session, good for `lifetime_seconds` from now."""
        import jwt  # noqa: PLC0415 - see from_settings

        key = self._keys[self._signing]
        now = int(time.time())
        claims = {
            "sub": str(who.account_id),
            "sid": str(who.session_id),
            "iss": self._issuer,
            "aud": self._audience,
            "iat": now,
            "exp": now + self.lifetime_seconds,
            "jti": uuid4().hex,
        }
        return jwt.encode(claims, key.signs, key.algorithm, {"kid": self._signing})

    def verify(self, token: str) -> Identity:
        """Return whom a token speaks for.

        A client sends the same token with each request of a quarter of an hour, so those found good are remembered,
        whole: a token that differs in one character is another one, and the end of its time is looked at each time.

        Raises:
            UnauthenticatedError: it is not ours, not whole, or no longer good.
        """
        known = self._verified.get(token)
        if known is None:
            known = self._check(token)
            if len(self._verified) >= _MOST_REMEMBERED:
                del self._verified[next(iter(self._verified))]  # the one that was remembered first
            self._verified[token] = known
        who, expires_at = known
        if expires_at <= time.time():
            raise UnauthenticatedError
        return who

    def public_keys(self) -> dict[str, list[dict[str, str]]]:
        """The ring's public keys as a JWK set (RFC 7517, RFC 8037), for others who want to verify our tokens."""
        pair = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig"}
        return {"keys": [{**pair, "kid": kid, "x": key.public} for kid, key in self._keys.items() if key.public]}

    def _check(self, token: str) -> tuple[Identity, float]:
        import jwt  # noqa: PLC0415 - see from_settings

        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(
                token,
                key.verifies,
                algorithms=[key.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY_SECONDS,
                options=_REQUIRED,
            )
            _ = _moment(claims["iat"])
            return Identity(UUID(claims["sub"]), UUID(claims["sid"])), _moment(claims["exp"])
        except (jwt.PyJWTError, KeyError, ValueError, TypeError, AttributeError, OverflowError):
            raise UnauthenticatedError from None


def _moment(claim: Any) -> float:
    """Seconds since 1970 (RFC 7519, section 2: a NumericDate is a number); PyJWT takes their text, too."""
    if type(claim) not in {int, float} or not 0 <= claim <= _LAST_SECOND:
        raise ValueError("no moment")
    return float(claim)


def _read_ring(text: str) -> tuple[list[dict[str, str]], str]:
    try:
        ring = json.loads(text)
        entries = [{**entry, "kid": str(entry["kid"]), "alg": str(entry["alg"])} for entry in ring["keys"]]
        return entries, str(ring["signing"])
    except (ValueError, KeyError, TypeError):
        # Not the cause's own words: they may quote the secret.
        raise SettingsError("SLIPWAY_TOKEN_KEYS is not a key ring: write it as service/settings.py says") from None


def _key(entry: dict[str, str]) -> _Key:
    algorithm, kid = entry["alg"], entry["kid"]
    try:
        if algorithm == "HS256":
            secret = _decode(entry["key"])
            if len(secret) >= _KEY_BYTES:
                return _Key(algorithm, secret, secret)
        elif algorithm == "EdDSA":
            return _pair(entry)
    except (ValueError, KeyError, TypeError, binascii.Error):
        pass  # the text below says it all, and quotes no secret
    raise SettingsError(
        f"SLIPWAY_TOKEN_KEYS: key {kid} must be HS256 with a key of {_KEY_BYTES} bytes or more, "
        f"or EdDSA with a key or public of {_KEY_BYTES} bytes, in base64url"
    )


def _pair(entry: dict[str, str]) -> _Key:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - see from_settings
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

    private = Ed25519PrivateKey.from_private_bytes(_decode(entry["key"])) if "key" in entry else None
    public = private.public_key() if private else Ed25519PublicKey.from_public_bytes(_decode(entry["public"]))
    encoded = base64.urlsafe_b64encode(public.public_bytes_raw()).rstrip(b"=").decode()
    return _Key(entry["alg"], private, public, encoded)


def _decode(key: str) -> bytes:
    return base64.b64decode(key.replace("-", "+").replace("_", "/") + "=" * (-len(key) % 4), validate=True)

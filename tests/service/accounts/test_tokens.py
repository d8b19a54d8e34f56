import base64
import json
import time
from typing import Any
from uuid import uuid4

import jwt
import pytest

from service.accounts.tokens import Tokens
from service.errors import SettingsError, UnauthenticatedError
from service.settings import Settings
from tests.service.conftest import TOKEN_KEYS

RING = json.loads(TOKEN_KEYS)
KEYS = {entry["kid"]: base64.urlsafe_b64decode(entry["key"]) for entry in RING["keys"]}
FIRST = KEYS["first"]


def tokens(ring: Any = RING) -> Tokens:
    text = ring if isinstance(ring, str) else json.dumps(ring)
    return Tokens.from_settings(Settings(database_url="postgresql://x@/x", cache_url="unix:///x", token_keys=text))


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {"sub": str(uuid4()), "iss": "slipway", "aud": "slipway-api", "iat": now, "exp": now + 60, "jti": "1"}
    return {key: value for key, value in {**good, **changes}.items() if value is not None}


def test_issued_token_names_its_account() -> None:
    account_id = uuid4()
    token = tokens().issue(account_id)
    assert tokens().verify(token) == account_id
    assert jwt.get_unverified_header(token)["kid"] == "first"
    content = jwt.decode(token, options={"verify_signature": False})
    assert set(content) == {"sub", "iss", "aud", "iat", "exp", "jti"}
    assert tokens().issue(account_id) != token


def test_any_key_of_the_ring_verifies_so_that_rotation_logs_nobody_out() -> None:
    token = tokens().issue(uuid4())
    rotated = tokens({**RING, "signing": "second"})
    rotated.verify(token)
    tokens().verify(rotated.issue(uuid4()))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"iat": 1 << 33},
        {"iss": "somebody"},
        {"aud": "another-api"},
        {"sub": "not an id"},
        {"sub": 7},
        *({name: None} for name in ("sub", "iss", "aud", "iat", "exp", "jti")),
    ],
)
def test_claims_that_are_missing_or_wrong(changes: dict[str, Any]) -> None:
    tokens().verify(jwt.encode(claims(), FIRST, "HS256", {"kid": "first"}))
    content = {key: value for key, value in claims(**changes).items() if key not in changes or changes[key] is not None}
    # PyJWT's own encoder refuses some of them, so the token is signed by hand.
    token = jwt.PyJWS().encode(json.dumps(content).encode(), FIRST, "HS256", {"kid": "first"})
    with pytest.raises(UnauthenticatedError):
        tokens().verify(token)


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [
        ("second", "HS256", "first"),
        ("second", "HS384", "second"),
        ("first", "HS256", "third"),
        ("first", "HS256", None),
        (None, "none", "first"),
    ],
)
def test_each_key_verifies_only_its_own_algorithm(key: str | None, algorithm: str, kid: str | None) -> None:
    token = jwt.encode(claims(), KEYS.get(key or ""), algorithm, {"kid": kid} if kid else {})
    with pytest.raises(UnauthenticatedError):
        tokens().verify(token)


@pytest.mark.parametrize("token", ["", ".", "a.b.c", "é.é.é", "\x00", "a" * 10_000])
def test_noise(token: str) -> None:
    with pytest.raises(UnauthenticatedError):
        tokens().verify(token)


@pytest.mark.parametrize(
    "ring",
    [
        "not json s3cret",
        "[]",
        {"keys": []},
        {"signing": "x", "keys": RING["keys"]},
        {"signing": "a", "keys": [{"kid": "a", "alg": "HS256", "key": "c2hvcnQ="}]},
        {"signing": "a", "keys": [{"kid": "a", "alg": "none", "key": RING["keys"][0]["key"]}]},
        {"signing": "a", "keys": [{"kid": "a", "alg": "HS256", "key": "s3cret!"}]},
    ],
)
def test_wrong_key_ring_stops_the_start_and_stays_secret(ring: Any) -> None:
    with pytest.raises(SettingsError, match="SLIPWAY_TOKEN_KEYS") as caught:
        tokens(ring)
    assert "s3cret" not in str(caught.value)

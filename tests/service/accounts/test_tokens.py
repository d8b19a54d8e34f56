import base64
import json
import subprocess
import sys
import time
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.accounts.models import Identity
from service.accounts.tokens import Tokens
from service.errors import SettingsError, UnauthenticatedError
from service.main import build_app
from service.release import Release
from service.settings import Settings
from tests.service.conftest import TOKEN_KEYS, Host, User, running

RING = json.loads(TOKEN_KEYS)
KEYS = {entry["kid"]: base64.urlsafe_b64decode(entry["key"]) for entry in RING["keys"]}
FIRST = KEYS["first"]
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key().public_bytes_raw()


def text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


PAIR = {"kid": "pair", "alg": "EdDSA", "key": text(PRIVATE.private_bytes_raw())}
PUBLIC_HALF = {"kid": "pair", "alg": "EdDSA", "public": text(PUBLIC)}
PAIR_RING = {"signing": "pair", "keys": [*RING["keys"], PAIR]}
WHO = Identity(uuid4(), uuid4())


def tokens(ring: Any = RING) -> Tokens:
    ring_text = ring if isinstance(ring, str) else json.dumps(ring)
    return Tokens.from_settings(Settings.model_construct(token_keys=_secret(ring_text)))


def _secret(value: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(value)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {"sub": str(WHO.account_id), "sid": str(WHO.session_id), "iss": "slipway", "aud": "slipway-api"}
    return {**good, "iat": now, "exp": now + 60, "jti": "1", **changes}


def signed(content: dict[str, Any], key: Any = FIRST, algorithm: str = "HS256", kid: str = "first") -> str:
    # PyJWT's own encoder refuses some claims, so these are signed by hand.
    return jwt.PyJWS().encode(json.dumps(content).encode(), key, algorithm, {"kid": kid})


@pytest.mark.parametrize("ring", [RING, PAIR_RING])
def test_issued_token_names_account_and_session(ring: Any) -> None:
    token = tokens(ring).issue(WHO)
    assert tokens(ring).verify(token) == WHO
    assert jwt.get_unverified_header(token)["kid"] == ring["signing"]
    content = jwt.decode(token, options={"verify_signature": False})
    assert set(content) == {"sub", "sid", "iss", "aud", "iat", "exp", "jti"}
    assert content["exp"] - content["iat"] == 900
    assert tokens(ring).issue(WHO) != token


def test_any_key_of_the_ring_verifies_so_that_rotation_logs_nobody_out() -> None:
    old, both, new = tokens(RING), tokens({**PAIR_RING, "signing": "first"}), tokens(PAIR_RING)
    for issuer in (old, both):
        new.verify(issuer.issue(WHO))
    both.verify(new.issue(WHO))
    with pytest.raises(UnauthenticatedError):
        tokens({"signing": "pair", "keys": [PAIR]}).verify(old.issue(WHO))


def test_a_public_key_verifies_what_another_service_signs() -> None:
    token = tokens(PAIR_RING).issue(WHO)
    assert tokens({**RING, "keys": [*RING["keys"], PUBLIC_HALF]}).verify(token) == WHO


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"exp": int(time.time()) - 2},
        {"exp": 10**400},
        {"exp": 10**30},
        {"exp": 253_402_300_800},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"exp": "253402300799"},
        {"exp": True},
        {"exp": [1]},
        {"iat": -(10**400)},
        {"iat": "1"},
        {"iat": float("-inf")},
        {"nbf": 10**400},
        {"iat": 1 << 33},
        {"nbf": 1 << 33},
        {"iss": "somebody"},
        {"aud": "another-api"},
        {"sub": "not an id"},
        {"sub": 7},
        {"sid": "not an id"},
        {"sid": 7},
        {"jti": 7},
        *({name: None} for name in ("sub", "sid", "iss", "aud", "iat", "exp", "jti")),
    ],
)
def test_claims_that_are_missing_or_wrong(changes: dict[str, Any]) -> None:
    assert tokens().verify(signed(claims())) == WHO
    content = {name: value for name, value in claims(**changes).items() if value is not None}
    with pytest.raises(UnauthenticatedError):
        tokens().verify(signed(content))


def test_clocks_may_differ_a_little() -> None:
    ahead = int(time.time()) + 5
    assert tokens().verify(signed(claims(iat=ahead, nbf=ahead))) == WHO


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [
        (KEYS["second"], "HS256", "first"),
        (KEYS["second"], "HS384", "second"),
        (FIRST, "HS256", "third"),
        (FIRST, "HS256", "pair"),
        # The public key is no secret: whoever signs with it as if it were one must not get in (RFC 8725, 2.1).
        (PUBLIC, "HS256", "pair"),
        (text(PUBLIC).encode(), "HS256", "pair"),
        (PRIVATE, "EdDSA", "first"),
        (Ed25519PrivateKey.from_private_bytes(bytes(32)), "EdDSA", "pair"),
        (None, "none", "first"),
        (None, "none", "pair"),
    ],
)
def test_each_key_verifies_only_its_own_algorithm(key: Any, algorithm: str, kid: str) -> None:
    verifier = tokens(PAIR_RING)
    verifier.verify(signed(claims(), PRIVATE, "EdDSA", "pair"))
    with pytest.raises(UnauthenticatedError):
        verifier.verify(signed(claims(), key, algorithm, kid))


def test_a_public_key_in_pem_is_no_secret_either() -> None:
    pem = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = text(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "pair"}).encode())
    message = f"{header}.{text(json.dumps(claims()).encode())}"
    import hmac

    token = f"{message}.{text(hmac.digest(pem, message.encode(), 'sha256'))}"
    with pytest.raises(UnauthenticatedError):
        tokens(PAIR_RING).verify(token)


def test_a_token_without_kid_is_nobodys() -> None:
    with pytest.raises(UnauthenticatedError):
        tokens().verify(jwt.encode(claims(), FIRST, "HS256"))


@pytest.mark.parametrize("token", ["", ".", "a.b.c", "é.é.é", "\x00", "a" * 10_000])
def test_noise(token: str) -> None:
    with pytest.raises(UnauthenticatedError):
        tokens().verify(token)


def test_what_is_remembered_still_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = tokens()
    token = verifier.issue(WHO)
    verifier.verify(token)
    assert token in verifier._verified
    later = time.time() + 901
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(UnauthenticatedError):
        verifier.verify(token)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.accounts.tokens._MOST_REMEMBERED", 3)
    verifier = tokens()
    for _ in range(5):
        verifier.verify(verifier.issue(WHO))
    assert len(verifier._verified) == 3


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
        {"signing": "a", "keys": [{"kid": "a", "alg": "HS256"}]},
        {"signing": "a", "keys": [{"kid": "a", "alg": "EdDSA", "key": "c2hvcnQ="}]},
        {"signing": "a", "keys": [{"kid": "a", "alg": "EdDSA"}]},
        {"signing": "pair", "keys": [PUBLIC_HALF]},
    ],
)
def test_wrong_key_ring_stops_the_start_and_stays_secret(ring: Any) -> None:
    with pytest.raises(SettingsError, match="SLIPWAY_TOKEN_KEYS") as caught:
        tokens(ring)
    assert "s3cret" not in str(caught.value)


def test_public_keys_are_public_and_no_more() -> None:
    published = tokens({**PAIR_RING, "keys": [*RING["keys"], PAIR, {**PUBLIC_HALF, "kid": "half"}]}).public_keys()
    assert [key["kid"] for key in published["keys"]] == ["pair", "half"]
    for key in published["keys"]:
        assert set(key) == {"kty", "crv", "alg", "use", "kid", "x"}
        assert key["x"] == text(PUBLIC)
    assert tokens().public_keys() == {"keys": []}


async def test_whoever_reads_the_published_keys_can_verify(host: Host, shared_database: str, release: Release) -> None:
    settings = host.settings(shared_database, token_keys=json.dumps(PAIR_RING))
    async with running(build_app(settings, release)) as http:
        user = await User.register(http)
        answer = await http.get("/.well-known/jwks.json")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=300"
        key = jwt.PyJWKSet.from_dict(answer.json())[jwt.get_unverified_header(user.token)["kid"]]
        content = jwt.decode(user.token, key, ["EdDSA"], audience="slipway-api", issuer="slipway")
        me = await user.call("GET", "/me", expect=200)
    assert UUID(content["sub"]) == UUID(me["id"])


def test_cryptography_is_loaded_only_for_a_key_that_needs_it() -> None:
    program = f"""
import sys
from service.main import Tokens
from service.settings import Settings
from pydantic import SecretStr
Tokens.from_settings(Settings.model_construct(token_keys=SecretStr({TOKEN_KEYS!r})))
assert "jwt" in sys.modules
assert not any(name.startswith("cryptography.hazmat") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)

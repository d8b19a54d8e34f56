"""Secrets as every target generates them, once for each environment."""

import base64
import json
import secrets as random_source


def password() -> str:
    """A password of 256 bits, in characters that need no quoting in a URL or a shell, and that begin no option."""
    return next(text for text in iter(lambda: random_source.token_urlsafe(32), "") if not text.startswith("-"))


def token_keys() -> str:
    """A key ring with one HS256 key of 256 bits (RFC 7518, section 3.2: as long as the hash)."""
    kid = random_source.token_hex(4)
    key = base64.urlsafe_b64encode(random_source.token_bytes(32)).rstrip(b"=").decode()
    return json.dumps({"signing": kid, "keys": [{"kid": kid, "alg": "HS256", "key": key}]})

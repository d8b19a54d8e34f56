"""Tokens that are sent by mail: they verify an e-mail or allow a new password.

32 random bytes, good once, for one purpose, one address and a short time. Only their SHA-256 is stored.
"""

import base64
import secrets
from datetime import timedelta
from hashlib import sha256
from typing import Any, Literal, TypeAlias

from sqlalchemy import text

from service.accounts.passwords import Passwords
from service.accounts.store import end_everything
from service.database import Database, Row, Runner, Statement, Transaction
from service.errors import InvalidMailTokenError
from service.mail.queue import enqueue

Purpose: TypeAlias = Literal["verification", "reset"]
_Values: TypeAlias = dict[str, Any]

LIFETIMES: dict[Purpose, timedelta] = {"verification": timedelta(hours=24), "reset": timedelta(minutes=30)}

# No row, where there is nothing to send: no account, one that is deactivated, or nothing left to verify.
_MAKE = Statement(
    text(
        "INSERT INTO mail_token (token_hash, account_id, purpose, email, expires_at)"
        " SELECT :token_hash, id, CAST(:purpose AS text), email, now() + :lifetime FROM account WHERE email = :email"
        " AND deactivated_at IS NULL AND (CAST(:purpose AS text) <> 'verification' OR email_verified_at IS NULL)"
        " RETURNING account_id"
    )
)
# The account first and the token after it, as everything does that changes an account and voids its tokens: in another
# order two of them could wait for each other. So it is the deletion that tells whether the token was still good.
_verified = (
    "UPDATE account SET updated_at = now(), version = version + 1,"
    " email_verified_at = coalesce(email_verified_at, now())"
)
_by_mail = (
    " FROM mail_token WHERE token_hash = :token_hash AND purpose = :purpose AND expires_at > now()"
    " AND account.id = mail_token.account_id AND account.email = mail_token.email AND deactivated_at IS NULL"
    " RETURNING account.id, account.email"
)
_VERIFY = Statement(text(_verified + _by_mail))
_RESET = Statement(text(f"{_verified}, password_hash = :password_hash{_by_mail}"))
_IS_GOOD = Statement(
    text("SELECT true FROM mail_token WHERE token_hash = :token_hash AND purpose = :purpose AND expires_at > now()")
)
_SPEND = Statement(text("DELETE FROM mail_token WHERE token_hash = :token_hash RETURNING true"))


async def make(runner: Runner, purpose: Purpose, email: str) -> str | None:
    """Make a token for the account of an e-mail; None if there is nothing to send."""
    random = secrets.token_bytes(32)
    account_id = await runner.fetch_value(
        _MAKE, token_hash=sha256(random).digest(), purpose=purpose, email=email, lifetime=LIFETIMES[purpose]
    )
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode() if account_id else None


async def verify_email(database: Database, token: str) -> None:
    """Take a token as the proof that its e-mail reached somebody.

    Raises:
        InvalidMailTokenError: it is wrong, was used before, is too old, or was sent to another e-mail than today's.
    """
    this_one: _Values = {"token_hash": _hash(token), "purpose": "verification"}
    async with database.transaction() as transaction:
        await _use(transaction, _VERIFY, this_one)


async def reset_password(database: Database, passwords: Passwords, token: str, new_password: str) -> None:
    """Set a new password by a token, end all sessions, void all other tokens, and queue a mail that tells of it.

    Raises:
        InvalidMailTokenError: as `verify_email`.
    """
    this_one: _Values = {"token_hash": _hash(token), "purpose": "reset"}
    # Before the dear part, which a token that was made up does not deserve.
    if not await database.fetch_value(_IS_GOOD, **this_one):
        raise InvalidMailTokenError
    this_one["password_hash"] = await passwords.hash(new_password)
    async with database.transaction() as transaction:
        account = await _use(transaction, _RESET, this_one)
        await end_everything(transaction, account["id"])
        await enqueue(transaction, "password-changed", account["email"])


async def _use(transaction: Transaction, statement: Statement, this_one: _Values) -> Row:
    account = await transaction.fetch_row(statement, **this_one)
    if account is None or not await transaction.fetch_value(_SPEND, token_hash=this_one["token_hash"]):
        raise InvalidMailTokenError
    return account


def _hash(token: str) -> bytes:
    try:
        return sha256(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)).digest()
    except ValueError:
        raise InvalidMailTokenError from None

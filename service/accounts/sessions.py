"""Sessions in the database: a login begins one, refresh tokens keep it going, and deleting its row ends it at once.

A refresh token is good once. Two requests of one client may use it at the same moment, so for a few seconds it gives
yet another; after that, a token that was used is in two hands, and nobody can tell which is the thief's: the session
ends (RFC 9700, section 4.14.2). A token is its session's id, the session's own secret and 32 random bytes. So used ones
need not be kept: whoever knows the secret but no token that is still good has one that was.
"""

import base64
import secrets
from datetime import timedelta
from hashlib import sha256
from typing import Any, NamedTuple, Self
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, bindparam, delete, func, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlmodel import SQLModel

from service.accounts.models import Identity, Login, Origin, SessionPolicy
from service.accounts.passwords import Passwords
from service.accounts.store import absent, owned
from service.database import Database, Statement, json_object, utc_text
from service.errors import (
    InvalidRefreshTokenError,
    UnauthenticatedError,
    UnverifiedEmailError,
    WrongCredentialsError,
)

_LEEWAY = timedelta(seconds=10)
_FAMILY_BYTES = 16
_RANDOM_BYTES = 32

_account = SQLModel.metadata.tables["account"]
_session = SQLModel.metadata.tables["session"]


def _columns(rows: FromClause) -> dict[str, ColumnElement[Any]]:
    return {
        "id": rows.c.id,
        "client": rows.c.client,
        "address": rows.c.address,
        "created_at": utc_text(rows.c.created_at),
        "used_at": utc_text(rows.c.used_at),
        "expires_at": utc_text(rows.c.expires_at),
    }


VIEW = json_object(_columns(_session))

_FIND = Statement(
    select(_account.c.id, _account.c.password_hash, _account.c.email_verified_at).where(
        _account.c.email == bindparam("email"), _account.c.deactivated_at.is_(None)
    )
)
_RENEW_HASH = Statement(
    update(_account)
    .where(_account.c.id == bindparam("account_id"), _account.c.password_hash == bindparam("compared_hash"))
    .values(password_hash=bindparam("password_hash"))
)
# The lock makes a change of the password or a deactivation wait, which then ends this session too; or us, who then find
# nothing to begin.
_BEGIN = Statement(
    text(
        "WITH good AS (SELECT id FROM account WHERE id = :account_id AND password_hash = :compared_hash"
        " AND deactivated_at IS NULL FOR SHARE),"
        " begun AS (INSERT INTO session (account_id, client, address, family_hash, expires_at)"
        " SELECT id, :client, :address, :family_hash, now() + :lifetime FROM good RETURNING id)"
        " INSERT INTO refresh_token (token_hash, session_id) SELECT :token_hash, id FROM begun RETURNING session_id"
    )
)
# First of all, so that refreshes of one session, and what ends it, come one after the other.
_GO_ON = Statement(
    text(
        "UPDATE session SET used_at = now(), expires_at = now() + :lifetime, client = :client, address = :address"
        " WHERE id = :session_id AND family_hash = :family_hash AND expires_at > now() RETURNING account_id"
    )
)
_USE = Statement(
    text(
        "UPDATE refresh_token SET used_at = coalesce(used_at, now())"
        " WHERE token_hash = :token_hash AND session_id = :session_id"
        " RETURNING coalesce(old.used_at < now() - CAST(:leeway AS interval), false) AS used_before,"
        " created_at < now() - CAST(:lifetime AS interval) AS too_old"
    )
)
_GIVE_NEXT = Statement(text("INSERT INTO refresh_token (token_hash, session_id) VALUES (:token_hash, :session_id)"))
_END = Statement(delete(_session).where(_session.c.id == bindparam("ended_id")))
_END_OWN = Statement(
    delete(_session).where(_session.c.id == bindparam("ended_id"), owned(_session)).returning(_session.c.id)
)
_END_ALL = Statement(delete(_session).where(owned(_session)).returning(_session.c.id))


def _list() -> Statement:
    current = (_session.c.id == bindparam("session_id")).label("current")
    rows = (
        select(_session, current)
        .where(owned(_session), _session.c.expires_at > func.now())
        .order_by(_session.c.used_at.desc(), _session.c.id)
        .limit(literal_column("100"))
        .subquery("listed")
    )
    view = json_object({**_columns(rows), "current": rows.c.current})
    return Statement(select(func.array_agg(aggregate_order_by(view, rows.c.used_at.desc(), rows.c.id))))


_LIST = _list()


class _Secret(NamedTuple):
    """What a refresh token is made of, besides its session's id."""

    family: bytes
    random: bytes

    def token(self, session_id: UUID) -> str:
        return base64.urlsafe_b64encode(session_id.bytes + self.family + self.random).decode()

    @property
    def hashes(self) -> dict[str, bytes]:
        return {"family_hash": sha256(self.family).digest(), "token_hash": sha256(self.random).digest()}

    @classmethod
    def new(cls, family: bytes) -> Self:
        return cls(family, secrets.token_bytes(_RANDOM_BYTES))

    @classmethod
    def parse(cls, token: str) -> "tuple[UUID, _Secret]":
        """Take a token apart; a ValueError if it is none."""
        content = base64.b64decode(token, altchars=b"-_", validate=True)
        return UUID(bytes=content[:16]), cls(content[16 : 16 + _FAMILY_BYTES], content[16 + _FAMILY_BYTES :])


async def log_in(
    database: Database, passwords: Passwords, email: str, password: str, origin: Origin, policy: SessionPolicy
) -> Login:
    """Begin a session of the account that an e-mail and a password belong to.

    The same work, whether the e-mail has an account or not.

    Raises:
        WrongCredentialsError: they belong to none, or to one that is deactivated.
        UnverifiedEmailError: they belong together, but the policy asks for a verified e-mail.
    """
    for _ in range(2):  # again if another login stored a better hash of the same password meanwhile
        row = await database.fetch_row(_FIND, email=email)
        right, new_hash = await passwords.verify(password, row["password_hash"] if row else None)
        if not (row and right):
            break
        if policy.needs_verified_email and row["email_verified_at"] is None:
            raise UnverifiedEmailError
        compared = {"account_id": row["id"], "compared_hash": row["password_hash"]}
        secret = _Secret.new(secrets.token_bytes(_FAMILY_BYTES))
        session_id = await database.fetch_value(
            _BEGIN, lifetime=policy.lifetime, **compared, **origin._asdict(), **secret.hashes
        )
        if session_id:
            if new_hash:
                await database.fetch_row(_RENEW_HASH, password_hash=new_hash, **compared)
            return Login(Identity(row["id"], session_id), secret.token(session_id))
    raise WrongCredentialsError


async def refresh(database: Database, token: str, origin: Origin, policy: SessionPolicy) -> Login:
    """Let a session go on: use up a refresh token and give the next one.

    Raises:
        InvalidRefreshTokenError: it is none, its session has ended, or it was used before, which ends the session.
    """
    try:
        session_id, given = _Secret.parse(token)
    except ValueError:
        raise InvalidRefreshTokenError from None
    async with database.transaction() as transaction:
        account_id = await transaction.fetch_value(
            _GO_ON,
            session_id=session_id,
            family_hash=given.hashes["family_hash"],
            lifetime=policy.lifetime,
            **origin._asdict(),
        )
        if account_id is None:
            raise InvalidRefreshTokenError
        this_one = {"session_id": session_id, "leeway": _LEEWAY, "lifetime": policy.lifetime}
        known = await transaction.fetch_row(_USE, token_hash=given.hashes["token_hash"], **this_one)
        if known is not None and not known["used_before"]:
            if known["too_old"]:  # a sibling that nobody used for all this time
                raise InvalidRefreshTokenError
            following = _Secret.new(given.family)
            await transaction.fetch_row(_GIVE_NEXT, token_hash=following.hashes["token_hash"], session_id=session_id)
            return Login(Identity(account_id, session_id), following.token(session_id))
        await transaction.fetch_row(_END, ended_id=session_id)
    raise InvalidRefreshTokenError


async def end(database: Database, who: Identity, session_id: UUID) -> None:
    """End one of the account's sessions.

    Raises:
        NotFoundError: the account has no such session.
        UnauthenticatedError: the session that asks has ended.
    """
    if await database.fetch_value(_END_OWN, session_id=who.session_id, ended_id=session_id) is None:
        raise await absent(database, who)


async def end_all(database: Database, who: Identity) -> None:
    """End all of the account's sessions, the one that asks among them.

    Raises:
        UnauthenticatedError: the session has ended.
    """
    if await database.fetch_value(_END_ALL, session_id=who.session_id) is None:
        raise UnauthenticatedError


async def get_list(database: Database, who: Identity) -> str:
    """Return the JSON of the account's sessions, the one used last first.

    Raises:
        UnauthenticatedError: the session has ended.
    """
    views = await database.fetch_value(_LIST, session_id=who.session_id)
    if views is None:
        raise UnauthenticatedError
    return f'{{"items":[{",".join(views)}]}}'

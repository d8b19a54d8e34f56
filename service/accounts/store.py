"""Accounts in the database, and the one door to every account's rows."""

from collections.abc import Awaitable
from functools import lru_cache
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    ScalarSelect,
    Table,
    any_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlmodel import SQLModel

from service.accounts.models import AccountPatch, Identity, PasswordChange, Registration
from service.accounts.passwords import Passwords
from service.database import Database, Row, Runner, Statement, json_object, utc_text
from service.errors import (
    EmailTakenError,
    InvalidInputError,
    NotFoundError,
    PreconditionFailedError,
    ProblemError,
    UnauthenticatedError,
    WrongPasswordError,
)
from service.mail.queue import enqueue

_account = SQLModel.metadata.tables["account"]
_session = SQLModel.metadata.tables["session"]
_mail_token = SQLModel.metadata.tables["mail_token"]

ACTING: ScalarSelect[UUID] = (
    select(_session.c.account_id)
    .where(_session.c.id == bindparam("session_id"), _session.c.expires_at > func.now())
    .scalar_subquery()
)
"""The account that acts: null once its session has ended. Its parameter is `session_id`."""


def owned(table: Table) -> ColumnElement[bool]:
    """Compose the one condition that decides which rows may be seen: those of the account that acts."""
    return (table.c.id if table is _account else table.c.account_id) == ACTING


def expected(table: Table) -> ColumnElement[bool]:
    """Compose the condition that a row has a version that a change is meant for: `versions`, or null for any."""
    versions = cast(bindparam("versions"), ARRAY(Integer))
    return or_(versions.is_(None), table.c.version == any_(versions))


VIEW = json_object(
    {
        "id": _account.c.id,
        "email": _account.c.email,
        "email_verified_at": utc_text(_account.c.email_verified_at),
        "full_name": _account.c.full_name,
        "version": _account.c.version,
        "created_at": utc_text(_account.c.created_at),
        "updated_at": utc_text(_account.c.updated_at),
    }
)

_ACTS = Statement(select(ACTING.is_not(None)))
_GET = Statement(select(_account.c.version, VIEW.label("view")).where(owned(_account)))
_CREDENTIALS = Statement(select(_account.c.email, _account.c.password_hash).where(owned(_account)))
_PASSWORD_OF = Statement(select(_account.c.password_hash).where(_account.c.email == bindparam("email")))
_INSERT = Statement(
    insert(_account)
    .values(email=bindparam("email"), full_name=bindparam("full_name"), password_hash=bindparam("password_hash"))
    .returning(VIEW)
)
# Only over the password that was compared: one that was changed meanwhile stays changed.
_unchanged = _account.c.password_hash == bindparam("compared_hash")
_CHANGED: dict[str, Any] = {"updated_at": func.now(), "version": _account.c.version + 1}
_CHANGE_PASSWORD = Statement(
    update(_account)
    .where(owned(_account), _unchanged)
    .values(password_hash=bindparam("password_hash"), **_CHANGED)
    .returning(_account.c.id)
)
_END_OTHER_SESSIONS = Statement(delete(_session).where(owned(_session), _session.c.id != bindparam("session_id")))
_END_SESSIONS = Statement(delete(_session).where(_session.c.account_id == bindparam("account_id")))
_VOID_MAIL_TOKENS = Statement(delete(_mail_token).where(_mail_token.c.account_id == bindparam("account_id")))
# Answers kept under keys: the account's own, and the one to its registration, which nobody's key may have kept - in the
# transaction that made the account, so with the same moment.
_FORGET_REGISTRATION = Statement(
    text(
        "DELETE FROM idempotency_key USING account WHERE account.id = :account_id"
        " AND idempotency_key.created_at = account.created_at AND body::json ->> 'id' = account.id::text"
    )
)
_FORGET_ANSWERS = Statement(text("DELETE FROM idempotency_key WHERE scope = :account_id"))
_DELETE = Statement(delete(_account).where(owned(_account), _unchanged).returning(_account.c.id))
_SET_ACTIVE = Statement(
    text(
        "UPDATE account SET deactivated_at = CASE WHEN :active THEN NULL ELSE coalesce(deactivated_at, now()) END"
        " WHERE email = :email RETURNING id"
    )
)


@lru_cache
def _update(fields: frozenset[str]) -> Statement:
    changes: dict[str, Any] = {field: bindparam(f"new_{field}") for field in sorted(fields)} | _CHANGED
    where = [owned(_account), expected(_account)]
    if "email" in fields:
        changes["email_verified_at"] = None
        where.append(_unchanged)
    return Statement(update(_account).where(*where).values(**changes).returning(_account.c.version, VIEW.label("view")))


async def absent(runner: Runner, who: Identity) -> ProblemError:
    """Tell why nothing was found: the session has ended, or there is no such thing among the account's."""
    return NotFoundError() if await runner.fetch_value(_ACTS, session_id=who.session_id) else UnauthenticatedError()


def matching(row: Row, versions: list[int] | None) -> Row:
    """Return a row that has one of these versions; None for any.

    Raises:
        PreconditionFailedError: it has another one.
    """
    if versions is not None and row["version"] not in versions:
        raise PreconditionFailedError
    return row


async def outrun(current: Awaitable[Row]) -> ProblemError:
    """Tell why a row could not be changed: there is none to get, or it has another version than the change is for."""
    try:
        await current
    except ProblemError as problem:
        return problem
    return PreconditionFailedError()


async def register(runner: Runner, registration: Registration, password_hash: str) -> str:
    """Create an account, queue the mail that verifies its e-mail, and return its JSON.

    Raises:
        EmailTakenError: the e-mail has an account.
    """
    email = registration.email
    async with runner.transaction() as transaction:
        try:
            view: str = await transaction.fetch_value(
                _INSERT, email=email, full_name=registration.full_name, password_hash=password_hash
            )
        except asyncpg.UniqueViolationError:
            raise EmailTakenError from None
        await enqueue(transaction, "verification", email)
    return view


async def has_password(database: Database, passwords: Passwords, registration: Registration) -> bool:
    """Whether a registration that is sent again has the password of the account that it made."""
    password_hash = await database.fetch_value(_PASSWORD_OF, email=registration.email)
    right, _ = await passwords.verify(registration.password.get_secret_value(), password_hash)
    return right


async def get(runner: Runner, who: Identity) -> Row:
    """Return an account's `version` and `view`, its JSON.

    Raises:
        UnauthenticatedError: the session has ended.
    """
    row = await runner.fetch_row(_GET, session_id=who.session_id)
    if row is None:
        raise UnauthenticatedError
    return row


async def change(
    database: Database, passwords: Passwords, who: Identity, patch: AccountPatch, versions: list[int] | None
) -> Row:
    """Change what the patch names and return the account's `version` and `view`.

    It is meant for these versions of the account; None for any. A new e-mail is not verified: a mail to it asks for
    that, and one to the old address tells of it.

    Raises:
        InvalidInputError: a new e-mail comes without the current password.
        WrongPasswordError: that is wrong.
        EmailTakenError: the new e-mail has an account.
        PreconditionFailedError: the account has another version.
        UnauthenticatedError: the session has ended.
    """
    fields: dict[str, Any] = {f"new_{name}": value for name, value in patch.items() if name != "current_password"}
    known = await _credentials(database, who)
    if fields.get("new_email") == known["email"]:
        del fields["new_email"]
    if "new_email" in fields:
        if "current_password" not in patch:
            raise InvalidInputError.of("current_password", "is needed to change the e-mail")
        await _require(passwords, known, patch["current_password"].get_secret_value())
        fields["compared_hash"] = known["password_hash"]
    if not fields:
        return matching(await get(database, who), versions)
    statement = _update(frozenset(name.removeprefix("new_") for name in fields if name.startswith("new_")))
    async with database.transaction() as transaction:
        try:
            row = await transaction.fetch_row(statement, session_id=who.session_id, versions=versions, **fields)
        except asyncpg.UniqueViolationError:
            raise EmailTakenError from None
        if row is None:
            raise await outrun(get(transaction, who))
        if "new_email" in fields:
            await transaction.fetch_row(_VOID_MAIL_TOKENS, account_id=who.account_id)
            await enqueue(transaction, "verification", fields["new_email"])
            await enqueue(transaction, "email-changed", known["email"])
    return row


async def change_password(database: Database, passwords: Passwords, who: Identity, change: PasswordChange) -> None:
    """Change the password, end every other session, void tokens in mails, and queue a mail that tells of it.

    Raises:
        WrongPasswordError: the current one is wrong.
        UnauthenticatedError: the session has ended.
    """
    known = await _credentials(database, who)
    await _require(passwords, known, change.current_password.get_secret_value())
    new_hash = await passwords.hash(change.new_password.get_secret_value())
    async with database.transaction() as transaction:
        changed = await transaction.fetch_value(
            _CHANGE_PASSWORD,
            session_id=who.session_id,
            compared_hash=known["password_hash"],
            password_hash=new_hash,
        )
        if changed is None:
            raise await outrun(get(transaction, who))
        # A statement of its own, which sees the logins that the lock of the first one waited for.
        await transaction.fetch_row(_END_OTHER_SESSIONS, session_id=who.session_id)
        await transaction.fetch_row(_VOID_MAIL_TOKENS, account_id=who.account_id)
        await enqueue(transaction, "password-changed", known["email"])


async def remove(database: Database, passwords: Passwords, who: Identity, password: str) -> None:
    """Delete the account and everything that is its own.

    Raises:
        WrongPasswordError: the password is wrong.
        UnauthenticatedError: the session has ended.
    """
    known = await _credentials(database, who)
    await _require(passwords, known, password)
    async with database.transaction(long=True) as transaction:
        await transaction.fetch_row(_FORGET_REGISTRATION, account_id=who.account_id)
        gone = await transaction.fetch_value(_DELETE, session_id=who.session_id, compared_hash=known["password_hash"])
        if gone is None:
            raise await outrun(get(transaction, who))
        # Now, because that waited for requests that create, and this sees what they kept.
        await transaction.fetch_row(_FORGET_ANSWERS, account_id=who.account_id)


async def set_active(database: Database, email: str, *, active: bool) -> bool:
    """Deactivate an account, which ends its sessions, or activate it again; returns whether there is one."""
    async with database.transaction() as transaction:
        account_id = await transaction.fetch_value(_SET_ACTIVE, email=email, active=active)
        if account_id and not active:
            await end_everything(transaction, account_id)
    return account_id is not None


async def end_everything(runner: Runner, account_id: UUID) -> None:
    """End all sessions of an account and void every token that was mailed to it."""
    await runner.fetch_row(_END_SESSIONS, account_id=account_id)
    await runner.fetch_row(_VOID_MAIL_TOKENS, account_id=account_id)


async def _credentials(database: Database, who: Identity) -> Row:
    row = await database.fetch_row(_CREDENTIALS, session_id=who.session_id)
    if row is None:
        raise UnauthenticatedError
    return row


async def _require(passwords: Passwords, known: Row, password: str) -> None:
    right, _ = await passwords.verify(password, known["password_hash"])
    if not right:
        raise WrongPasswordError

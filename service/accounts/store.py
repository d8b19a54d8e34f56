"""Accounts in the database, and the one door to every account's rows."""

from uuid import UUID

import asyncpg
from sqlalchemy import ColumnElement, Table, bindparam, func, insert, select, update
from sqlmodel import SQLModel

from service.accounts.models import Registration
from service.accounts.passwords import Passwords
from service.database import Database, Statement, json_object, utc_text
from service.errors import EmailTakenError, UnauthenticatedError, WrongCredentialsError

_account = SQLModel.metadata.tables["account"]

_VIEW = json_object(
    {
        "id": _account.c.id,
        "email": _account.c.email,
        "full_name": _account.c.full_name,
        "created_at": utc_text(_account.c.created_at),
    }
)

_INSERT = Statement(
    insert(_account)
    .values(email=bindparam("email"), full_name=bindparam("full_name"), password_hash=bindparam("password_hash"))
    .returning(_VIEW)
)
_GET = Statement(select(_VIEW).where(_account.c.id == bindparam("account_id")))
_LOGIN = Statement(select(_account.c.id, _account.c.password_hash).where(_account.c.email == bindparam("email")))
_REHASH = Statement(
    update(_account)
    .where(_account.c.id == bindparam("account_id"), _account.c.password_hash == bindparam("old_hash"))
    .values(password_hash=bindparam("new_hash"), updated_at=func.now())
    .returning(_account.c.id)
)


def owned(table: Table) -> ColumnElement[bool]:
    """Compose the one condition that decides which rows an account may see; its parameter is `account_id`."""
    return table.c.account_id == bindparam("account_id")


async def register(database: Database, passwords: Passwords, registration: Registration) -> str:
    """Create an account and return its JSON.

    Raises:
        EmailTakenError: the e-mail has an account.
    """
    password_hash = await passwords.hash(registration.password.get_secret_value())
    try:
        view: str = await database.fetch_value(
            _INSERT, email=registration.email, full_name=registration.full_name, password_hash=password_hash
        )
    except asyncpg.UniqueViolationError:
        raise EmailTakenError from None
    return view


async def login(database: Database, passwords: Passwords, email: str, password: str) -> UUID:
    """Return the account that an e-mail and a password belong to; as slow for an unknown e-mail as for a known one.

    Raises:
        WrongCredentialsError: they belong to none.
    """
    row = await database.fetch_row(_LOGIN, email=email.strip().lower())
    right, new_hash = await passwords.verify(password, row["password_hash"] if row else None)
    if not (row and right):
        raise WrongCredentialsError
    account_id: UUID = row["id"]
    if new_hash:
        # Only over the hash that was compared: a password changed meanwhile stays changed.
        await database.fetch_row(_REHASH, account_id=account_id, old_hash=row["password_hash"], new_hash=new_hash)
    return account_id


async def get(database: Database, account_id: UUID) -> str:
    """Return an account's JSON.

    Raises:
        UnauthenticatedError: the account is gone, and with it what its tokens were good for.
    """
    view: str | None = await database.fetch_value(_GET, account_id=account_id)
    if view is None:
        raise UnauthenticatedError
    return view

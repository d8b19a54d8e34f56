"""Accounts: the table, and what the API takes and gives."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field, Secret, StringConstraints
from sqlalchemy import Column, ForeignKey, Text, Uuid, func
from sqlmodel import Field as Attribute
from sqlmodel import SQLModel, col

from service.database import identity_column, moment_column

NO_NUL = r"^[^\x00]*$"
"""PostgreSQL cannot store U+0000 in text."""

Email = Annotated[EmailStr, StringConstraints(max_length=254), AfterValidator(str.lower)]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=NO_NUL)]
"""One line for people."""

Password = Annotated[str, StringConstraints(min_length=8, max_length=128, pattern=NO_NUL)]
"""A password to be; the pattern is also what refuses half a surrogate pair."""


class Account(SQLModel, table=True):
    """Who may log in. The e-mail is kept in lower case, so no two spellings of it are two accounts."""

    id: UUID = Attribute(sa_column=identity_column())
    email: str = Attribute(sa_column=Column(Text, unique=True, nullable=False))
    full_name: str | None = Attribute(sa_column=Column(Text))
    password_hash: str = Attribute(sa_column=Column(Text, nullable=False))
    created_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))
    updated_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))


def owner_column() -> Column[UUID]:
    """The account that a row belongs to and goes with."""
    return Column(Uuid, ForeignKey(col(Account.id), ondelete="CASCADE"), nullable=False)


class Registration(BaseModel):
    """What a newcomer sends."""

    model_config = ConfigDict(extra="forbid")

    email: Email
    password: Secret[Password]
    full_name: Line | None = None


class AccountView(BaseModel):
    """An account, as its owner sees it."""

    id: UUID
    email: str
    full_name: str | None
    created_at: datetime


class AccessToken(BaseModel):
    """The answer to a login (RFC 6749, section 5.1)."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the type's name, no secret
    expires_in: int = Field(description="seconds")

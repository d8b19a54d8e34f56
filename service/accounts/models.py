"""Accounts: the table, and what the API takes and gives."""

import re
import unicodedata
from datetime import datetime, timedelta
from typing import Annotated, Literal, NamedTuple
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    EmailStr,
    Field,
    Secret,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    with_config,
)
from sqlalchemy import Column, ForeignKey, Index, LargeBinary, Text, Uuid, func
from sqlmodel import Field as Attribute
from sqlmodel import SQLModel, col
from typing_extensions import TypedDict  # Pydantic asks for this one before Python 3.12

from service.accounts.common_passwords import refuse_common
from service.database import identity_column, moment_column, version_column

NO_NUL = r"^[^\x00]*$"
"""PostgreSQL cannot store U+0000 in text."""

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNSEEN = frozenset({"Cf", "Zs"})


def _bare(given: object) -> object:
    # Pydantic would take `Ada <ada@example.com>` too, and drop the name.
    if isinstance(given, str) and "<" in given:
        raise ValueError("must be the address alone, without a name")
    return given


def _one_line(text: str) -> str:
    if _CONTROLS.search(text):
        raise ValueError("must be one line, without control characters")
    if all(unicodedata.category(character) in _UNSEEN for character in text):
        raise ValueError("must have a character that can be seen")
    return text


# Lower case and no more: casefold would turn straße@ into strasse@ and a last sigma into another, and mail to the
# address that results goes to somebody else.
Email = Annotated[EmailStr, StringConstraints(max_length=254), AfterValidator(str.lower), BeforeValidator(_bare)]
_EMAIL: TypeAdapter[str] = TypeAdapter(Email)


def normalized(email: str) -> str:
    """An e-mail as accounts are stored under it; what is none stays none."""
    try:
        return _EMAIL.validate_python(email.strip())
    except ValidationError:
        return email


Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=NO_NUL),
    AfterValidator(_one_line),
]
"""One line for people: something to see, and nothing that moves a terminal's cursor."""

Password = Annotated[
    str,
    StringConstraints(min_length=8, max_length=128, pattern=NO_NUL),
    AfterValidator(refuse_common),
    Field(description="8 to 128 characters of any kind; the ones that everybody tries first are refused"),
]
"""A password to be; the pattern is also what refuses half a surrogate pair."""

GivenPassword = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=NO_NUL)]
"""A password that is to be compared."""

TokenText = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_NUL)]
"""A token as we sent it; what else it may be, only looking it up can tell."""


class Account(SQLModel, table=True):
    """Who may log in. The e-mail is kept in lower case, so no two spellings of it are two accounts."""

    id: UUID = Attribute(sa_column=identity_column())
    email: str = Attribute(sa_column=Column(Text, unique=True, nullable=False))
    full_name: str | None = Attribute(sa_column=Column(Text))
    password_hash: str = Attribute(sa_column=Column(Text, nullable=False))
    email_verified_at: datetime | None = Attribute(sa_column=moment_column(nullable=True))
    deactivated_at: datetime | None = Attribute(sa_column=moment_column(nullable=True))
    version: int = Attribute(sa_column=version_column())
    created_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))
    updated_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))


def owner_column() -> Column[UUID]:
    """The account that a row belongs to and goes with."""
    return Column(Uuid, ForeignKey(col(Account.id), ondelete="CASCADE"), nullable=False)


class Session(SQLModel, table=True):
    """A login that goes on. While this row exists its tokens are good; deleting it ends them all at once."""

    __table_args__ = (Index("session_account_id_idx", "account_id"), Index("session_expires_at_idx", "expires_at"))

    id: UUID = Attribute(sa_column=identity_column())
    account_id: UUID = Attribute(sa_column=owner_column())
    client: str | None = Attribute(sa_column=Column(Text))
    address: str | None = Attribute(sa_column=Column(Text))
    family_hash: bytes | None = Attribute(sa_column=Column(LargeBinary))
    created_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))
    used_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))
    expires_at: datetime = Attribute(sa_column=moment_column())


class RefreshToken(SQLModel, table=True):
    """A refresh token that was given out, as its SHA-256: not used yet, or used a moment ago."""

    __tablename__ = "refresh_token"
    __table_args__ = (
        Index("refresh_token_session_id_idx", "session_id"),
        Index("refresh_token_used_at_idx", "used_at"),
    )

    token_hash: bytes = Attribute(sa_column=Column(LargeBinary, primary_key=True))
    session_id: UUID = Attribute(
        sa_column=Column(Uuid, ForeignKey(col(Session.id), ondelete="CASCADE"), nullable=False)
    )
    created_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))
    used_at: datetime | None = Attribute(sa_column=moment_column(nullable=True))


class MailToken(SQLModel, table=True):
    """A token that was sent by mail, as its SHA-256; good once, for one purpose and the address it was sent to."""

    __tablename__ = "mail_token"
    __table_args__ = (
        Index("mail_token_account_id_idx", "account_id"),
        Index("mail_token_expires_at_idx", "expires_at"),
    )

    token_hash: bytes = Attribute(sa_column=Column(LargeBinary, primary_key=True))
    account_id: UUID = Attribute(sa_column=owner_column())
    purpose: str = Attribute(sa_column=Column(Text, nullable=False))
    email: str = Attribute(sa_column=Column(Text, nullable=False))
    expires_at: datetime = Attribute(sa_column=moment_column())


class Identity(NamedTuple):
    """Who asks, as a token says it: an account, in one of its sessions."""

    account_id: UUID
    session_id: UUID


class Origin(NamedTuple):
    """Where a login comes from, for its owner to recognize it."""

    client: str | None
    address: str | None


class SessionPolicy(NamedTuple):
    """What the settings say of sessions."""

    lifetime: timedelta
    needs_verified_email: bool


class Login(NamedTuple):
    """A session that begins or goes on."""

    who: Identity
    refresh_token: str


class Registration(BaseModel):
    """What a newcomer sends."""

    model_config = ConfigDict(extra="forbid")

    email: Email = Field(description="to log in with; a mail asks to verify it")
    password: Secret[Password]
    full_name: Line | None = Field(None, description="how to call you")


class EmailAddress(BaseModel):
    """Where a mail is to go, if there is an account for it."""

    model_config = ConfigDict(extra="forbid")

    email: Email = Field(description="of the account")


class MailedToken(BaseModel):
    """A token from a mail."""

    model_config = ConfigDict(extra="forbid")

    token: Secret[TokenText] = Field(description="the one in the mail; good once")


class PasswordReset(MailedToken):
    """A token from a mail, and what is to be the password."""

    new_password: Secret[Password]


class RefreshGrant(BaseModel):
    """A refresh token to trade for new ones."""

    model_config = ConfigDict(extra="forbid")

    refresh_token: Secret[TokenText] = Field(description="the newest one of the session; good once")


@with_config(ConfigDict(extra="forbid"))
class AccountPatch(TypedDict, total=False):
    """What to change: a field left out stays."""

    full_name: Annotated[Line | None, Field(description="null for none")]
    email: Annotated[Email, Field(description="a new one has to be verified again, and asks for current_password")]
    current_password: Annotated[Secret[GivenPassword], Field(description="only to change the e-mail")]


class PasswordChange(BaseModel):
    """The password that is, and the one that is to be."""

    model_config = ConfigDict(extra="forbid")

    current_password: Secret[GivenPassword]
    new_password: Secret[Password]


class Farewell(BaseModel):
    """What deleting an account asks for."""

    model_config = ConfigDict(extra="forbid")

    password: Secret[GivenPassword] = Field(description="the current one")


class AccountView(BaseModel):
    """An account, as its owner sees it."""

    id: UUID
    email: str
    email_verified_at: datetime | None = Field(description="null until the e-mail is verified")
    full_name: str | None
    version: int = Field(description="how often it was written; its ETag")
    created_at: datetime
    updated_at: datetime


class TokenPair(BaseModel):
    """The answer to a login (RFC 6749, section 5.1)."""

    access_token: str = Field(description="for the Authorization header of every other request")
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the type's name, no secret
    expires_in: int = Field(description="seconds that the access token is good for")
    refresh_token: str = Field(description="good once, for the next pair")
    refresh_expires_in: int = Field(description="seconds that the refresh token is good for")


class SessionRecord(BaseModel):
    """A login that goes on."""

    id: UUID
    client: str | None = Field(description="the User-Agent at the login or the last refresh")
    address: str | None = Field(description="the client address at the login or the last refresh")
    created_at: datetime
    used_at: datetime = Field(description="the login or the last refresh")
    expires_at: datetime = Field(description="when it ends if it is not refreshed")


class SessionView(SessionRecord):
    """A login that goes on, as one of them sees it."""

    current: bool = Field(description="whether it is the one that asks")


class SessionList(BaseModel):
    """Where an account is logged in: the hundred sessions used last."""

    items: list[SessionView]


class PublicKey(BaseModel):
    """A public key (RFC 7517, RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    alg: Literal["EdDSA"]
    use: Literal["sig"]
    kid: str = Field(description="the name of the key in a token's header")
    x: str = Field(description="the key, in base64url")


class PublicKeys(BaseModel):
    """The public keys that verify access tokens."""

    keys: list[PublicKey]

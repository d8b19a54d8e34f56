"""Categories: the table, and what the API takes and gives."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, with_config
from sqlalchemy import Column, Text, UniqueConstraint, func
from sqlmodel import Field as Attribute
from sqlmodel import SQLModel
from typing_extensions import TypedDict  # Pydantic asks for this one before Python 3.12

from service.accounts.models import Line, owner_column
from service.database import identity_column, moment_column, version_column
from service.pagination import Cursor

Name = Annotated[Line, Field(description="what it is called, by no other category of the account")]
Color = Annotated[
    str, StringConstraints(pattern=r"^#[0-9A-Fa-f]{6}$"), Field(description="a colour as in CSS: #RRGGBB")
]

DEFAULT_COLOR = "#64748b"


class Category(SQLModel, table=True):
    """A name under which an account groups tasks; it has no two of one name, in the same letters and case."""

    __table_args__ = (
        # What a task's foreign key points at, so that no task can ever have another account's category.
        UniqueConstraint("account_id", "id", name="category_account_id_id_key"),
        UniqueConstraint("account_id", "name", name="category_account_id_name_key"),
    )

    id: UUID = Attribute(sa_column=identity_column())
    account_id: UUID = Attribute(sa_column=owner_column())
    name: str = Attribute(sa_column=Column(Text, nullable=False))
    color: str = Attribute(sa_column=Column(Text, nullable=False))
    version: int = Attribute(sa_column=version_column())
    created_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))
    updated_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))


class NewCategory(BaseModel):
    """A category to create."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    color: Color = DEFAULT_COLOR


@with_config(ConfigDict(extra="forbid"))
class CategoryPatch(TypedDict, total=False):
    """What to change: a field left out stays, and null is not a value here."""

    name: Name
    color: Color


class CategoryQuery(BaseModel):
    """Which page of the categories to list."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = Field(100, description="most categories of this page")
    cursor: Cursor | None = Field(None, description="next_cursor of the page before")


class CategoryView(BaseModel):
    """A category, as its owner sees it."""

    id: UUID = Field(description="made by us; later categories have greater ones")
    name: str = Field(description="what it is called")
    color: str = Field(description="a colour as in CSS: #RRGGBB")
    version: int = Field(description="how often it was written; its ETag")
    created_at: datetime = Field(description="when it was created, in UTC")
    updated_at: datetime = Field(description="when it was last written, in UTC")


class CategoryPage(BaseModel):
    """Some categories, and where the next ones begin."""

    items: list[CategoryView] = Field(description="by name")
    next_cursor: str | None = Field(description="pass it as cursor for the next page; null on the last one")

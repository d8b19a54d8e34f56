"""Categories: the table, and what the API takes and gives."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, StringConstraints, with_config
from sqlalchemy import Column, Index, Text, UniqueConstraint, func
from sqlmodel import Field as Attribute
from sqlmodel import SQLModel
from typing_extensions import TypedDict  # Pydantic asks for this one before Python 3.12

from service.accounts.models import Line, owner_column
from service.database import identity_column, moment_column

Color = Annotated[str, StringConstraints(pattern=r"^#[0-9A-Fa-f]{6}$")]
"""A colour as in CSS: #RRGGBB."""

DEFAULT_COLOR = "#64748b"


class Category(SQLModel, table=True):
    """A name under which an account groups tasks."""

    __table_args__ = (
        # What a task's foreign key points at, so that no task can ever have another account's category.
        UniqueConstraint("account_id", "id", name="category_account_id_id_key"),
        Index("category_account_id_name_id_idx", "account_id", "name", "id"),
    )

    id: UUID = Attribute(sa_column=identity_column())
    account_id: UUID = Attribute(sa_column=owner_column())
    name: str = Attribute(sa_column=Column(Text, nullable=False))
    color: str = Attribute(sa_column=Column(Text, nullable=False))
    created_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))
    updated_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))


class NewCategory(BaseModel):
    """A category to create."""

    model_config = ConfigDict(extra="forbid")

    name: Line
    color: Color = DEFAULT_COLOR


@with_config(ConfigDict(extra="forbid"))
class CategoryPatch(TypedDict, total=False):
    """What to change: a field left out stays, and null is not a value here."""

    name: Line
    color: Color


class CategoryView(BaseModel):
    """A category, as its owner sees it."""

    id: UUID
    name: str
    color: str
    created_at: datetime
    updated_at: datetime


class CategoryPage(BaseModel):
    """Some categories, and where the next ones begin."""

    items: list[CategoryView]
    next_cursor: str | None

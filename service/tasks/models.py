"""Tasks: the table, and what the API takes and gives."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, with_config
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    Text,
    Uuid,
    func,
    text,
)
from sqlmodel import Field as Attribute
from sqlmodel import SQLModel, col
from typing_extensions import TypedDict  # Pydantic asks for this one before Python 3.12

from service.accounts.models import NO_NUL, Line, owner_column
from service.categories.models import Category
from service.database import identity_column, moment_column
from service.pagination import Cursor


class Status(StrEnum):
    """Where a task stands."""

    TODO = "todo"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    ARCHIVED = "archived"


class Priority(StrEnum):
    """How much a task matters, from the least; the table keeps the place in this order, from 0."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    URGENT = "urgent"

    @property
    def rank(self) -> int:
        """The number that the table keeps: 0 for low to 3 for urgent."""
        return list(Priority).index(self)


class Sort(StrEnum):
    """Orders of a list; a minus sign turns one round. A task that is never due sorts as due last of all."""

    CREATED = "created_at"
    NEWEST = "-created_at"
    DUE = "due_at"
    DUE_LAST = "-due_at"
    PRIORITY = "priority"
    MOST_URGENT = "-priority"
    TITLE = "title"
    TITLE_BACKWARDS = "-title"


def _storable(moment: datetime) -> datetime:
    # A time zone can carry the calendar's first and last days out of what Python and PostgreSQL agree on.
    day = timedelta(days=1)
    naive = moment.replace(tzinfo=None)
    if not datetime.min + day <= naive < datetime.max - day:  # noqa: DTZ901 - compares what is written
        raise ValueError("must lie between 0001-01-02 and 9999-12-30")
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_storable)]
"""A moment with its offset from UTC (RFC 3339)."""
Title = Line
Description = Annotated[str, StringConstraints(max_length=10_000, pattern=NO_NUL)]

NEVER = text("'infinity'::timestamptz")
"""What the due-date order takes for a task that is never due."""


class Task(SQLModel, table=True):
    """Something to do. Each sort order has an index that begins with the account and ends with the tie-break."""

    __table_args__ = (
        CheckConstraint("status IN ('todo', 'in_progress', 'completed', 'archived')", name="task_status_check"),
        CheckConstraint("priority BETWEEN 0 AND 3", name="task_priority_check"),
        ForeignKeyConstraint(
            ["account_id", "category_id"],
            [col(Category.account_id), col(Category.id)],
            name="task_category_fkey",
            ondelete="SET NULL (category_id)",
        ),
        Index("task_created_at_idx", "account_id", "created_at", "id"),
        Index("task_due_at_idx", "account_id", func.coalesce(text("due_at"), NEVER), "id"),
        Index("task_priority_idx", "account_id", "priority", "id"),
        Index("task_title_idx", "account_id", "title", "id"),
        # For the foreign key: deleting a category looks for its tasks.
        Index("task_category_idx", "category_id", postgresql_where=text("category_id IS NOT NULL")),
    )

    id: UUID = Attribute(sa_column=identity_column())
    account_id: UUID = Attribute(sa_column=owner_column())
    category_id: UUID | None = Attribute(sa_column=Column(Uuid))
    title: str = Attribute(sa_column=Column(Text, nullable=False))
    description: str | None = Attribute(sa_column=Column(Text))
    status: str = Attribute(sa_column=Column(Text, nullable=False))
    priority: int = Attribute(sa_column=Column(SmallInteger, nullable=False))
    due_at: datetime | None = Attribute(sa_column=moment_column(nullable=True))
    completed_at: datetime | None = Attribute(sa_column=moment_column(nullable=True))
    created_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))
    updated_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))


class NewTask(BaseModel):
    """A task to create."""

    model_config = ConfigDict(extra="forbid")

    title: Title
    description: Description | None = None
    status: Status = Status.TODO
    priority: Priority = Priority.MEDIUM
    due_at: Moment | None = None
    category_id: UUID | None = None


@with_config(ConfigDict(extra="forbid"))
class TaskPatch(TypedDict, total=False):
    """What to change: a field left out stays, and null clears a field that may be empty."""

    title: Title
    description: Description | None
    status: Status
    priority: Priority
    due_at: Moment | None
    category_id: UUID | None


class TaskQuery(BaseModel):
    """Which tasks to list, in which order."""

    model_config = ConfigDict(extra="forbid")

    status: list[Status] = Field([], description="any of these")
    priority: list[Priority] = Field([], description="any of these")
    category_id: UUID | None = None
    due_before: Moment | None = None
    due_after: Moment | None = None
    q: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_NUL)] | None = Field(
        None, description="text that the title or the description contains, in any case"
    )
    sort: Sort = Sort.NEWEST
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Cursor | None = Field(None, description="next_cursor of the page before; only with the same sort")


class TaskView(BaseModel):
    """A task, as its owner sees it."""

    id: UUID
    title: str
    description: str | None
    status: Status
    priority: Priority
    due_at: datetime | None
    category_id: UUID | None
    completed_at: datetime | None = Field(description="when it was completed; null while it is to do or in progress")
    created_at: datetime
    updated_at: datetime


class TaskPage(BaseModel):
    """Some tasks, and where the next ones begin."""

    items: list[TaskView]
    next_cursor: str | None = Field(description="pass it as cursor for the next page; null on the last one")

"""Tasks: the tables, and what the API takes and gives for a task, or for many at once."""

import re
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, NotRequired, Required  # Pydantic asks for these before Python 3.12
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    with_config,
)
from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlmodel import Field as Attribute
from sqlmodel import SQLModel, col
from typing_extensions import TypedDict

from service.accounts.models import NO_NUL, Line, owner_column
from service.categories.models import Category
from service.database import identity_column, moment_column, version_column


class Status(StrEnum):
    """Where a task stands. Every status may follow every other."""

    TODO = "todo"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    ARCHIVED = "archived"


OPEN_STATUSES = frozenset({Status.TODO, Status.IN_PROGRESS})


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


def _written(given: object) -> object:
    # Pydantic would take a number too, for the seconds since 1970.
    if not (isinstance(given, str) and re.match("[0-9]{4}-[0-9]{2}-[0-9]{2}", given)):
        raise ValueError("must be written as RFC 3339 has it: 2027-01-31T12:00:00Z, or 2027-01-31 for a day")
    return given


def _storable(moment: datetime) -> datetime:
    # In UTC, as it will be shown, so that what is shown can be sent back.
    day = timedelta(days=1)
    with suppress(OverflowError):  # the calendar has no such day in UTC
        moment = moment.astimezone(UTC)
        if datetime.min + day <= moment.replace(tzinfo=None) < datetime.max - day:  # noqa: DTZ901 - both are UTC
            return moment
    raise ValueError("must lie between 0001-01-02 and 9999-12-30, in UTC")


def _finite(day: date) -> date:
    if not date.min < day < date.max:  # which PostgreSQL's driver takes for infinity
        raise ValueError("must lie between 0001-01-02 and 9999-12-30")
    return day


Moment = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_storable)]
"""A moment with its offset from UTC (RFC 3339)."""
Day = Annotated[date, BeforeValidator(_written), AfterValidator(_finite)]

NEVER = text("'infinity'::timestamptz")
"""What the due-date order takes for a task that is never due."""

OPEN = text("status IN ('todo', 'in_progress')")
"""The condition that a task is still to be done. It stands in an index: only the very same text leads there."""

OVERDUE = f"{OPEN.text} AND coalesce(due_at, {NEVER.text}) < now()"
"""The condition that a task should have been done by now."""

_SEARCH = (
    "array_to_tsvector(search_words(account_id, title || ' ' || coalesce(description, '')) || ARRAY["
    "search_mark(account_id) || '=' || status, "
    "search_mark(account_id) || '=' || priority::text, "
    "search_mark(account_id) || '=' || coalesce(category_id::text, 'none')])"
)
"""What lists are narrowed by: words, status, priority, category, all marked as one account's (revision 0002)."""


class Task(SQLModel, table=True):
    """Something to do. Each sort order has an index that begins with the account and ends with the tie-break.

    Triggers of the database (revision 0002) keep `TaskCount`, and raise `version` where a statement does not.
    """

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
        Index("task_updated_at_idx", "account_id", "updated_at", "id"),
        Index("task_due_at_idx", "account_id", func.coalesce(text("due_at"), NEVER), "id"),
        Index("task_priority_idx", "account_id", "priority", "id"),
        Index("task_title_idx", "account_id", "title", "id"),
        Index("task_search_idx", "search", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
        # What is still to be done; the overdue ones are counted without a look at the table.
        Index(
            "task_open_idx",
            "account_id",
            func.coalesce(text("due_at"), NEVER),
            "id",
            postgresql_include=["due_at", "category_id"],
            postgresql_where=OPEN,
        ),
        Index("task_completed_at_idx", "account_id", "completed_at", postgresql_where=text("completed_at IS NOT NULL")),
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
    search: str | None = Attribute(sa_column=Column(TSVECTOR, Computed(_SEARCH, persisted=True)))
    version: int = Attribute(sa_column=version_column())
    created_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))
    updated_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))


class TaskCount(SQLModel, table=True):
    """How many tasks of a kind an account has: the sum over all slots, each of which may be negative.

    Tasks without a category count under the category of zeros (docs/decisions/0011).
    """

    __tablename__ = "task_count"

    account_id: UUID = Attribute(sa_column=Column(Uuid, primary_key=True))
    category_id: UUID = Attribute(sa_column=Column(Uuid, primary_key=True))
    status: str = Attribute(sa_column=Column(Text, primary_key=True))
    priority: int = Attribute(sa_column=Column(SmallInteger, primary_key=True))
    slot: int = Attribute(sa_column=Column(SmallInteger, primary_key=True))
    tasks: int = Attribute(sa_column=Column(Integer, nullable=False))


NO_CATEGORY = UUID(int=0)  # that tasks without one count under

Title = Annotated[Line, Field(description="what is to be done, in one line; blanks around it are dropped")]
Description = Annotated[
    str | None,
    StringConstraints(max_length=10_000, pattern=NO_NUL),
    Field(description="all that is to be said about it"),
]
DueAt = Annotated[Moment | None, Field(description="until when; null for never")]
CategoryId = Annotated[UUID | None, Field(description="one of the account's categories; null for none")]
GivenStatus = Annotated[Status, Field(description="where it stands")]
GivenPriority = Annotated[Priority, Field(description="how much it matters")]
_MANY = Field(min_length=1, max_length=100, description="all of them are done, or none")


class NewTask(BaseModel):
    """A task to create, or to put in the place of another: what is left out has its default."""

    model_config = ConfigDict(extra="forbid")

    title: Title
    description: Description = None
    status: GivenStatus = Status.TODO
    priority: GivenPriority = Priority.MEDIUM
    due_at: DueAt = None
    category_id: CategoryId = None


@with_config(ConfigDict(extra="forbid"))
class TaskPatch(TypedDict, total=False):
    """What to change: a field left out stays, and null clears a field that may be empty."""

    title: Title
    description: Description
    status: GivenStatus
    priority: GivenPriority
    due_at: DueAt
    category_id: CategoryId


class StatusChange(BaseModel):
    """Where a task stands from now on."""

    model_config = ConfigDict(extra="forbid")

    status: GivenStatus


class PriorityChange(BaseModel):
    """How much a task matters from now on."""

    model_config = ConfigDict(extra="forbid")

    priority: GivenPriority


TaskId = Annotated[UUID, Field(description="one of the account's tasks, named once in a request")]
Version = Annotated[int, Field(ge=1, le=2**31 - 1)]
_MEANT = "the version that is meant, as If-Match for one task; left out: any"


class ChosenTask(BaseModel):
    """One of the tasks that a request is about."""

    model_config = ConfigDict(extra="forbid")

    task_id: TaskId
    version: Version | None = Field(None, description=_MEANT)


@with_config(ConfigDict(extra="forbid"))
class ChangedTask(TaskPatch):
    """One of the tasks that a request changes, and what it changes there."""

    task_id: Required[TaskId]
    version: NotRequired[Annotated[Version, Field(description=_MEANT)]]


class NewTasks(BaseModel):
    """Tasks to create: all of them, or none."""

    model_config = ConfigDict(extra="forbid")

    items: Annotated[list[NewTask], _MANY]


class ChangedTasks(BaseModel):
    """Tasks to change, each in its own way: all of them, or none."""

    model_config = ConfigDict(extra="forbid")

    items: Annotated[list[ChangedTask], _MANY]


class ChosenTasks(BaseModel):
    """Tasks to delete: all of them, or none."""

    model_config = ConfigDict(extra="forbid")

    items: Annotated[list[ChosenTask], _MANY]


class TaskView(BaseModel):
    """A task, as its owner sees it. Whether it is overdue follows from `status` and `due_at`, at any moment."""

    id: UUID = Field(description="made by us; later tasks have greater ones")
    title: str = Field(description="what is to be done, in one line")
    description: str | None = Field(description="all that is to be said about it")
    status: Status = Field(description="where it stands")
    priority: Priority = Field(description="how much it matters")
    due_at: datetime | None = Field(description="until when, in UTC; null for never")
    category_id: UUID | None = Field(description="its category; null for none, or once that was deleted")
    completed_at: datetime | None = Field(description="when it was completed; null while it is to do or in progress")
    version: int = Field(description="how often it was written; its ETag")
    created_at: datetime = Field(description="when it was created, in UTC")
    updated_at: datetime = Field(description="when it was last written, in UTC")


class TaskList(BaseModel):
    """Some tasks, in the order of the request."""

    items: list[TaskView] = Field(description="one for each of the request's items")

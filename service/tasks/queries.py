"""Questions about many tasks, and their answers: lists and statistics."""

import re
from datetime import date, timedelta
from enum import StrEnum
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from service.accounts.models import NO_NUL
from service.pagination import Cursor
from service.tasks.models import Day, Moment, Priority, Status, TaskView

# The names of the IANA database. PostgreSQL would take a POSIX one, too: to it `Foo+5` is five hours west of Greenwich.
_TIME_ZONE = re.compile(
    r"(?:[A-Za-z]+(?:-[A-Za-z]+)?|[A-Za-z]+(?:/[A-Za-z0-9_+-]+)+|GMT0|(?:EST5E|CST6C|MST7M|PST8P)DT)"
)


def _named_by_iana(name: str) -> str:
    # Not a pattern of the schema: that would promise less than the schema of the release before did.
    if not _TIME_ZONE.fullmatch(name):
        raise ValueError("must be a name of the IANA database, such as Europe/Berlin")
    return name


class Sort(StrEnum):
    """Orders of a list; a minus sign turns one round. A task that is never due sorts as due last of all."""

    CREATED = "created_at"
    NEWEST = "-created_at"
    UPDATED = "updated_at"
    RECENTLY_UPDATED = "-updated_at"
    DUE = "due_at"
    DUE_LAST = "-due_at"
    PRIORITY = "priority"
    MOST_URGENT = "-priority"
    TITLE = "title"
    TITLE_BACKWARDS = "-title"

    @property
    def field(self) -> str:
        """What is sorted by."""
        return self.removeprefix("-")

    @property
    def is_descending(self) -> bool:
        """Whether from the greatest down."""
        return self.startswith("-")


class TaskQuery(BaseModel):
    """Which tasks to list, in which order; a task has to meet every condition."""

    model_config = ConfigDict(extra="forbid")

    status: list[Status] = Field([], description="in any of these")
    priority: list[Priority] = Field([], description="of any of these")
    category_id: UUID | None = Field(None, description="in this category")
    without_category: bool = Field(default=False, description="only in no category")
    overdue: bool = Field(default=False, description="only to do or in progress, and due before now")
    due_after: Moment | None = Field(None, description="due then or later")
    due_before: Moment | None = Field(None, description="due then or earlier")
    created_after: Moment | None = Field(None, description="created then or later")
    created_before: Moment | None = Field(None, description="created then or earlier")
    updated_after: Moment | None = Field(None, description="last written then or later")
    updated_before: Moment | None = Field(None, description="last written then or earlier")
    q: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_NUL)] | None = Field(
        None,
        description="words that title or description have, in any order and case; of the last one the beginning is "
        "enough. Text without a letter or digit finds nothing",
    )
    sort: Sort = Field(Sort.NEWEST, description="the order; where it does not decide, the id does")
    limit: Annotated[int, Field(ge=1, le=100)] = Field(20, description="most tasks of this page")
    cursor: Cursor | None = Field(
        None, description="next_cursor of the page before; only with the same conditions and the same sort"
    )
    total: bool = Field(default=False, description="also count all tasks that meet the conditions; costs time")


class TaskPage(BaseModel):
    """Some tasks, and where the next ones begin."""

    items: list[TaskView] = Field(description="in the order that was asked for")
    next_cursor: str | None = Field(description="pass it as cursor for the next page; null on the last one")
    total: int | None = Field(None, description="how many tasks there are on all pages; only where asked for")


_MOST_DAYS = 366
DAYS = 30
"""Days of a range of which only one end is given, or none."""


class StatisticsQuery(BaseModel):
    """Which days to count completed tasks on."""

    model_config = ConfigDict(extra="forbid")

    completed_from: Day | None = Field(None, description=f"the first day; left out: {DAYS} days up to the last")
    completed_to: Day | None = Field(None, description=f"the last day; left out: {DAYS} days, or today")
    time_zone: Annotated[str, StringConstraints(max_length=64), AfterValidator(_named_by_iana)] = Field(
        "UTC", description="whose days, as the IANA database names it, such as Europe/Berlin"
    )

    @model_validator(mode="after")
    def _in_bounds(self) -> Self:
        first, last = self.completed_from, self.completed_to
        if first and last and not timedelta(0) <= last - first < timedelta(days=_MOST_DAYS):
            raise ValueError(f"completed_to must be 0 to {_MOST_DAYS - 1} days after completed_from")
        return self


class StatusCounts(BaseModel):
    """Tasks in each status."""

    todo: int = Field(description="to do")
    in_progress: int = Field(description="in progress")
    completed: int = Field(description="completed")
    archived: int = Field(description="archived")


class PriorityCounts(BaseModel):
    """Tasks of each priority."""

    low: int = Field(description="of low priority")
    medium: int = Field(description="of medium priority")
    high: int = Field(description="of high priority")
    urgent: int = Field(description="urgent ones")


class TaskCounts(BaseModel):
    """How many tasks there are."""

    total: int = Field(description="all tasks")
    by_status: StatusCounts = Field(description="how many in each status")
    by_priority: PriorityCounts = Field(description="how many of each priority")
    overdue: int = Field(description="how many are to do or in progress, and were due before now")


class CompletedOnDay(BaseModel):
    """Tasks that were completed on a day."""

    day: date = Field(description="in the time zone that was asked for")
    completed: int = Field(description="how many tasks")


class TaskStatistics(TaskCounts):
    """How many tasks an account has, and how many it completed lately."""

    completed_per_day: list[CompletedOnDay] = Field(
        description="each day of the range; a task counts on the day of its completed_at"
    )


class CategoryStatistics(TaskCounts):
    """How many tasks a category has."""

    category_id: UUID = Field(description="the category")
    name: str = Field(description="its name")


class CategoryStatisticsPage(BaseModel):
    """Some categories with their statistics, by name, and where the next ones begin."""

    items: list[CategoryStatistics] = Field(description="by name")
    next_cursor: str | None = Field(description="pass it as cursor for the next page; null on the last one")

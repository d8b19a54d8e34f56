"""The queue of mails in the database: a row for each, no more than a kind and a recipient.

A mail is queued in the transaction of whatever caused it. A deliverer first takes a lease on the row, by moving its
next attempt into the future, then sends, then deletes the row: nobody holds a transaction while a mail server takes its
time, no two send the same mail at once, and what a crash interrupts is sent again when the lease has ended. So each
mail goes out at least once, and twice only if we die between the sending and the deleting; its Message-ID is the same
then.
"""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Index,
    Interval,
    SmallInteger,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlmodel import Field as Attribute
from sqlmodel import SQLModel

from service.database import Database, Runner, Statement, identity_column, moment_column
from service.metrics import MAILS, count


class Mail(SQLModel, table=True):
    """A mail that is to be sent; the row goes when it has gone."""

    __table_args__ = (Index("mail_next_attempt_at_idx", "next_attempt_at"),)

    id: UUID = Attribute(sa_column=identity_column())
    kind: str = Attribute(sa_column=Column(Text, nullable=False))
    recipient: str = Attribute(sa_column=Column(Text, nullable=False))
    created_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))
    attempts: int = Attribute(sa_column=Column(SmallInteger, server_default=text("0"), nullable=False))
    next_attempt_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))


def _interval(name: str) -> ColumnElement[timedelta]:
    return cast(bindparam(name), Interval)


_mail = SQLModel.metadata.tables["mail"]
_due = (
    select(_mail.c.id)
    .where(_mail.c.next_attempt_at <= func.now())
    .order_by(_mail.c.next_attempt_at)
    .limit(1)
    .with_for_update(skip_locked=True)
)

_ENQUEUE = Statement(insert(_mail).values(kind=bindparam("kind"), recipient=bindparam("recipient")))
_LEASE = Statement(
    update(_mail)
    .where(_mail.c.id == _due.scalar_subquery())
    .values(attempts=_mail.c.attempts + literal_column("1"), next_attempt_at=func.now() + _interval("lease"))
    .returning(
        _mail.c.id,
        _mail.c.kind,
        _mail.c.recipient,
        _mail.c.attempts,
        (_mail.c.created_at < func.now() - _interval("give_up_after")).label("is_last"),
    )
)
_POSTPONE = Statement(
    update(_mail)
    .where(_mail.c.id == bindparam("mail_id"), _mail.c.attempts == bindparam("attempts"))
    .values(next_attempt_at=func.now() + _interval("pause"))
)
_DELETE = Statement(delete(_mail).where(_mail.c.id == bindparam("mail_id")))


async def enqueue(runner: Runner, kind: str, recipient: str) -> None:
    """Queue a mail; `Delivery.wake` after the commit sends it at once."""
    await runner.fetch_row(_ENQUEUE, kind=kind, recipient=recipient)
    count(MAILS, "queued")


class Leased(NamedTuple):
    """A mail that is ours to send, which attempt this is, and whether it is the last."""

    id: UUID
    kind: str
    recipient: str
    attempts: int
    is_last: bool


async def lease(database: Database, length: timedelta, give_up_after: timedelta) -> Leased | None:
    """Take the mail that is due for longest, for so long; None if none is due."""
    row = await database.fetch_row(_LEASE, lease=length, give_up_after=give_up_after)
    return Leased(*row) if row else None


async def postpone(database: Database, mail: Leased, pause: timedelta) -> None:
    """Let a mail wait for its next attempt, unless somebody else leased it meanwhile."""
    await database.fetch_row(_POSTPONE, mail_id=mail.id, attempts=mail.attempts, pause=pause)


async def remove(database: Database, mail: Leased) -> None:
    """Take a mail out of the queue: it was sent, or never will be."""
    await database.fetch_row(_DELETE, mail_id=mail.id)

"""A mail queue with its deliverers, and something that takes what they send."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from service.database import Database, Statement, Transaction
from service.errors import DatabaseUnavailableError
from service.mail.delivery import Delivery
from service.mail.queue import enqueue
from service.settings import Settings

TOKEN = "a-token-that-nobody-may-see"


async def compose(transaction: Transaction, kind: str, recipient: str) -> EmailMessage | None:
    """Write a mail as accounts/letters.py would."""
    del transaction
    if kind == "nobody":
        return None
    if kind == "away":
        raise DatabaseUnavailableError
    if kind == "broken":
        raise ValueError(recipient)
    message = EmailMessage()
    message["Subject"] = f"Grüße: {kind}"
    message.set_content(f"Your token is {TOKEN}\n")
    return message


_ROWS = Statement(
    text(
        "SELECT coalesce(json_agg(json_build_object('id', id, 'kind', kind, 'attempts', attempts,"
        " 'wait', extract(epoch FROM next_attempt_at - now()))), '[]')::text FROM mail"
    )
)


class Post:
    """Something that takes mail; what it does with the next ones is up to the test."""

    def __init__(self) -> None:
        self.taken: list[tuple[UUID, str]] = []
        self.next: list[BaseException | float] = []
        self.at_once = self.most_at_once = 0
        self.has_taken = asyncio.Event()

    async def send(self, mail_id: UUID, recipient: str, message: EmailMessage) -> None:
        del message
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            match self.next.pop(0) if self.next else None:
                case BaseException() as error:
                    raise error
                case float() as seconds:
                    await asyncio.sleep(seconds)
            self.taken.append((mail_id, recipient))
            self.has_taken.set()
        finally:
            self.at_once -= 1


class Mailroom:
    """A queue of the test's own, in a database of its own."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self.post = Post()

    def deliverer(self, transport: Any = None, **changes: Any) -> Delivery:
        settings = self.settings.model_copy(update={"mail_poll_seconds": 0.05, **changes})
        return Delivery(settings, self.database, transport or self.post, compose)

    @asynccontextmanager
    async def delivering(self, transport: Any = None, number: int = 1, **changes: Any) -> AsyncIterator[Delivery]:
        """Have so many deliverers at work, as so many workers would."""
        deliverers = [self.deliverer(transport, **changes) for _ in range(number)]
        for delivery in deliverers:
            delivery.start()
        try:
            yield deliverers[0]
        finally:
            await asyncio.gather(*(delivery.stop() for delivery in deliverers))

    async def queue(self, kind: str = "reset", recipient: str = "") -> str:
        recipient = recipient or f"{uuid4().hex}@example.com"
        await enqueue(self.database, kind, recipient)
        return recipient

    async def rows(self) -> list[Any]:
        return list(json.loads(await self.database.fetch_value(_ROWS)))

    async def change(self, **columns: str) -> None:
        """Set columns of all rows to SQL expressions."""
        changes = ", ".join(f"{name} = {value}" for name, value in columns.items())
        await self.database.fetch_row(Statement(text(f"UPDATE mail SET {changes}")))

    async def until(self, holds: Callable[[list[Any]], bool]) -> list[Any]:
        """Wait until the rows are so, for 5 s at most."""
        give_up_at = time.monotonic() + 30
        while not holds(rows := await self.rows()):
            assert time.monotonic() < give_up_at, rows
            await asyncio.sleep(0.01)
        return rows

    async def until_empty(self) -> None:
        await self.until(lambda rows: not rows)


@asynccontextmanager
async def open_mailroom(settings: Settings) -> AsyncIterator[Mailroom]:
    """The mail queue of a database."""
    database = Database(settings)
    await database.open()
    yield Mailroom(settings, database)
    await database.close()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What was logged; none of it may hold a recipient or a token."""
    out = capsys.readouterr().out
    assert "@" not in out
    assert TOKEN not in out
    return [json.loads(line) for line in out.splitlines()]


def files_of(folder: Path) -> list[Path]:
    """What a folder holds."""
    return sorted(folder.iterdir())

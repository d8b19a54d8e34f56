"""The task in each worker that empties the queue of mails.

What a mail says, and the token it carries, is made when it is delivered.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from email.message import EmailMessage
from typing import Any, TypeAlias

import asyncpg

from service.database import Database, Transaction
from service.errors import DatabaseUnavailableError
from service.logs import log
from service.mail import queue
from service.mail.message import deliverable, put_headers
from service.mail.queue import Leased
from service.mail.transports import MailDeferredError, MailRefusedError, MailTransportError, Transport
from service.metrics import MAILS, count
from service.outages import Outage
from service.settings import Settings

Compose: TypeAlias = Callable[[Transaction, str, str], Awaitable[EmailMessage | None]]
"""Writes a mail of a kind to a recipient: subject and text; None if there is nobody to write to."""

_MOST_AT_ONCE = 4
_FIRST_PAUSE_SECONDS = 7.5
_MOST_DOUBLINGS = 10  # and then the longest pause holds
_LONGEST_PAUSE_SECONDS = 3600.0
_STOP_SECONDS = 1.0


class Delivery:
    """Sends what is queued, some mails at a time; the log names a mail by its id and kind, never by its recipient."""

    def __init__(self, settings: Settings, database: Database, transport: Transport, compose: Compose) -> None:
        self._database = database
        self._transport = transport
        self._compose = compose
        self._sender = settings.mail_from
        self._timeout_seconds = settings.mail_timeout_seconds
        self._poll_seconds = settings.mail_poll_seconds
        self._give_up_after = timedelta(days=settings.mail_give_up_days)
        # Sending ends long before the lease does, so that nobody else begins meanwhile.
        self._lease = timedelta(seconds=2 * settings.mail_timeout_seconds + 10)
        self._places = asyncio.Semaphore(_MOST_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._awake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._database_outage = Outage("postgresql (mail)")
        self._transport_outage = Outage("mail server")

    def start(self) -> None:
        """Begin to deliver, in a task of its own."""
        self._begin(self._run())

    def wake(self) -> None:
        """Look for mail now: some has been queued."""
        self._awake.set()

    async def stop(self) -> None:
        """Begin nothing more, and wait a moment for what is being sent; the rest is sent by others after its lease."""
        self._stopping.set()
        self.wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                while self._tasks:  # the last of them may have begun another
                    await asyncio.wait(self._tasks)
        while self._tasks:
            late = list(self._tasks)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            await self._places.acquire()
            self._awake.clear()
            mail = await self._next()
            if mail is not None:
                self._begin(self._deliver(mail))
            else:
                self._places.release()
                await _until(self._awake, self._poll_seconds)

    async def _next(self) -> Leased | None:
        try:
            mail = await queue.lease(self._database, self._lease, self._give_up_after)
        except (DatabaseUnavailableError, asyncpg.PostgresError) as error:
            self._database_outage.met(repr(error.__cause__ or error))
            return None
        self._database_outage.ended()
        return mail

    async def _deliver(self, mail: Leased) -> None:
        try:
            await self._try(mail)
        except DatabaseUnavailableError as error:  # what is not written now is tried again when the lease has ended
            self._database_outage.met(repr(error.__cause__ or error))
        except (MailTransportError, TimeoutError) as error:
            self._transport_outage.met(str(error) or f"no answer within {self._timeout_seconds:g} s")
            # This place rests: the other mails would fare no better.
            await _until(self._stopping, self._poll_seconds)
        finally:
            self._places.release()

    async def _try(self, mail: Leased) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._send(mail)
        except MailRefusedError as error:
            self._transport_outage.ended()
            await self._drop(mail, str(error))
        except MailDeferredError as error:
            self._transport_outage.ended()
            await self._postpone(mail, str(error))
        except (MailTransportError, TimeoutError) as error:
            await self._postpone(mail, str(error))
            raise
        except DatabaseUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - a mail that cannot be written must not keep the others from going
            # Not its text, which may hold the recipient.
            log.error("mail cannot be written", mail_id=str(mail.id), kind=mail.kind, cause=type(error).__name__)
            await self._postpone(mail, type(error).__name__)
        else:
            self._transport_outage.ended()
            await queue.remove(self._database, mail)
            count(MAILS, "sent")

    async def _send(self, mail: Leased) -> None:
        recipient = deliverable(mail.recipient)
        async with self._database.transaction() as transaction:
            message = await self._compose(transaction, mail.kind, mail.recipient)
        if message is not None:
            put_headers(message, mail_id=mail.id, sender=self._sender, recipient=recipient)
            await self._transport.send(mail.id, recipient, message)

    async def _postpone(self, mail: Leased, cause: str) -> None:
        if mail.is_last:
            await self._drop(mail, cause)
            return
        pause_seconds = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(mail.attempts, _MOST_DOUBLINGS))
        pause = timedelta(seconds=pause_seconds * random.uniform(0.5, 1))  # noqa: S311 - mails that failed together
        await queue.postpone(self._database, mail, pause)
        count(MAILS, "failed")

    async def _drop(self, mail: Leased, cause: str) -> None:
        await queue.remove(self._database, mail)
        log.error("mail dropped", mail_id=str(mail.id), kind=mail.kind, attempts=mail.attempts, cause=cause)
        count(MAILS, "failed")


async def _until(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but not longer than about so long: workers that start together shall not go in step."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds * random.uniform(0.8, 1.2))  # noqa: S311 - keeps no secret

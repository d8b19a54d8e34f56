import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from service.mail.transports import MailDeferredError, MailTransportError, Outbox
from tests.service.conftest import ROOT, Door, Host
from tests.service.mail.mailroom import Mailroom, files_of, lines, open_mailroom


async def test_a_mail_that_is_deferred_waits_and_the_others_go(
    room: Mailroom, capsys: pytest.CaptureFixture[str]
) -> None:
    first = await room.queue()
    room.post.next = [MailDeferredError("451")]
    async with room.delivering():
        await room.until(lambda rows: rows[0]["attempts"] == 1 and rows[0]["wait"] < 15)
        second = await room.queue()  # not before: mails of one moment overtake one another
        (row,) = await room.until(lambda rows: len(rows) == 1 and rows[0]["wait"] < 15)
        assert row["attempts"] == 1
        assert 7 < row["wait"] <= 15
        assert [recipient for _, recipient in room.post.taken] == [second]
        await room.change(next_attempt_at="now()")
        await room.until_empty()
    assert [recipient for _, recipient in room.post.taken] == [second, first]
    assert lines(capsys) == []


@pytest.mark.parametrize(("attempts", "shortest", "longest"), [(3, 60, 120), (3000, 1800, 3600)])
async def test_each_attempt_waits_longer_up_to_an_hour(
    room: Mailroom, attempts: int, shortest: float, longest: float
) -> None:
    await room.queue()
    await room.change(attempts=str(attempts))
    room.post.next = [MailDeferredError("451")]
    async with room.delivering():
        (row,) = await room.until(lambda rows: rows[0]["attempts"] == attempts + 1 and rows[0]["wait"] != 50)
        (row,) = await room.until(lambda rows: shortest - 1 < rows[0]["wait"] <= longest)
        assert row["attempts"] == attempts + 1


async def test_after_some_days_a_mail_is_given_up_with_one_line(
    room: Mailroom, capsys: pytest.CaptureFixture[str]
) -> None:
    await room.queue()
    await room.change(created_at="now() - interval '3 days 1 minute'", attempts="70")
    room.post.next = [MailDeferredError("451")]
    async with room.delivering():
        await room.until_empty()
    (line,) = lines(capsys)
    assert (line["event"], line["kind"], line["attempts"], line["cause"]) == ("mail dropped", "reset", 71, "451")
    assert line["mail_id"] == str(UUID(line["mail_id"]))


async def test_an_old_mail_that_can_be_sent_is_sent(room: Mailroom) -> None:
    await room.queue()
    await room.change(created_at="now() - interval '30 days'")
    async with room.delivering():
        await room.until_empty()
    assert len(room.post.taken) == 1


async def test_a_way_out_that_is_closed_is_one_line_and_one_when_it_opens(
    room: Mailroom, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(10):
        await room.queue()
    room.post.next = [MailTransportError("ConnectionRefusedError")] * 10
    async with room.delivering():
        # Leased and put off again, each of them: a lease alone is longer than the first pause.
        await room.until(lambda rows: all(row["attempts"] == 1 and row["wait"] <= 15 for row in rows))
        assert [line["event"] for line in lines(capsys)] == ["dependency is away"]
        await room.change(next_attempt_at="now()")
        await room.until_empty()
    (line,) = lines(capsys)
    assert (line["event"], line["dependency"]) == ("dependency is back", "mail server")
    assert len(room.post.taken) == 10


async def test_a_transport_that_hangs_is_left_in_time(room: Mailroom, capsys: pytest.CaptureFixture[str]) -> None:
    await room.queue()
    room.post.next = [60.0]
    async with room.delivering(mail_timeout_seconds=0.1):
        await room.until(lambda rows: rows[0]["attempts"] == 1 and rows[0]["wait"] > 1 and room.post.at_once == 0)
    (line,) = lines(capsys)
    assert line["cause"] == "no answer within 0.1 s"


async def test_a_mail_that_cannot_be_written_keeps_no_other(room: Mailroom, capsys: pytest.CaptureFixture[str]) -> None:
    await room.queue("broken")
    other = await room.queue()
    async with room.delivering():
        await room.until(lambda rows: len(rows) == 1 and rows[0]["attempts"] == 1)
    assert [recipient for _, recipient in room.post.taken] == [other]
    (line,) = lines(capsys)
    assert (line["event"], line["kind"], line["cause"]) == ("mail cannot be written", "broken", "ValueError")


async def test_without_postgresql_nothing_is_lost_and_little_is_said(
    host: Host, door: Door, new_database: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    name = await new_database("pattern")
    async with open_mailroom(door.settings(name)) as room, room.delivering():
        await asyncio.sleep(0.1)
        door.close("postgres")
        await host.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        await asyncio.sleep(0.5)
        admin = await host.connect("slipway_admin", name)
        await admin.execute("INSERT INTO mail (kind, recipient) VALUES ('reset', 'a@example.com')")
        await admin.close()
        door.open("postgres")
        await room.until_empty()
    assert [recipient for _, recipient in room.post.taken] == ["a@example.com"]
    assert [line["event"] for line in lines(capsys)] == ["dependency is away", "dependency is back"]


async def test_postgresql_that_goes_while_a_mail_is_written_leaves_it_to_its_lease(
    room: Mailroom, capsys: pytest.CaptureFixture[str]
) -> None:
    await room.queue("away")
    async with room.delivering(mail_poll_seconds=60.0):
        await room.until(lambda rows: rows[0]["attempts"] == 1)
    (row,) = await room.rows()
    assert row["wait"] > 40
    assert lines(capsys)[0]["event"] == "dependency is away"


async def test_postgresql_that_goes_while_a_mail_is_sent_has_it_sent_again(
    host: Host, door: Door, new_database: Any
) -> None:
    name = await new_database("pattern")
    async with open_mailroom(door.settings(name)) as room, room.delivering():
        await room.queue()
        room.post.next = [0.5]
        await room.until(lambda _: room.post.at_once == 1)
        door.close("postgres")
        await host.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        await asyncio.wait_for(room.post.has_taken.wait(), 5)
        door.open("postgres")
        await room.change(next_attempt_at="now()")  # the end of its lease
        await room.until_empty()
    first, second = room.post.taken
    assert first == second


async def test_stopping_lets_a_mail_go_out(room: Mailroom) -> None:
    await room.queue()
    room.post.next = [0.3]
    async with room.delivering():
        await room.until(lambda _: room.post.at_once == 1)
    assert len(room.post.taken) == 1
    assert await room.rows() == []


async def test_stopping_does_not_wait_for_ever(room: Mailroom) -> None:
    await room.queue()
    room.post.next = [60.0]
    async with room.delivering() as delivery:
        await room.until(lambda _: room.post.at_once == 1)
        started = time.monotonic()
        await delivery.stop()
        assert time.monotonic() - started < 20
    (row,) = await room.rows()
    assert row["wait"] > 20, "somebody else sends it when the lease has ended"


KILLED = """
import asyncio, os, signal, sys
from email.message import EmailMessage
from pathlib import Path
from service.database import Database
from service.mail.delivery import Delivery
from service.mail.transports import transport_of
from service.settings import Settings

class Killed:
    def __init__(self, transport): self.transport = transport
    async def send(self, *arguments):
        await self.transport.send(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

async def compose(transaction, kind, recipient):
    message = EmailMessage()
    message.set_content("text")
    return message

async def main():
    settings = Settings.load()
    database = Database(settings)
    await database.open()
    Delivery(settings, database, Killed(transport_of(settings)), compose).start()
    await asyncio.sleep(30)

asyncio.run(main())
"""


async def test_a_mail_whose_deliverer_is_killed_goes_out_again(room: Mailroom, host: Host, tmp_path: Path) -> None:
    await room.queue()
    name = room.settings.database_url.partition("@/")[2].partition("?")[0]
    environment = host.environment("api", name, SLIPWAY_MAIL_URL=f"outbox://{tmp_path}")
    process = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED], env=environment, cwd=ROOT, timeout=30, check=False
    )
    assert process.returncode == -signal.SIGKILL
    (sent,) = files_of(tmp_path)
    (row,) = await room.rows()
    assert row["attempts"] == 1
    assert 40 < row["wait"] <= 50, "its lease"
    sent.unlink()
    async with room.delivering(Outbox(tmp_path)):
        await room.change(next_attempt_at="now()")  # the end of its lease
        await room.until_empty()
    assert files_of(tmp_path) == [sent]

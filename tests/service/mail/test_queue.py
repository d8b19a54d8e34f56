import asyncio
import contextlib
import email
import time
from email.message import EmailMessage
from email.policy import SMTPUTF8
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.mail.message import deliverable, put_headers
from service.mail.queue import enqueue
from service.mail.transports import MailRefusedError
from tests.service.conftest import Host
from tests.service.mail.mailroom import Mailroom, lines


async def test_what_is_queued_with_a_cause_goes_with_it(room: Mailroom) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with room.database.transaction() as transaction:
            await enqueue(transaction, "reset", "a@example.com")
            raise ZeroDivisionError
    assert await room.rows() == []
    async with room.database.transaction() as transaction:
        await enqueue(transaction, "reset", "a@example.com")
    assert len(await room.rows()) == 1


async def test_mails_go_out_once_and_leave_no_row(room: Mailroom) -> None:
    recipients = {await room.queue() for _ in range(20)}
    async with room.delivering(number=4):
        await room.until_empty()
    assert {recipient for _, recipient in room.post.taken} == recipients
    assert len(room.post.taken) == 20


async def test_a_queueing_request_wakes_its_own_worker(room: Mailroom) -> None:
    async with room.delivering(mail_poll_seconds=60.0) as delivery:
        await asyncio.sleep(0.05)
        started = time.monotonic()
        await room.queue()
        delivery.wake()
        await room.until_empty()
        assert time.monotonic() - started < 30


async def test_no_two_deliverers_send_the_same_mail(room: Mailroom) -> None:
    for _ in range(6):
        await room.queue()
    room.post.next = [0.2] * 6
    async with room.delivering(number=6):
        await room.until_empty()
    assert len(room.post.taken) == len({mail_id for mail_id, _ in room.post.taken}) == 6
    assert room.post.most_at_once > 1, "they do work at the same time"


async def test_a_worker_sends_a_few_at_once(room: Mailroom) -> None:
    for _ in range(12):
        await room.queue()
    room.post.next = [0.1] * 12
    async with room.delivering():
        await room.until_empty()
    assert room.post.most_at_once == 4


async def test_nobody_to_write_to_is_no_mail(room: Mailroom, capsys: pytest.CaptureFixture[str]) -> None:
    await room.queue("nobody")
    async with room.delivering():
        await room.until_empty()
    assert room.post.taken == []
    assert lines(capsys) == []


async def test_no_transaction_is_open_while_a_mail_is_sent(room: Mailroom, host: Host) -> None:
    await room.queue()
    room.post.next = [60.0]
    async with room.delivering():
        await room.until(lambda rows: rows[0]["attempts"] == 1 and room.post.at_once == 1)
        admin = await host.connect("slipway_admin", room.settings.database_url.partition("@/")[2].partition("?")[0])
        states = await admin.fetch(
            "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND usename = 'slipway_app'"
        )
        await admin.close()
    assert {row["state"] for row in states} == {"idle"}


@pytest.mark.parametrize(
    "recipient",
    ["a@example.com\nBcc: b@example.com", "a@example.com\r\n\r\ntext", "a b@example.com", "<a@example.com>", "a", ""],
)
async def test_what_is_no_address_gets_no_mail(
    room: Mailroom, recipient: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await enqueue(room.database, "reset", recipient)
    async with room.delivering():
        await room.until_empty()
    assert room.post.taken == []
    (line,) = lines(capsys)
    assert line["cause"] == "its recipient is no e-mail address"


@given(st.emails() | st.text(max_size=40) | st.text(max_size=20).map("{}@example.com".format))
def test_no_recipient_adds_a_header(recipient: str) -> None:
    try:
        address = deliverable(recipient)
    except MailRefusedError:
        return
    message = EmailMessage()
    message["To"] = "somebody@example.com"
    put_headers(message, mail_id=uuid4(), sender="no-reply@example.com", recipient=address)
    again = email.message_from_bytes(message.as_bytes(policy=SMTPUTF8), policy=SMTPUTF8)
    assert sorted(again.keys()) == ["Auto-Submitted", "Date", "From", "Message-ID", "To"]
    (addressee,) = again["To"].addresses
    assert addressee.addr_spec.encode(errors="surrogateescape").decode() == address
    assert not again.get_content().strip()


async def test_what_begins_while_it_stops_is_waited_for_too(room: Mailroom) -> None:
    for _ in range(3):
        await room.queue()
        delivery = room.deliverer()
        delivery.start()
        await asyncio.sleep(0)  # it asks for a mail now, and will find one
        await delivery.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not await room.rows()

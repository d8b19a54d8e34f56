import email
import os
import ssl
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import default as modern
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from service.errors import SettingsError
from service.mail.transports import MailTransportError, Outbox, transport_of
from service.settings import Settings
from tests.service.conftest import Host
from tests.service.mail.mail_server import Server, serving
from tests.service.mail.mailroom import TOKEN, Mailroom, files_of, lines


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that vouches for itself, with its key, as one PEM file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path.write_bytes(
        signed.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """The server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_the_outbox_gets_one_whole_private_file(room: Mailroom, tmp_path: Path) -> None:
    recipient = await room.queue(recipient="us\N{LATIN SMALL LETTER E WITH ACUTE}r@fa\N{LATIN SMALL LETTER SHARP S}.de")
    folder = tmp_path / "a b" / "outbox"
    async with room.delivering(Outbox(folder), mail_from="Släpway <no-reply@example.com>"):
        await room.until_empty()
    (path,) = files_of(folder)
    assert path.suffix == ".eml"
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    message = email.message_from_bytes(path.read_bytes(), policy=modern)
    assert message["To"] == recipient.replace("fa\N{LATIN SMALL LETTER SHARP S}.de", "xn--fa-hia.de")
    assert message["From"] == "Släpway <no-reply@example.com>"
    assert message["Subject"] == "Grüße: reset"
    assert message["Message-ID"] == f"<{path.stem}@example.com>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert datetime.now(UTC) - message["Date"].datetime < timedelta(minutes=1)
    body = message.get_body()
    assert body is not None
    assert TOKEN in body.get_content()


async def test_a_folder_that_cannot_be_written_is_an_outage(
    room: Mailroom, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    await room.queue()
    async with room.delivering(Outbox(tmp_path / "file")):
        await room.until(lambda rows: rows[0]["attempts"] == 1 and rows[0]["wait"] < 20)
    (line,) = lines(capsys)
    assert "cannot write in" in line["cause"]


async def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MailTransportError, match="No space left"):
        await Outbox(tmp_path).send(uuid4(), "a@example.com", EmailMessage())
    assert files_of(tmp_path) == []


def smtp(room: Mailroom, port: int, **changes: Any) -> Any:
    known = {"mail_url": f"smtp://127.0.0.1:{port}", "mail_tls": False, "mail_timeout_seconds": 2.0}
    return transport_of(Settings(**{**room.settings.model_dump(), **known, **changes}))


async def test_a_mail_server_gets_the_mail(room: Mailroom) -> None:
    server = Server()
    recipients = [await room.queue(), await room.queue(recipient="usér@example.com")]
    async with serving(server) as port, room.delivering(smtp(room, port)):
        await room.until_empty()
    assert {recipient for envelope in server.envelopes for recipient in envelope.rcpt_tos} == set(recipients)
    envelope = server.envelopes[0]
    assert envelope.mail_from == "no-reply@example.com"
    assert isinstance(envelope.content, bytes)
    assert email.message_from_bytes(envelope.content, policy=modern)["Subject"] == "Grüße: reset"


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_tls_is_verified_and_the_password_sent(
    room: Mailroom, certificate: Path, tls: ssl.SSLContext, scheme: str
) -> None:
    server = Server()
    recipient = await room.queue()
    async with serving(server, tls=tls, wrapped=scheme == "smtps") as port:
        known = {"mail_url": f"{scheme}://user@localhost:{port}", "mail_tls": True, "mail_password": "secret"}
        async with room.delivering(smtp(room, port, mail_ca_file=certificate, **known)):
            await room.until_empty()
    assert server.login == ("user", "secret")
    assert server.envelopes[0].rcpt_tos == [recipient]


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"mail_ca_file": None}, "CERTIFICATE_VERIFY_FAILED"),
        ({"mail_url": "{scheme}://user@127.0.0.1:{port}"}, "IP address mismatch"),
        ({"mail_password": "wrong"}, "SMTPAuthenticationError 535"),
    ],
)
@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_server_that_is_not_the_right_one_gets_nothing(
    room: Mailroom,
    certificate: Path,
    tls: ssl.SSLContext,
    scheme: str,
    changes: dict[str, Any],
    cause: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = Server()
    await room.queue()
    async with serving(server, tls=tls, wrapped=scheme == "smtps") as port:
        known = {"mail_url": f"{scheme}://user@localhost:{port}", "mail_tls": True, "mail_password": "secret"}
        known |= {"mail_ca_file": certificate} | changes
        known["mail_url"] = str(known["mail_url"]).format(scheme=scheme, port=port)
        async with room.delivering(smtp(room, port, **known)):
            await room.until(lambda rows: rows[0]["attempts"] == 1 and rows[0]["wait"] < 15)
    assert server.envelopes == []
    (line,) = lines(capsys)
    assert cause in line["cause"]


async def test_a_server_without_starttls_gets_nothing(room: Mailroom, capsys: pytest.CaptureFixture[str]) -> None:
    server = Server()
    await room.queue()
    async with serving(server) as port, room.delivering(smtp(room, port, mail_tls=True)):
        await room.until(lambda rows: rows[0]["attempts"] == 1 and rows[0]["wait"] < 15)
    assert server.envelopes == []
    assert "STARTTLS" in lines(capsys)[0]["cause"]


@pytest.mark.parametrize(
    ("reply", "cause"),
    [("550 no such user", "550"), ("data 554 spam", "554")],
)
async def test_a_mail_that_is_refused_is_given_up_at_once(
    room: Mailroom, reply: str, cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server()
    server.replies = {"a": f"{reply} <a@example.com>"}
    await room.queue(recipient="a@example.com")
    async with serving(server) as port, room.delivering(smtp(room, port)):
        await room.until_empty()
    (line,) = lines(capsys)
    assert (line["event"], line["cause"]) == ("mail dropped", cause)


@pytest.mark.parametrize("reply", ["451 later", "data 452 full"])
async def test_a_mail_that_is_deferred_is_tried_again(
    room: Mailroom, reply: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server()
    server.replies = {"a": f"{reply} <a@example.com>"}
    await room.queue(recipient="a@example.com")
    async with serving(server) as port, room.delivering(smtp(room, port)):
        await room.until(lambda rows: rows[0]["attempts"] == 1 and rows[0]["wait"] < 15)
        server.replies = {}
        await room.change(next_attempt_at="now()")
        await room.until_empty()
    assert lines(capsys) == []


@pytest.mark.parametrize("reply", ["421 closing", "hang", "data drop"])
async def test_a_server_in_trouble_is_tried_again(
    room: Mailroom, reply: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server()
    server.replies = {"a": reply}
    await room.queue(recipient="a@example.com")
    async with serving(server) as port, room.delivering(smtp(room, port, mail_timeout_seconds=0.5)):
        await room.until(lambda rows: rows[0]["attempts"] == 1 and rows[0]["wait"] < 15)
        server.replies = {}
        await room.change(next_attempt_at="now()")
        await room.until_empty()
    assert [line["event"] for line in lines(capsys)] == ["dependency is away", "dependency is back"]


async def test_a_server_that_is_not_there_is_tried_again(room: Mailroom, capsys: pytest.CaptureFixture[str]) -> None:
    server = Server()
    async with serving(server) as port:
        pass
    await room.queue()
    async with room.delivering(smtp(room, port)):
        await room.until(lambda rows: rows[0]["attempts"] == 1 and rows[0]["wait"] < 15)
    assert "SMTPConnectError" in lines(capsys)[0]["cause"]


async def test_a_server_that_cannot_take_an_address_refuses_it(room: Mailroom) -> None:
    class Plain(Server):
        async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
            self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
        ) -> list[str]:
            del server, envelope
            session.host_name = hostname
            return [line for line in responses if "SMTPUTF8" not in line]

    server = Plain()
    await room.queue(recipient="usér@example.com")
    async with serving(server) as port, room.delivering(smtp(room, port)):
        await room.until_empty()
    assert server.envelopes == []


def test_certificates_that_are_none_stop_the_start(host: Host, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for path in ("ca.pem", "missing.pem"):
        settings = host.settings("x", mail_url="smtp://mail.example.com", mail_ca_file=tmp_path / path)
        with pytest.raises(SettingsError, match="SLIPWAY_MAIL_CA_FILE"):
            transport_of(settings)

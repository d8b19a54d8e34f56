"""The ways a mail goes out: handed to a mail server, or written into a folder."""

import asyncio
import contextlib
import os
import socket
import ssl
import tempfile
from email.message import EmailMessage
from email.policy import SMTPUTF8
from email.utils import parseaddr
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import SplitResult, unquote, urlsplit
from uuid import UUID

from service.errors import SettingsError
from service.settings import Settings

if TYPE_CHECKING:
    import aiosmtplib

_PERMANENT = 500
_CLOSING = 421
_GOODBYE_SECONDS = 1.0


class MailTransportError(Exception):
    """No mail can be sent at the moment. The text holds neither a recipient nor what a mail says."""


class MailDeferredError(Exception):
    """This mail is not taken now, but may be later; others may be."""


class MailRefusedError(Exception):
    """This mail will never be taken."""


class Transport(Protocol):
    """A way out."""

    async def send(self, mail_id: UUID, recipient: str, message: EmailMessage) -> None:
        """Send one mail; when this returns, somebody else has it for good. Bound the time outside.

        Raises:
            MailRefusedError: it will never be taken.
            MailDeferredError: it is not taken now.
            MailTransportError: nothing can be sent.
        """
        ...


def transport_of(settings: Settings) -> Transport:
    """Make the transport that `mail_url` asks for; connects nowhere yet.

    Raises:
        SettingsError: `mail_ca_file` holds no certificates.
    """
    url = urlsplit(settings.mail_url)
    return Outbox(Path(unquote(url.path))) if url.scheme == "outbox" else Smtp(url, settings)


class Outbox:
    """A folder that gets one .eml file a mail, readable by this user only: mails hold tokens."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(self, mail_id: UUID, recipient: str, message: EmailMessage) -> None:
        """Write the mail; one that is sent twice replaces itself."""
        del recipient
        try:
            await asyncio.to_thread(self._write, f"{mail_id}.eml", message.as_bytes(policy=SMTPUTF8))
        except OSError as error:
            raise MailTransportError(f"cannot write in {self._folder}: {error.strerror}") from error

    def _write(self, name: str, content: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self._folder, prefix=".")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._folder / name)  # noqa: PTH105 - a name from mkstemp
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)  # noqa: PTH108 - likewise
            raise
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Smtp:
    """A mail server (RFC 5321), with STARTTLS (RFC 3207) or TLS from the start; certificates are always verified.

    A connection for each mail: they are few, and one that is kept open has mostly been closed when it is needed.
    """

    def __init__(self, url: SplitResult, settings: Settings) -> None:
        # Here, and so before the fork; a worker with an outbox never loads it.
        import aiosmtplib  # noqa: PLC0415

        self._library = aiosmtplib
        self._sender = parseaddr(settings.mail_from)[1]
        needs_tls = settings.mail_tls or url.scheme == "smtps"
        self._options: dict[str, Any] = {
            "hostname": url.hostname,
            "port": url.port or (465 if url.scheme == "smtps" else 587),
            "use_tls": url.scheme == "smtps",
            "start_tls": needs_tls and url.scheme == "smtp",
            "tls_context": _tls_context(settings.mail_ca_file) if needs_tls else None,
            "username": unquote(url.username) if url.username else None,
            "password": settings.mail_password.get_secret_value() or None,
            "timeout": settings.mail_timeout_seconds,
            "local_hostname": socket.gethostname(),  # or the library would ask the DNS, which may hang
        }

    async def send(self, mail_id: UUID, recipient: str, message: EmailMessage) -> None:
        """Hand the mail over."""
        del mail_id
        errors = self._library
        client = self._library.SMTP(**self._options)
        try:
            await client.connect()
            await client.send_message(message, sender=self._sender, recipients=[recipient])
        except errors.SMTPRecipientsRefused as error:
            raise _refusal(error.recipients[0].code) from None
        except errors.SMTPDataError as error:
            raise _refusal(error.code) from None
        except errors.SMTPNotSupported:  # the address is not ASCII, and the server has no SMTPUTF8
            raise MailRefusedError("not supported") from None
        except errors.SMTPResponseException as error:  # its text is the server's, which may repeat an address
            raise MailTransportError(f"{type(error).__name__} {error.code}") from None
        except (errors.SMTPException, OSError) as error:
            raise MailTransportError(repr(error)) from error
        finally:
            await self._leave(client)

    async def _leave(self, client: "aiosmtplib.SMTP") -> None:
        """Say good-bye, if anybody listens: the mail is theirs already."""
        if client.is_connected:
            with contextlib.suppress(self._library.SMTPException, OSError):
                await client.quit(timeout=_GOODBYE_SECONDS)
        client.close()


def _refusal(code: int) -> Exception:
    if code == _CLOSING:
        return MailTransportError(f"the server closes ({code})")
    return MailRefusedError(str(code)) if code >= _PERMANENT else MailDeferredError(str(code))


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"SLIPWAY_MAIL_CA_FILE: {ca_file} holds no certificates ({error.strerror})") from error

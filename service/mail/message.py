"""What every mail has, whoever wrote it: a recipient that can be delivered to, and its headers."""

from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from uuid import UUID

from email_validator import EmailNotValidError, validate_email

from service.mail.transports import MailRefusedError


def deliverable(recipient: str) -> str:
    """Return a recipient as a mail server and a header take it: one address, its domain in ASCII, nothing else in it.

    Raises:
        MailRefusedError: it is no such thing.
    """
    try:
        address = validate_email(recipient, check_deliverability=False)
    except EmailNotValidError:
        raise MailRefusedError("its recipient is no e-mail address") from None
    return f"{address.local_part}@{address.ascii_domain}"


def put_headers(message: EmailMessage, *, mail_id: UUID, sender: str, recipient: str) -> None:
    """Set the headers that every mail has, whatever the message had in their place."""
    domain = parseaddr(sender)[1].rpartition("@")[2]
    headers = {
        "From": sender,
        "To": recipient,
        "Date": format_datetime(datetime.now(UTC)),
        "Message-ID": f"<{mail_id}@{domain}>",
        "Auto-Submitted": "auto-generated",  # RFC 3834: nobody's holiday reply is wanted
    }
    for name, value in headers.items():
        del message[name]
        message[name] = value

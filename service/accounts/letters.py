"""What the mails to an account say."""

from email.message import EmailMessage
from typing import NamedTuple

from service.accounts.mail_tokens import LIFETIMES, Purpose, make
from service.database import Runner
from service.settings import Settings


class _Letter(NamedTuple):
    """A subject and a text; one that brings a token says what for, and on which page of a front end that happens."""

    subject: str
    text: str
    purpose: Purpose | None = None
    page: str = ""


_LETTERS = {
    "verification": _Letter(
        "Please verify your e-mail",
        "welcome! Please verify that this e-mail is yours{token}\n\n"
        "If you did not register, do nothing: without you the account stays unverified.",
        "verification",
        "verify-email",
    ),
    "reset": _Letter(
        "Set a new password",
        "somebody, hopefully you, asked for a new password for your account. Choose one{token}\n\n"
        "If it was not you, do nothing: your password stays as it is.",
        "reset",
        "reset-password",
    ),
    "email-changed": _Letter(
        "Your e-mail was changed",
        "the e-mail of your account was changed to another one, and mails go there from now on.\n\n"
        "If that was not you, write to whoever runs this service.",
    ),
    "password-changed": _Letter(
        "Your password was changed",
        "the password of your account was changed, and other devices were logged out.\n\n"
        "If that was not you, ask for a new password at once.",
    ),
}


class Letters:
    """Writes each mail at the moment when it is sent."""

    def __init__(self, settings: Settings) -> None:
        self._public_url = settings.public_url

    async def compose(self, runner: Runner, kind: str, recipient: str) -> EmailMessage | None:
        """Write a mail of a kind that was queued; None if there is nothing to say to this recipient (any more)."""
        letter, token = _LETTERS[kind], ""
        if letter.purpose is not None:
            made = await make(runner, letter.purpose, recipient)
            if made is None:
                return None
            token = self._with_token(letter.purpose, letter.page, made)
        message = EmailMessage()
        message["Subject"] = letter.subject
        message.set_content(f"Hello,\n\n{letter.text.format(token=token)}\n")
        return message

    def _with_token(self, purpose: Purpose, page: str, token: str) -> str:
        # In the fragment, which browsers send to no server and no log.
        link = f" here:\n\n{self._public_url}/{page}#token={token}\n\nor" if self._public_url else ""
        hours = LIFETIMES[purpose].total_seconds() / 3600
        time = f"{hours:.0f} hours" if hours > 1 else f"{hours * 60:.0f} minutes"
        return f"{link} with this token:\n\n{token}\n\nIt is good once, for {time}."

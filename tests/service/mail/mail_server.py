"""A mail server in the test's own loop."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class Server:
    """A mail server in the test's loop; answers `replies` by the recipient's local part."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.replies: dict[str, str] = {}
        self.login: tuple[str, str] | None = None

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, rcpt_options: list[str]
    ) -> str:
        del server, session, rcpt_options
        reply = self.replies.get(address.partition("@")[0])
        if reply == "hang":
            await asyncio.sleep(60)
        if reply is None or reply.startswith("data "):
            envelope.rcpt_tos.append(address)
            return "250 OK"
        return reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - likewise
        reply = self.replies.get(envelope.rcpt_tos[0].partition("@")[0], "")
        if reply == "data drop":
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
            return "250 never read"
        if reply:
            return reply.removeprefix("data ")
        self.envelopes.append(envelope)
        return "250 OK"

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, kind: str, data: Any) -> AuthResult:
        del server, session, envelope, kind
        assert isinstance(data, LoginPassword)
        self.login = (data.login.decode(), data.password.decode())
        return AuthResult(success=self.login == ("user", "secret"), handled=False)


@asynccontextmanager
async def serving(server: Server, *, tls: ssl.SSLContext | None = None, wrapped: bool = False) -> AsyncIterator[int]:
    """Serve on a free port of 127.0.0.1."""

    def make() -> SMTP:
        options: dict[str, Any] = {"enable_SMTPUTF8": True, "loop": asyncio.get_running_loop()}
        if tls is not None:
            options |= {"authenticator": server.authenticate}
            # Inside TLS from the start, the server does not know that it is.
            starttls = {"tls_context": tls, "require_starttls": True, "auth_required": True}
            options |= {"auth_require_tls": False} if wrapped else starttls
        return SMTP(server, **options)

    listener = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=tls if wrapped else None)
    async with listener:
        yield listener.sockets[0].getsockname()[1]

"""Somebody who reads mail and logs in on several devices."""

import asyncio
import email
import re
from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from service.main import build_app
from service.release import Release
from tests.service.conftest import Host, User, running

PASSWORD = "correct horse"


def new_email() -> str:
    return f"{uuid4().hex}@example.com"


class Mailbox:
    """The outbox of one application."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: set[Path] = set()

    async def next(self, recipient: str, subject: str) -> EmailMessage:
        """The next mail to somebody about something; waits until it is there."""
        async with asyncio.timeout(30):
            while True:
                for path in sorted(set(self._folder.glob("*.eml")) - self._read):
                    message = email.message_from_bytes(path.read_bytes(), policy=default)
                    if message["To"] == recipient and subject in message["Subject"]:
                        self._read.add(path)
                        return message
                await asyncio.sleep(0.01)

    async def token(self, recipient: str, subject: str) -> str:
        """The token in the next mail."""
        content = (await self.next(recipient, subject)).get_content()
        [token] = [line for line in content.splitlines() if re.fullmatch(r"[\w-]{43}", line)]
        return str(token)

    def count(self) -> int:
        """How many mails there are."""
        return len(list(self._folder.glob("*.eml")))


@pytest.fixture
def mailbox(tmp_path: Path) -> Mailbox:
    """Where the mails of `http` go."""
    return Mailbox(tmp_path / "outbox")


@pytest.fixture
def app(host: Host, shared_database: str, release: Release, tmp_path: Path) -> FastAPI:
    """An application with an outbox of its own."""
    return build_app(host.settings(shared_database, mail_url=f"outbox://{tmp_path}/outbox"), release)


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of that application."""
    async with running(app) as client:
        yield client


class Device(User):
    """Somebody who is logged in somewhere, and can stay so."""

    refresh_token: str

    @classmethod
    async def log_in(cls, http: httpx.AsyncClient, email: str, password: str = PASSWORD, client: str = "") -> "Device":
        headers = {"User-Agent": client} if client else {}
        answer = await http.post("/api/v1/auth/login", data={"username": email, "password": password}, headers=headers)
        assert answer.status_code == 200, answer.text
        device = cls(http, email, answer.json()["access_token"])
        device.refresh_token = answer.json()["refresh_token"]
        return device

    async def another(self, **arguments: Any) -> "Device":
        """The same somebody, elsewhere."""
        return await Device.log_in(self.http, self.email, **arguments)

    async def refresh(self, token: str | None = None) -> httpx.Response:
        """Use a refresh token, the newest if none is given; keeps what it gives."""
        body = {"refresh_token": token or self.refresh_token}
        answer = await self.http.post("/api/v1/auth/refresh", json=body)
        if answer.status_code == 200:
            self.token, self.refresh_token = answer.json()["access_token"], answer.json()["refresh_token"]
        return answer

    async def is_in(self) -> bool:
        """Whether the access token opens anything."""
        status = (await self.call("GET", "/me")).status_code
        assert status in {200, 401}
        return bool(status == 200)


@pytest.fixture
async def device(http: httpx.AsyncClient) -> Device:
    """Somebody new, logged in."""
    email = new_email()
    answer = await http.post("/api/v1/auth/register", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    return await Device.log_in(http, email)

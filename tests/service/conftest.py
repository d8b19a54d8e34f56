"""The service under test: its databases, its processes, and the application inside the test's own loop."""

import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import uuid4

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from infra.embedded.cache import Cache
from infra.embedded.database import Database as Server
from service.main import build_app
from service.migrations import migrate
from service.release import Release, read_release
from service.settings import Settings
from tests.service.mail.mailroom import Mailroom, open_mailroom

ROOT = Path(__file__).resolve().parents[2]
PASSWORDS = {
    "slipway_migrator": "migrator-password",
    "slipway_app": "app-password",
    "slipway_monitor": "monitor-password",
}
TOKEN_KEYS = json.dumps(
    {
        "signing": "first",
        "keys": [
            {"kid": "first", "alg": "HS256", "key": base64.urlsafe_b64encode(bytes(range(32))).decode()},
            {"kid": "second", "alg": "HS256", "key": base64.urlsafe_b64encode(bytes(range(48))).decode()},
        ],
    }
)
# A hash that costs next to nothing, so that tests may log in freely.
CHEAP_PASSWORDS = {"password_memory_kib": 8, "password_passes": 1}
# Longer than a busy machine, or its disk, stands still.
PATIENCE = {"cache_timeout_seconds": 2, "database_deadline_seconds": 5}
# All tests come from one address.
WIDE_LIMITS = {name: "100000/minute" for name in Settings.model_fields if name.startswith("limit_")}


@dataclass(frozen=True)
class Host:
    """Where the service's processes run in these tests: what a target would give them."""

    folder: Path
    server: Server
    cache: Cache

    @property
    def outbox(self) -> Path:
        """Where mail goes."""
        return self.folder / "outbox"

    def environment(self, process: str, database: str, **variables: str) -> dict[str, str]:
        """The environment variables of the process `api`, `migration` or `bootstrap`."""
        user = {"api": "slipway_app", "migration": "slipway_migrator", "bootstrap": "slipway_admin"}[process]
        ours = {
            "SLIPWAY_ENVIRONMENT": "local",
            "SLIPWAY_DATABASE_URL": self.server.url(user, database),
            "SLIPWAY_SECRETS_DIR": str(self.folder / process),
        }
        if process == "api":
            ours |= {"SLIPWAY_CACHE_URL": self.cache.url, "SLIPWAY_DATABASE_START_WAIT_SECONDS": "1"}
            ours |= {"SLIPWAY_MAIL_URL": f"outbox://{self.outbox}", "SLIPWAY_MAIL_FROM": "no-reply@example.com"}
            ours |= {f"SLIPWAY_{name.upper()}": str(value) for name, value in (PATIENCE | WIDE_LIMITS).items()}
        others = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
        return others | ours | variables

    def migrate(
        self, *arguments: str, database: str, folder: Path = ROOT, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the migration job from a source tree or a release's snapshot."""
        process = "bootstrap" if "bootstrap" in arguments else "migration"
        return subprocess.run(
            [sys.executable, "-m", "service.migrations.migrate", *arguments],
            cwd=folder,
            env=self.environment(process, database, **variables),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    async def migrate_here(self, *arguments: str, database: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the migration job of the source tree inside this process: a second less than `migrate`."""
        process = "bootstrap" if "bootstrap" in arguments else "migration"
        out, err = StringIO(), StringIO()
        with (
            mock.patch.dict(os.environ, self.environment(process, database, **variables), clear=True),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = await asyncio.to_thread(migrate.main, arguments)
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())

    async def connect(self, user: str, database: str) -> "asyncpg.Connection[asyncpg.Record]":
        """Connect as one of the roles, or as `slipway_admin`."""
        password = PASSWORDS.get(user) or self.server.admin_password
        return await asyncpg.connect(self.server.url(user, database), password=password)

    async def execute(self, sql: str, database: str = "postgres") -> None:
        """Run SQL as the administrator."""
        connection = await self.connect("slipway_admin", database)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    def settings(self, database: str, **changes: Any) -> Settings:
        """The API's settings for an application inside the test."""
        known = {
            "environment": "local",
            "database_url": self.server.url("slipway_app", database),
            "database_password": PASSWORDS["slipway_app"],
            "cache_url": self.cache.url,
            "cache_password": self.cache.password,
            "token_keys": TOKEN_KEYS,
            "mail_url": f"outbox://{self.outbox}",
            "mail_from": "no-reply@example.com",
        }
        return Settings(**{**known, **CHEAP_PASSWORDS, **PATIENCE, **WIDE_LIMITS, **changes})


@pytest.fixture(scope="session")
def host(postgres: Server, valkey: Cache, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """The host, with secrets for each process and the roles in place."""
    return furnish(tmp_path_factory.mktemp("host"), postgres, valkey)


def furnish(folder: Path, postgres: Server, valkey: Cache) -> Host:
    """Make a host of two servers: the processes' secrets in a folder, the roles, and the database `pattern`."""
    files = {
        "bootstrap": {"admin_password": postgres.admin_password}
        | {f"{role.removeprefix('slipway_')}_password": password for role, password in PASSWORDS.items()},
        "migration": {"database_password": PASSWORDS["slipway_migrator"]},
        "api": {
            "database_password": PASSWORDS["slipway_app"],
            "cache_password": valkey.password,
            "token_keys": TOKEN_KEYS,
        },
    }
    for process, contents in files.items():
        (folder / process).mkdir()
        for name, content in contents.items():
            (folder / process / f"slipway_{name}").write_text(content)
    host = Host(folder, postgres, valkey)
    done = host.migrate("bootstrap", "--database", "pattern", database="postgres")
    assert done.returncode == 0, done.stderr
    done = host.migrate("upgrade", database="pattern")
    assert done.returncode == 0, done.stderr
    return host


@pytest.fixture
async def new_database(host: Host) -> AsyncIterator[Callable[[str], Any]]:
    """Makes a database of the test's own: `await new_database("pattern")` at the head, `"template0"` for empty."""
    made = []

    async def make(pattern: str) -> str:
        name = f"test_{uuid4().hex}"
        await host.execute(f"CREATE DATABASE {name} OWNER slipway_migrator TEMPLATE {pattern}")
        await host.execute("GRANT USAGE ON SCHEMA public TO slipway_app, slipway_monitor", name)
        made.append(name)
        return name

    yield make
    for name in made:
        await host.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def room(host: Host, new_database: Callable[[str], Any]) -> AsyncIterator[Mailroom]:
    """A mail queue of the test's own."""
    async with open_mailroom(host.settings(await new_database("pattern"))) as room:
        yield room


@pytest.fixture(scope="session")
def shared_database(host: Host) -> Iterator[str]:
    """A database at the head that tests share; each makes accounts of its own in it."""
    asyncio.run(host.execute("CREATE DATABASE shared OWNER slipway_migrator TEMPLATE pattern"))
    yield "shared"
    asyncio.run(host.execute("DROP DATABASE shared WITH (FORCE)"))


@pytest.fixture(scope="session")
def release() -> Release:
    """The release of the source tree."""
    return read_release()


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Run an application in this loop, without a server, and yield a client for it."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://api") as http:
        yield http


@pytest.fixture
async def http(host: Host, shared_database: str, release: Release) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, with nobody logged in."""
    async with running(build_app(host.settings(shared_database), release)) as client:
        yield client


class User:
    """Somebody with an account: a client whose requests carry a token."""

    def __init__(self, http: httpx.AsyncClient, email: str, token: str) -> None:
        self.http = http
        self.email = email
        self.token = token

    @classmethod
    async def register(cls, http: httpx.AsyncClient) -> "User":
        """Make an account and log in."""
        email, password = f"{uuid4().hex}@example.com", "correct horse"
        answer = await http.post("/api/v1/auth/register", json={"email": email, "password": password})
        assert answer.status_code == 201, answer.text
        answer = await http.post("/api/v1/auth/login", data={"username": email, "password": password})
        assert answer.status_code == 200, answer.text
        return cls(http, email, answer.json()["access_token"])

    async def call(self, method: str, path: str, expect: int | None = None, **arguments: Any) -> Any:
        """Call the API; returns the response, or its content (None if empty) when a status is expected."""
        headers = {"Authorization": f"Bearer {self.token}", **arguments.pop("headers", {})}
        answer = await self.http.request(method, f"/api/v1{path}", headers=headers, **arguments)
        if expect is None:
            return answer
        assert answer.status_code == expect, answer.text
        return answer.json() if answer.content else None


@pytest.fixture
async def user(http: httpx.AsyncClient) -> User:
    """Somebody with an account."""
    return await User.register(http)


@pytest.fixture
async def stranger(http: httpx.AsyncClient) -> User:
    """Somebody else with an account."""
    return await User.register(http)


class Door:
    """A folder with links to the servers' sockets, so that a test can take a server away from one application only."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self.folder = folder
        self._sockets = {
            "postgres": (host.server.socket_directory / ".s.PGSQL.5432", folder / ".s.PGSQL.5432"),
            "valkey": (Path(host.cache.url.removeprefix("unix://")), folder / "valkey.sock"),
        }
        for name in self._sockets:
            self.open(name)

    def settings(self, database: str, **changes: Any) -> Settings:
        """The settings of an application behind this door."""
        addresses = {
            "database_url": f"postgresql://slipway_app@/{database}?host={self.folder}",
            "cache_url": f"unix://{self.folder}/valkey.sock",
        }
        return self.host.settings(database, **{**addresses, **changes})

    def open(self, name: str) -> None:
        """Lead to the server."""
        server, link = self._sockets[name]
        link.unlink(missing_ok=True)
        link.symlink_to(server)

    def close(self, name: str, behind: Path | None = None) -> None:
        """Lead nowhere, or to a socket at which nobody answers."""
        _, link = self._sockets[name]
        link.unlink(missing_ok=True)
        if behind:
            link.symlink_to(behind)


@pytest.fixture
def door(host: Host) -> Iterator[Door]:
    """A door to the servers, open."""
    with tempfile.TemporaryDirectory(prefix="slipway-door-") as folder:  # short: it holds sockets
        yield Door(host, Path(folder))


@pytest.fixture
def silence(door: Door) -> Iterator[Path]:
    """A socket that takes connections and never answers, as a stopped server does."""
    path = door.folder / "silence.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        yield path

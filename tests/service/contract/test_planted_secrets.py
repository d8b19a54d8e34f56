"""No secret in any log line, error, metric or file name: plant some, make every kind of trouble, and search.

A real server, so that whatever its processes say is caught: ours, gunicorn's, uvicorn's and Python's own.
"""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import valkey.asyncio

from tests.environments import untraced
from tests.service.accounts.conftest import Mailbox
from tests.service.conftest import PASSWORDS, ROOT, TOKEN_KEYS, Door, Host
from tests.service.contract.calls import OPERATIONS, PASSWORD, Resident
from tests.service.contract.fuzz import OPEN_DOORS
from tests.service.contract.test_nasties import HOLE, with_a_hole
from tests.service.processes import Api


class Garden:
    """An API with secrets in it, and all that anybody but their owner gets to see of it."""

    def __init__(self, api: Api, door: Door, database: str, resident: Resident, outbox: Path) -> None:
        self.api = api
        self.door = door
        self.database = database
        self.resident = resident
        self.answers: list[httpx.Response] = []
        self.mailbox = Mailbox(outbox)
        self._outbox = outbox
        self._planted = {
            "the password of the database": PASSWORDS["slipway_app"],
            "the password of the cache": door.host.cache.password,
            "the password of the account": PASSWORD,
            "an access token": resident.token.rpartition(".")[2],
        } | {f"the key {key['kid']}": key["key"] for key in json.loads(TOKEN_KEYS)["keys"]}

    def plant(self, what: str) -> str:
        """A new secret; letters and digits, so that it looks the same in every encoding but base64."""
        secret = uuid4().hex
        self._planted[what] = secret
        return f"Pl4nted{secret}"

    def remember(self, what: str, secret: str) -> str:
        """A secret that the service made."""
        self._planted[what] = secret
        return secret

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and keep the answer if it is an error."""
        answer = await self.resident.http.send(request)
        if answer.is_error:
            self.answers.append(answer)
        return answer

    async def search(self) -> None:
        """Find none of the secrets anywhere."""
        metrics = await self.resident.http.get("/metrics")
        places = {
            "the API's log": self.api.log.read_text(),
            "PostgreSQL's log": self.door.host.server.log.read_text(),
            "the metrics": metrics.text,
            "the outbox": " ".join(path.name for path in self._outbox.rglob("*")),
            **{f"an answer to {one.request.url.path}": f"{one.headers}{one.text}" for one in self.answers},
        }
        assert self.answers
        found = [
            f"{what} in {place}: {text[max(0, text.index(secret) - 300) :][:600]}"
            for what, secret in self._planted.items()
            for place, text in places.items()
            if secret in text
        ]
        assert not found, "\n".join(found)


@pytest.fixture
async def garden(host: Host, door: Door, new_database: Callable[[str], Any], tmp_path: Path) -> AsyncIterator[Garden]:
    database = await new_database("pattern")
    settings = door.settings(database)
    environment = host.environment(
        "api",
        database,
        **OPEN_DOORS,
        SLIPWAY_DATABASE_URL=settings.database_url,
        SLIPWAY_CACHE_URL=settings.cache_url,
        SLIPWAY_MAIL_URL=f"outbox://{tmp_path}/outbox",
    )
    api = Api(tmp_path, ROOT, untraced(environment), workers=1)
    api.start()
    try:
        api.ready()
        transport = httpx.AsyncHTTPTransport(uds=str(api.socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://api", timeout=20) as http:
            yield Garden(api, door, database, await Resident.settle(http), tmp_path / "outbox")
    finally:
        api.stop()


async def call_everything(garden: Garden) -> list[int]:
    """Every operation once, validly but for a planted token; returns the statuses."""
    statuses = []
    for operation in OPERATIONS.values():
        request = garden.resident.request(operation)
        statuses.append((await garden.send(request)).status_code)
    return statuses


async def test_what_goes_well(garden: Garden) -> None:
    """Every secret that the service itself hands out, used and used again."""
    http, email = garden.resident.http, garden.resident.email
    verification = garden.remember("a token of verification", await garden.mailbox.token(email, "verify"))
    await http.post("/api/v1/auth/password-reset", json={"email": email})
    reset = garden.remember("a token of a reset", await garden.mailbox.token(email, "password"))
    pair = await garden.resident.log_in()
    first = garden.remember("a refresh token", pair["refresh_token"])
    refreshed = await http.post("/api/v1/auth/refresh", json={"refresh_token": first})
    garden.remember("the next refresh token", refreshed.json()["refresh_token"])
    new_password = garden.plant("a new password")
    for path, body in (
        ("verify-email", {"token": verification}),
        ("password-reset/confirm", {"token": reset, "new_password": new_password}),
        ("login", None),
        ("refresh", {"refresh_token": first}),
    ):
        for _ in range(2):
            form = None if body else {"username": email, "password": new_password}
            await garden.send(http.build_request("POST", f"/api/v1/auth/{path}", json=body, data=form))
    await garden.search()


async def test_wrong_types_and_broken_bodies(garden: Garden) -> None:
    for operation in OPERATIONS.values():
        secret = garden.plant(f"what was sent to {operation.name}")
        shapes = [
            f'"{secret}"',
            f'["{secret}"]',
            f'{{"{operation.name}": "{secret}"}}',
            f'"{secret}\\u0000"',
            f'"{secret}',
        ]
        for _, text in with_a_hole(operation.body):
            for shape in shapes:
                content = text.replace(HOLE, shape).encode()
                await garden.send(garden.resident.request(operation, content=content))
    await garden.search()


async def test_secrets_where_they_do_not_belong(garden: Garden) -> None:
    for operation in OPERATIONS.values():
        secret = garden.plant(f"what was sent to {operation.name}")
        ids = dict.fromkeys(operation.path_parameters, secret)
        hidden: list[dict[str, Any]] = [
            {"query": {"password": secret, "token": secret, "cursor": secret, "sort": secret}},
            {"path_ids": ids},
            {"headers": {"Authorization": f"Bearer {secret}"}},
            {"headers": {"Authorization": f"Basic {secret}"}},
            {"headers": {"Authorization": f"Bearer {garden.resident.token}{secret}"}},
            {"headers": {"Cookie": f"session={secret}", "Proxy-Authorization": f"Basic {secret}"}},
            {"headers": {"Content-Type": secret, "If-Match": secret, "Idempotency-Key": secret}},
            {"headers": {"X-Request-ID": f"not {secret}"}},
        ]
        for changes in hidden:
            await garden.send(garden.resident.request(operation, **changes))
    await garden.send(garden.resident.http.build_request("GET", f"/{garden.plant('a path that is not there')}"))
    await garden.search()


async def test_what_nobody_foresaw(garden: Garden) -> None:
    for table in ("account", "session"):
        await garden.door.host.execute(f"ALTER TABLE {table} RENAME TO {table}_that_is_gone", garden.database)
    assert 500 in await call_everything(garden)
    assert "UndefinedTableError" in garden.api.log.read_text()
    await garden.search()


async def test_postgresql_and_valkey_away(garden: Garden) -> None:
    host = garden.door.host
    garden.door.close("valkey")
    address = host.cache.url.removeprefix("unix://")
    async with valkey.asyncio.Valkey(unix_socket_path=address, password=host.cache.password) as cache:
        command = ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await cache.execute_command(*command)  # type: ignore[no-untyped-call] # as the library has it
    await call_everything(garden)
    garden.door.close("postgres")
    await host.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{garden.database}'")
    assert 503 in await call_everything(garden)
    await garden.search()


async def test_the_search_finds_what_is_there(garden: Garden) -> None:
    """Or all of the above could pass by looking in the wrong places."""
    request_id = uuid4().hex
    garden._planted["a request id"] = request_id
    await garden.send(garden.resident.http.build_request("GET", "/nowhere", headers={"X-Request-ID": request_id}))
    with pytest.raises(AssertionError, match="a request id in the API's log"):
        await garden.search()

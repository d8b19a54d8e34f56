"""The throw-away environment that drills break: its own folders, processes and data, never the operator's."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from infra.contract import API_PREFIX, APP_ROLE
from infra.embedded import secrets
from infra.embedded.api import Api, Plan
from infra.embedded.api_settings import LIGHT_HASH
from infra.embedded.cache import Cache
from infra.embedded.database import Database
from infra.embedded.layout import Layout
from infra.embedded.migration import Migration
from infra.embedded.network import client, free_port, local_address
from loadtests import dataset
from loadtests.population import Parameters
from ops import lock, release

DATASET = Parameters(accounts=40, tasks=4_000)
WORKERS = 2


@dataclass(frozen=True)
class Ground:
    """A running environment.

    Args:
        layout: its folders, below the operator's `.slipway/drills`.
        plan: how its API is served: two workers, with the password hashes of deployed environments.
        password: of every account.
        emails: of its accounts, the one with the most tasks last.
    """

    layout: Layout
    plan: Plan
    password: str
    emails: tuple[str, ...]

    @property
    def server(self) -> str:
        """The URL of its API."""
        return f"http://{self.plan.address}"

    @property
    def api(self) -> Api:
        """Its API's processes."""
        return Api(self.layout)

    @property
    def database(self) -> Database:
        """Its PostgreSQL."""
        return Database(self.layout)

    @property
    def cache(self) -> Cache:
        """Its Valkey."""
        return Cache(self.layout)

    @property
    def database_password(self) -> str:
        """The password of the API's role."""
        return secrets.read(self.layout, "app_password")

    def workers(self) -> list[Any]:
        """The processes that answer requests, oldest first."""
        masters = {process.pid for process in self.api.masters()}
        return [process for process in self.api.processes() if process.pid not in masters]

    def log_in(self, email: str) -> str:
        """A token."""
        with client(self.plan.address) as http:
            answer = http.post(f"{API_PREFIX}/auth/login", data={"username": email, "password": self.password})
            return str(answer.raise_for_status().json()["access_token"])

    def newest_task(self, token: str) -> str:
        """The id of an account's newest task."""
        with client(self.plan.address) as http:
            answer = http.get(f"{API_PREFIX}/tasks?limit=1", headers={"Authorization": f"Bearer {token}"})
            return str(answer.raise_for_status().json()["items"][0]["id"])


@contextlib.contextmanager
def throw_away(project: Layout) -> Iterator[Ground]:
    """Bring an environment up beside the operator's, and remove it whatever happens.

    Raises:
        LockedError: other drills are at work.
        ProcessError: a part did not start.
        DatasetError: it took no rows.
    """
    project.create()
    snapshot = release.build(project).snapshot
    folder = Layout(project.project, "drills")
    folder.home.mkdir(mode=0o700, exist_ok=True)
    with lock.held(folder, "drills"), _environment(Layout(folder.home), snapshot) as ground:
        yield ground


@contextlib.contextmanager
def _environment(layout: Layout, snapshot: Path) -> Iterator[Ground]:
    remove(layout)  # what a killed run may have left
    try:
        layout.create()
        secrets.ensure(layout)
        Database(layout).start()
        Cache(layout).start()
        job = Migration(layout, snapshot)
        job.bootstrap()
        job.upgrade(layout.home / "migration.json")
        credentials = _load(layout)
        as_deployed = tuple((name, None) for name in LIGHT_HASH)
        lasting = (("SLIPWAY_TOKEN_LIFETIME_SECONDS", "86400"),)  # a drill may take longer than a quarter of an hour
        address = local_address(free_port(None, 8300))
        plan = Plan(snapshot, address, WORKERS, recycle=False, changes=as_deployed + lasting)
        Api(layout).start(plan)
        emails = tuple(entry["email"] for entry in credentials["emails"])
        yield Ground(layout, plan, credentials["password"], emails)
    finally:
        remove(layout)


def _load(layout: Layout) -> dict[str, Any]:
    credentials = layout.home / "dataset.json"
    asyncio.run(
        dataset.load(
            database_url=Database(layout).url(APP_ROLE),
            password=secrets.read(layout, "app_password"),
            credentials=credentials,
            parameters=DATASET,
        )
    )
    content: dict[str, Any] = json.loads(credentials.read_text())
    return content


def remove(layout: Layout) -> None:
    """Stop what runs there, whatever state a drill left it in, and remove the folder."""
    cache = Cache(layout).process()
    for process in (*Database(layout).processes(), *([cache] if cache else ())):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()  # a killed drill may have left it paused, and then it would not hear that it shall end
    for part in (Api(layout), Cache(layout), Database(layout)):
        part.stop()
    for folder in (layout.run, layout.state):
        shutil.rmtree(folder, ignore_errors=True)

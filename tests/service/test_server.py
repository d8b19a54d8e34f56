"""The API's start, with a real gunicorn: how fast, and when it refuses."""

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from service.migrations.schema_range import OLDEST, SchemaRange
from tests.service.conftest import ROOT, Host
from tests.service.migrations.conftest import snapshot
from tests.service.processes import Api

__all__ = ["snapshot"]

Start = Callable[..., Api]

LIBRARIES = (
    "import asyncpg, fastapi, gunicorn.arbiter, jwt, limits, prometheus_client, pwdlib, pydantic_settings, sqlmodel, "
    "structlog, uvicorn_worker, valkey.asyncio"
)
HEAD = SchemaRange.of_source().head
NEXT, AFTER = f"{int(HEAD) + 1:04}", f"{int(HEAD) + 2:04}"


@pytest.fixture
def start(host: Host) -> Iterator[Start]:
    """Makes an API: `start(database, source, **variables)`."""
    made: list[Api] = []
    with tempfile.TemporaryDirectory(prefix="slipway-api-") as folder:  # short: it holds a socket

        def make(database: str, source: Path = ROOT, **variables: str) -> Api:
            api = Api(Path(folder), source, host.environment("api", database, **variables))
            made.append(api)
            api.start()
            return api

        yield make
        for api in made:
            api.stop()


def refusal(api: Api) -> str:
    """The one line with which an API refused to start."""
    assert api.process.wait(timeout=30) == 1
    lines = api.log.read_text().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_starts_and_logs_json_only(start: Start, shared_database: str) -> None:
    api = start(shared_database)
    api.ready()
    with api.client() as http:
        assert http.get("/version").json()["release"] == "0.0.0-source"
        assert http.get("/docs").status_code == 200
        assert http.get("/openapi.json").json()["info"]["title"] == "Slipway"
        assert "server" not in http.get("/health/live").headers
    assert {line["level"] for line in api.lines()} == {"info"}
    assert any(line["event"].startswith("Listening at") for line in api.lines())


def test_production_has_no_docs(start: Start, shared_database: str) -> None:
    api = start(shared_database, SLIPWAY_ENVIRONMENT="production")
    api.ready()
    with api.client() as http:
        assert http.get("/docs").status_code == 404
        assert http.get("/openapi.json").status_code == 404


def test_start_costs_little_more_than_the_imports(start: Start, shared_database: str) -> None:
    # Processor time, so that what else this machine does cannot fail the test.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", LIBRARIES], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    imports_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    api = start(shared_database)
    api.ready()
    master = psutil.Process(api.process.pid)
    times = [master.cpu_times(), max(worker.cpu_times() for worker in master.children())]
    start_seconds = sum(time.user + time.system for time in times)
    assert start_seconds < imports_seconds * 1.5


async def test_refuses_an_empty_database(start: Start, new_database: Any) -> None:
    api = start(await new_database("template0"))
    assert refusal(api) == "slipway: schema is empty: run slipway-migrate first"


@pytest.mark.parametrize("accepts_from", [HEAD, NEXT])
async def test_newer_schema_is_served_if_it_accepts_this_release(
    host: Host, start: Start, new_database: Any, snapshot: Callable[..., Path], accepts_from: str
) -> None:
    name = await new_database("pattern")
    done = host.migrate(database=name, folder=snapshot({NEXT: "pass"}, accepts_from))
    assert done.returncode == 0, done.stderr
    api = start(name)
    if accepts_from == HEAD:
        api.ready()
        with api.client() as http:
            schema = http.get("/version").json()["schema"]
        assert schema["database"] == NEXT
        assert schema["head"] == schema["newest"] == HEAD
    else:
        assert refusal(api) == (
            f"slipway: schema {NEXT} is newer than this release can run on ({OLDEST}..{HEAD}): "
            f"deploy a release whose schema is {NEXT} or newer"
        )


async def test_refuses_a_schema_older_than_its_manifest_says(start: Start, new_database: Any, tmp_path: Path) -> None:
    manifest = {
        "release": "2.0.0-abc",
        "version": "2.0.0",
        "digest": "",
        "schema": {"head": AFTER, "oldest": NEXT, "newest": AFTER},
    }
    (tmp_path / "release.json").write_text(json.dumps(manifest))
    api = start(await new_database("pattern"), SLIPWAY_RELEASE_FILE=str(tmp_path / "release.json"))
    assert f"schema {HEAD} is older than this release can run on ({NEXT}..{AFTER})" in refusal(api)


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"SLIPWAY_POOL_SIZE": "3"}, "unknown setting SLIPWAY_POOL_SIZE: did you mean SLIPWAY_"),
        ({"SLIPWAY_TOKEN_KEYS": "{}"}, "SLIPWAY_TOKEN_KEYS is not a key ring"),
        ({"SLIPWAY_DATABASE_PASSWORD": "wrong"}, "password authentication failed"),
        ({"SLIPWAY_DATABASE_URL": "postgresql://a@/b?host=/nowhere"}, "start it, or correct SLIPWAY_DATABASE_URL"),
        ({"SLIPWAY_RELEASE_FILE": "/nowhere"}, "SLIPWAY_RELEASE_FILE=/nowhere does not exist"),
    ],
)
def test_refuses_in_one_line(start: Start, shared_database: str, variables: dict[str, str], reason: str) -> None:
    line = refusal(start(shared_database, **variables))
    assert line.startswith("slipway: ")
    assert reason in line

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pytest

from infra.embedded import secrets
from infra.embedded.database import Database
from infra.embedded.layout import Layout
from loadtests.recorder import Recorder, Samples, read_samples
from tests.environments import migrated_database
from tests.loadtests.fake import fakes

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Migrated:
    """A database with the service's schema, and what the application's role connects with."""

    layout: Layout
    url: str
    password_file: Path

    async def connect(self, role: str = "slipway_app") -> "asyncpg.Connection[asyncpg.Record]":
        password = secrets.read(self.layout, f"{role.removeprefix('slipway_')}_password")
        return await asyncpg.connect(Database(self.layout).url(role), password=password)


@pytest.fixture(scope="session")
def migrated() -> Iterator[Migrated]:
    """PostgreSQL of these tests' own: they fill it, and others count their rows."""
    with migrated_database() as database:
        layout = database.layout
        yield Migrated(layout, database.url("slipway_app"), secrets.path_of(layout, "app_password"))


@pytest.fixture
def fake() -> Iterator[Callable[..., str]]:
    """Starts the stand-in for the API with the faults asked for; returns its URL."""
    with fakes() as start:
        yield start


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    path = tmp_path / "credentials.json"
    emails = [{"email": f"account-{number}@dataset.example", "tasks": number} for number in range(4)]
    content = {"dataset": "d1", "accounts": 1_000, "tasks": 200_000, "password": "p", "emails": emails}
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def make_samples(tmp_path: Path) -> Callable[..., Samples]:
    """Samples as a run leaves them: `make_samples({"me": latencies_us, ...}, errors={"me": 3}, lag_us=100)`."""

    def make(
        latencies: dict[str, Any],
        *,
        errors: dict[str, int] | None = None,
        lag_us: int = 100,
        done: dict[str, Any] | None = None,
        seconds: float = 10.0,
        path: Path | None = None,
    ) -> Samples:
        path = path or tmp_path / "made.bin"
        recorder = Recorder(path, {"started_at": "2026-11-21T10:00:00+00:00", "measure_seconds": seconds})
        for kind, values in latencies.items():
            failed = (errors or {}).get(kind, 0)
            starts = np.linspace(0, seconds * 1e6 - 1, len(values)).astype(int)
            for index, (start, latency) in enumerate(zip(starts.tolist(), list(values), strict=True)):
                recorder.add(
                    start_us=start,
                    latency_us=int(latency),
                    lag_us=lag_us,
                    bytes_=100,
                    status=500 if index < failed else 200,
                    kind=kind,
                    error="status 500" if index < failed else "",
                )
        recorder.close(
            {"failure": "", "unfinished_journeys": 0, "arrivals": 1, "generator_cpu_share": 0.1, **(done or {})}
        )
        return read_samples(path)

    return make

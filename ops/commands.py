"""The commands that verbs run, as argument lists: pure, so that a test can hold them letter by letter."""

import sys
from pathlib import Path

PYTHON = sys.executable


def load_dataset(*, database_url: str, password_file: Path, credentials: Path) -> list[str]:
    """Load the dataset, once."""
    return [
        *(PYTHON, "-m", "loadtests.dataset"),
        *("--database-url", database_url),
        *("--password-file", str(password_file)),
        *("--credentials", str(credentials)),
    ]


def run_load(*, host: str, profile: str, credentials: Path, conditions: Path, record: Path) -> list[str]:
    """Run the journeys and leave samples and baseline in the record."""
    return [
        *(PYTHON, "-m", "loadtests.run"),
        *("--host", host),
        *("--profile", profile),
        *("--credentials", str(credentials)),
        *("--conditions", str(conditions)),
        *("--record", str(record)),
    ]


def ceiling(*, port: int, database_url: str, password_file: Path, token_keys: Path) -> list[str]:
    """Serve the ceiling: bare ASGI on the same rows."""
    return [
        *(PYTHON, "-m", "loadtests.ceiling"),
        *("--port", str(port)),
        *("--database-url", database_url),
        *("--password-file", str(password_file)),
        *("--token-keys", str(token_keys)),
    ]


def steady_reader(*, host: str, requests: Path, record: Path, rate: float, authority: Path | None = None) -> list[str]:
    """Ask at a constant rate until SIGTERM."""
    return [
        *(PYTHON, "-m", "loadtests.steady"),
        *("--host", host),
        *("--requests", str(requests)),
        *("--record", str(record)),
        *("--rate", f"{rate:g}"),
        *(("--ca-file", str(authority)) if authority else ()),
    ]


def bare_imports() -> list[str]:
    """Import what the service cannot do without, and nothing else: the floor under every start."""
    return [PYTHON, "-c", "import fastapi, sqlmodel, asyncpg"]


def pinned(core: int, command: list[str]) -> list[str]:
    """The same command, on one core only (taskset(1))."""
    return ["taskset", "--cpu-list", str(core), *command]

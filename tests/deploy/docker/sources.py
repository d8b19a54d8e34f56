"""Sources of releases that do not work, each in its own way."""

from pathlib import Path
from typing import Final

REVISION: Final = '''"""A revision of the proofs."""

from alembic import op

revision = "9001"
down_revision = "{head}"
accepts_from = "{head}"


def upgrade() -> None:
    """Make a table, then do as it is told."""
    op.execute("CREATE TABLE half_made (id integer)")
    op.execute("{statement}")
'''
UNREADY: Final = 'return JSONResponse({"status": "unavailable", "checks": {}, "planted": "never ready"}, 503)'
READY_ONCE: Final = """_FIRST_READY: list[float] = []


def _planted() -> bool:
    import time

    _FIRST_READY.append(time.monotonic())
    return time.monotonic() - _FIRST_READY[0] > 3


"""
TURNS: Final = """if _planted():
        return JSONResponse({"status": "unavailable", "checks": {}, "planted": "not ready any more"}, 503)
    readiness = """
DIES: Final = """if _planted():
        import os
        import sys

        print("planted: ends after it was ready", file=sys.stderr, flush=True)
        os._exit(3)
    readiness = """
CRASH: Final = '        raise RuntimeError("planted: crashes at the start")'
LOADING: Final = "        settings = Settings.load()"
READINESS: Final = "readiness = await"
REFRESH: Final = '    "/api/v1/auth/refresh"'
ROUTE: Final = '@router.get("/health/ready"'


def failing_revision(folder: Path) -> None:
    """The next revision raises half-way."""
    _revision(folder, "SELECT 1 / 0")


def good_revision(folder: Path) -> None:
    """The same revision, corrected."""
    _revision(folder, "SELECT 1")


def crashing(folder: Path) -> None:
    """It crashes at the start."""
    _replace(folder / "service" / "main.py", LOADING, f"{CRASH}\n{LOADING}")


def never_ready(folder: Path) -> None:
    """It starts, and never gets ready."""
    _replace(folder / "service" / "health.py", READINESS, f"{UNREADY}\n    {READINESS}")


def turning_unready(folder: Path) -> None:
    """It gets ready, then is not ready any more."""
    _replace(folder / "service" / "health.py", ROUTE, READY_ONCE + ROUTE)
    _replace(folder / "service" / "health.py", f"{READINESS[:-5]}", TURNS)


def dying(folder: Path) -> None:
    """It gets ready, then ends."""
    _replace(folder / "service" / "health.py", ROUTE, READY_ONCE + ROUTE)
    _replace(folder / "service" / "health.py", f"{READINESS[:-5]}", DIES)


def failing_a_smoke_check(folder: Path) -> None:
    """It is ready and stays so, but nobody can refresh a token."""
    _replace(folder / "service" / "accounts" / "routes.py", REFRESH, f'{REFRESH[:-1]}ed"')


def _revision(folder: Path, statement: str) -> None:
    versions = folder / "service" / "migrations" / "versions"
    head = max(path.name[:4] for path in versions.glob("[0-9]*.py"))
    (versions / "9001_of_the_proofs.py").write_text(REVISION.format(head=head, statement=statement))


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, old
    path.write_text(text.replace(old, new, 1))

import sys
from pathlib import Path

from ops import commands


def test_load_dataset() -> None:
    command = commands.load_dataset(database_url="postgresql://a", password_file=Path("p"), credentials=Path("c"))
    assert command == [
        sys.executable, "-m", "loadtests.dataset",
        "--database-url", "postgresql://a", "--password-file", "p", "--credentials", "c",
    ]  # fmt: skip


def test_run_load() -> None:
    command = commands.run_load(
        host="http://h", profile="quick", credentials=Path("c"), conditions=Path("d"), record=Path("r")
    )
    assert command == [
        sys.executable, "-m", "loadtests.run", "--host", "http://h", "--profile", "quick",
        "--credentials", "c", "--conditions", "d", "--record", "r",
    ]  # fmt: skip


def test_steady_reader() -> None:
    command = commands.steady_reader(host="http://h", requests=Path("q"), record=Path("r"), rate=50.0)
    assert command == [
        sys.executable, "-m", "loadtests.steady",
        "--host", "http://h", "--requests", "q", "--record", "r", "--rate", "50",
    ]  # fmt: skip


def test_ceiling_pinned() -> None:
    ceiling = commands.ceiling(port=8200, database_url="u", password_file=Path("p"), token_keys=Path("k"))
    assert commands.pinned(1, ceiling) == [
        "taskset", "--cpu-list", "1", sys.executable, "-m", "loadtests.ceiling",
        "--port", "8200", "--database-url", "u", "--password-file", "p", "--token-keys", "k",
    ]  # fmt: skip

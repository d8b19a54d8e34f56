import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from infra.embedded import secrets
from infra.embedded.database import Database
from infra.embedded.processes import stop
from loadtests.dataset import DatasetError, load, main
from loadtests.population import Parameters
from tests.environments import migrated_database
from tests.loadtests.conftest import Migrated

SMALL = Parameters(accounts=30, tasks=900)


@pytest.fixture
async def database(migrated: Migrated) -> Any:
    """The migrated database without any account."""
    connection = await migrated.connect()
    await connection.execute("DELETE FROM account; DELETE FROM mail")
    await connection.close()
    return migrated


@pytest.fixture
def load_into(database: Migrated, tmp_path: Path) -> Any:
    async def call(parameters: Parameters = SMALL) -> Any:
        return await load(
            database_url=database.url,
            password=database.password_file.read_text(),
            credentials=tmp_path / "credentials.json",
            parameters=parameters,
        )

    return call


@pytest.fixture
async def count(database: Migrated) -> Any:
    connection = await database.connect()
    yield lambda table: connection.fetchval(f"SELECT count(*) FROM {table}")
    await connection.close()


async def accepted(database: Migrated, password: Any) -> bool:
    """Whether every account of the dataset takes the password."""
    connection = await database.connect()
    hashes = await connection.fetch("SELECT DISTINCT password_hash FROM account")
    await connection.close()
    hasher = PasswordHash((Argon2Hasher(),))
    return [hasher.verify(password, row["password_hash"]) for row in hashes] == [True]


async def test_loads_once(load_into: Callable[..., Any], count: Any, tmp_path: Path, database: Migrated) -> None:
    assert (await load_into()).startswith("loaded 30 accounts and 900 tasks")
    credentials = tmp_path / "credentials.json"
    first = credentials.read_text()
    assert credentials.stat().st_mode & 0o777 == 0o600
    assert (await load_into()).startswith("already loaded: 30 accounts and 900 tasks")
    assert credentials.read_text() == first
    assert (await count("account"), await count("task")) == (30, 900)
    assert await count("task WHERE category_id IS NOT NULL") > 500
    content = json.loads(first)
    assert await accepted(database, content["password"])
    assert [entry["tasks"] for entry in content["emails"]] == sorted(entry["tasks"] for entry in content["emails"])
    for entry in content["emails"]:
        of_one = f"task JOIN account ON account_id = account.id AND email = '{entry['email']}'"
        assert await count(of_one) == entry["tasks"]


async def test_a_lost_credentials_file_is_made_again(
    load_into: Callable[..., Any], tmp_path: Path, database: Migrated
) -> None:
    await load_into()
    credentials = tmp_path / "credentials.json"
    old = json.loads(credentials.read_text())["password"]
    credentials.write_text("not json")
    assert "new password" in await load_into()
    new = json.loads(credentials.read_text())["password"]
    assert new != old
    assert await accepted(database, new)


async def test_a_hash_of_another_kind_is_replaced(load_into: Callable[..., Any], database: Migrated) -> None:
    await load_into()
    connection = await database.connect()
    await connection.execute("UPDATE account SET password_hash = 'what is this'")
    await connection.close()
    assert "new password" in await load_into()


async def test_other_parameters_replace_the_dataset_and_nothing_else(
    load_into: Callable[..., Any], count: Any, database: Migrated
) -> None:
    await load_into()
    connection = await database.connect()
    await connection.execute(
        "INSERT INTO account (email, password_hash) VALUES ('anna@elsewhere.org', 'x'), ('new-1@load.example', 'x')"
    )
    await connection.close()
    assert "removed 1 accounts" in await load_into()
    assert (await load_into(Parameters(20, 500, seed=9))).startswith("loaded 20 accounts")
    assert (await count("account"), await count("task")) == (21, 500)
    assert await count("account WHERE email = 'anna@elsewhere.org'") == 1


async def test_what_load_runs_leave_is_taken_away(
    load_into: Callable[..., Any], count: Any, database: Migrated
) -> None:
    await load_into()
    sessions = await count("session")
    assert 30 <= sessions <= 90
    connection = await database.connect()
    await connection.execute(
        """
        INSERT INTO account (email, password_hash) VALUES ('anna@elsewhere.org', 'x'), ('new-1@load.example', 'x');
        INSERT INTO session (account_id, expires_at) SELECT id, now() FROM account;
        INSERT INTO mail (kind, recipient) VALUES ('verify', 'anna@elsewhere.org'), ('verify', 'new-1@load.example')
        """
    )
    await connection.close()
    await load_into()
    assert await count("session") == sessions + 1, "Anna's is not of the load's"
    assert await count("mail") == 1


async def test_two_at_once_load_once(load_into: Callable[..., Any], count: Any) -> None:
    said = sorted(await asyncio.gather(load_into(), load_into()))
    assert [words.split()[0] for words in said] == ["already", "loaded"]
    assert await count("task") == 900


async def test_statistics_are_refreshed_where_the_role_may(
    load_into: Callable[..., Any], database: Migrated, count: Any
) -> None:
    admin = await database.connect("slipway_migrator")
    await admin.execute("REVOKE MAINTAIN ON account, session, category, task FROM slipway_app")
    assert "autovacuum" in await load_into()
    await admin.execute("GRANT MAINTAIN ON account, session, category, task TO slipway_app")
    assert "refreshed" in await load_into(Parameters(20, 500))
    assert await admin.fetchval("SELECT reltuples FROM pg_class WHERE oid = 'task'::regclass") == 500
    await admin.close()


def arguments(database: Migrated, tmp_path: Path, **changes: Any) -> Any:
    options = {
        "database-url": database.url,
        "password-file": database.password_file,
        "credentials": tmp_path / "credentials.json",
        "accounts": 30,
        "tasks": 900,
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    return [f"--{name}={value}" for name, value in options.items()]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
async def test_killed_half_way_leaves_nothing(
    database: Migrated, tmp_path: Path, count: Any, load_into: Callable[..., Any], number: int, code: int
) -> None:
    await load_into()
    command = [sys.executable, "-m", "loadtests.dataset", *arguments(database, tmp_path, tasks=200_000)]
    watcher = await database.connect()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as loader:  # noqa: ASYNC220 - it returns at once
        began = time.monotonic()
        while not await watcher.fetchval(
            "SELECT count(*) FROM pg_stat_progress_copy WHERE relid = 'task'::regclass AND tuples_processed > 5000"
        ):
            assert loader.poll() is None
            assert time.monotonic() - began < 30
            await asyncio.sleep(0.01)
        loader.send_signal(number)
        assert loader.wait(timeout=10) == code
    await watcher.close()
    for _ in range(100):
        if (await count("account"), await count("task")) == (30, 900):
            break
        await asyncio.sleep(0.05)
    assert (await count("account"), await count("task")) == (30, 900)
    assert (await load_into()).startswith("already loaded")


def test_a_server_that_goes_away_ends_it_at_once(tmp_path: Path) -> None:
    with migrated_database() as database:
        command = [
            *(sys.executable, "-m", "loadtests.dataset", "--database-url", database.url("slipway_app")),
            *("--password-file", str(secrets.path_of(database.layout, "app_password"))),
            *("--credentials", str(tmp_path / "credentials.json")),
        ]
        loader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert loader.stdout is not None
        time.sleep(1.5)
        server = database.process()
        assert server is not None
        stop([*server.children(), server], timeout_seconds=5, ask=signal.SIGKILL)
        _, errors = loader.communicate(timeout=20)
    assert loader.returncode == 1
    assert errors.count("\n") == 1
    assert "PostgreSQL went away" in errors or "no connection to the database" in errors


def test_main_says_what_it_did(database: Migrated, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(database, tmp_path)) == 0
    assert capsys.readouterr().out.startswith("loaded 30 accounts")


def test_main_refuses_impossible_parameters(
    database: Migrated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(database, tmp_path, accounts=0)) == 2
    assert "at least one account" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"database_url": "postgresql://slipway_app@/slipway?host=/nowhere"}, "is the environment up?"),
        ({"database_url": "postgresql://slipway_app@127.0.0.1:1/slipway"}, "is the environment up?"),
        ({"database_url": "what"}, "no connection"),
        ({"password_file": "/nowhere"}, "No such file"),
        ({"credentials": "/nowhere/credentials.json"}, "nothing of it is left"),
    ],
)
def test_main_names_the_cause_in_one_line(
    database: Migrated, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: str
) -> None:
    assert main(arguments(database, tmp_path, **changes)) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


async def test_an_empty_schema_is_named(migrated: Migrated, tmp_path: Path) -> None:
    from infra.embedded import secrets

    password = secrets.read(migrated.layout, "admin_password")
    url = Database(migrated.layout).url("slipway_admin", "postgres")
    with pytest.raises(DatasetError, match="slipway-migrate"):
        await load(database_url=url, password=password, credentials=tmp_path / "c", parameters=SMALL)

"""The backup's script on a real PostgreSQL, and what goes wrong: each time the earlier dumps stay as they were."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.contract import ADMIN_ROLE, DATABASE_NAME, MONITOR_ROLE
from infra.embedded import secrets
from infra.embedded.database import Database, program
from tests.environments import migrated_database

SCRIPT = Path(__file__).parents[3] / "infra" / "docker" / "files" / "backup.sh"
HOUR = 3600
DAY = 24 * HOUR

needs_tools = pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock (package util-linux)")
pytestmark = needs_tools


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with migrated_database() as database:
        sql(
            database,
            DATABASE_NAME,
            "insert into account (id, email, password_hash) "
            "select gen_random_uuid(), i || '@x.test', 'x' from generate_series(1, 50) i",
        )
        yield database


def sql(database: Database, name: str, text: str) -> str:
    done = subprocess.run(
        [program("psql"), "-AtqX", "-v", "ON_ERROR_STOP=1", database.url(ADMIN_ROLE, name), "-c", text],
        env={"PGPASSWORD": database.admin_password},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass
class Backup:
    """The script with its folders and its surroundings."""

    root: Path
    variables: dict[str, str]

    @property
    def folder(self) -> Path:
        return self.root / "dumps"

    def run(self, word: str = "once", **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", SCRIPT, word],
            env=self.variables | changes,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, word: str, **changes: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["sh", SCRIPT, word],
            env=self.variables | changes,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def until_it_waits(self) -> None:
        """Wait until `run` gives signs of life, which is after all that it does first."""
        deadline = time.monotonic() + 30
        while self.run("alive").returncode != 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def dumps(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.folder.glob("*.dump"))}

    def leftovers(self) -> list[str]:
        return [path.name for path in self.folder.iterdir() if path.name.endswith(".partial")]

    def figures(self) -> dict[str, float]:
        text = (self.root / "figures" / "backup.txt").read_text()
        return {
            sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples
        }

    def earlier(self, *, hours_ago: float) -> Path:
        """A dump from before, of whose content nothing depends."""
        stamp = time.time() - hours_ago * HOUR
        path = self.folder / time.strftime("%Y%m%dT%H%M%SZ.dump", time.gmtime(stamp))
        path.write_bytes(b"earlier")
        os.utime(path, (stamp, stamp))
        return path

    def instead_of(self, name: str, script: str) -> str:
        """A PATH on which a program of PostgreSQL is another one."""
        bin_folder = self.root / "bin"
        bin_folder.mkdir(exist_ok=True)
        (bin_folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (bin_folder / name).chmod(0o755)
        return f"{bin_folder}:{self.variables['PATH']}"


@pytest.fixture
def backup(database: Database, tmp_path: Path) -> Backup:
    for name in ("dumps", "figures", "scratch"):
        (tmp_path / name).mkdir()
    variables = {
        "PATH": f"{program('pg_dump').parent}:{os.environ['PATH']}",
        "PGHOST": str(database.socket_directory),
        "PGUSER": MONITOR_ROLE,
        "PGDATABASE": DATABASE_NAME,
        "PASSWORD_FILE": str(secrets.path_of(database.layout, "monitor_password")),
        "FOLDER": str(tmp_path / "dumps"),
        "FIGURES": str(tmp_path / "figures"),
        "SCRATCH": str(tmp_path / "scratch"),
        "EVERY_SECONDS": str(6 * HOUR),
        "KEEP_SECONDS": str(7 * DAY),
        "TICK_SECONDS": "1",
    }
    return Backup(tmp_path, variables)


def test_a_dump_by_the_monitor_role_restores_to_the_same_rows(database: Database, backup: Backup) -> None:
    started = time.time()
    done = backup.run()
    assert done.returncode == 0, done.stdout + done.stderr
    ((name, content),) = backup.dumps().items()
    assert re.fullmatch(r"\d{8}T\d{6}Z\.dump", name)
    assert f"backup done: {name}, {len(content)} bytes" in done.stdout
    assert (backup.folder / name).stat().st_mode & 0o777 == 0o600
    assert backup.leftovers() == []

    sql(database, "postgres", "create database restored owner slipway_migrator template template0")
    try:
        subprocess.run(
            [
                program("pg_restore"),
                "--exit-on-error",
                "-d",
                database.url(ADMIN_ROLE, "restored"),
                backup.folder / name,
            ],
            env={"PGPASSWORD": database.admin_password},
            check=True,
        )
        relation, ours = "concat(relname, relkind, relacl)", "relnamespace = 'public'::regnamespace"
        for question in (
            "select count(*), md5(string_agg(a::text, '' order by id)) from account a",
            "select version_num from alembic_version",
            f"select string_agg({relation}, ',' order by relname) from pg_class where {ours}",
        ):
            assert sql(database, "restored", question) == sql(database, DATABASE_NAME, question)
    finally:
        sql(database, "postgres", "drop database restored with (force)")

    figures = backup.figures()
    assert figures["slipway_backup_last_success_timestamp_seconds"] >= int(started)
    assert figures["slipway_backup_last_size_bytes"] == len(content)
    assert figures["slipway_backup_last_attempt_failed"] == 0
    assert figures["slipway_backup_dumps"] == 1
    assert figures["slipway_backup_free_bytes"] > 0


def fails(backup: Backup, done: subprocess.CompletedProcess[str], *said: str) -> None:
    """A failed attempt left everything as it was, and says so."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert backup.leftovers() == []
    assert list(backup.dumps().values()) == [b"earlier"]
    for words in said:
        assert words in done.stdout
    assert f"earlier dumps are as they were, newest: {next(iter(backup.dumps()))}" in done.stdout
    figures = backup.figures()
    assert figures["slipway_backup_last_attempt_failed"] == 1
    assert figures["slipway_backup_last_success_timestamp_seconds"] < time.time() - HOUR


def test_the_database_is_away(backup: Backup) -> None:
    backup.earlier(hours_ago=9)
    fails(backup, backup.run(PGHOST="/nowhere"), "pg_dump: error: connection", "pg_dump ended with 1")


def test_the_password_is_wrong_and_is_not_shown(backup: Backup, tmp_path: Path) -> None:
    backup.earlier(hours_ago=9)
    (tmp_path / "wrong").write_text("not-the-password")
    done = backup.run(PASSWORD_FILE=str(tmp_path / "wrong"))
    fails(backup, done, "password authentication failed")
    assert "not-the-password" not in done.stdout + done.stderr


def test_a_password_with_colons_and_backslashes(database: Database, backup: Backup, tmp_path: Path) -> None:
    sql(database, "postgres", r"create role awkward login in role slipway_monitor password 'a:b\c:d'")
    (tmp_path / "awkward").write_text(r"a:b\c:d")
    done = backup.run(PGUSER="awkward", PASSWORD_FILE=str(tmp_path / "awkward"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_disk_is_full(backup: Backup, tmp_path: Path) -> None:
    # A limit on a file's size: the same path through pg_dump as a full disk, without making one.
    backup.earlier(hours_ago=9)
    limited = f"ulimit -f 4; trap '' XFSZ; exec {program('pg_dump')} \"$@\""
    fails(backup, backup.run(PATH=backup.instead_of("pg_dump", limited)), "File too large", "pg_dump ended with")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_a_disk_that_is_really_full(backup: Backup, tmp_path: Path) -> None:
    command = ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(backup.folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let us mount")
    try:
        backup.earlier(hours_ago=9)
        (backup.folder / "ballast").write_bytes(bytes(36 * 1024))
        fails(backup, backup.run(), "No space left on device", "pg_dump ended with 1")
    finally:
        subprocess.run(["umount", backup.folder], check=True)


def test_a_dump_cut_short_is_not_kept(backup: Backup) -> None:
    assert backup.run().returncode == 0
    ((name, whole),) = backup.dumps().items()
    (backup.folder / name).unlink()
    (backup.root / "half").write_bytes(whole[: len(whole) * 3 // 4])
    backup.earlier(hours_ago=9)
    half = f'for word; do case $word in --file=*) cat "{backup.root}/half" >"${{word#--file=}}";; esac; done'
    fails(backup, backup.run(PATH=backup.instead_of("pg_dump", half)), "the dump cannot be read back")


def test_kill_9_in_the_middle(backup: Backup) -> None:
    backup.earlier(hours_ago=9)
    begins = 'for word; do case $word in --file=*) echo half >"${word#--file=}";; esac; done; exec sleep 60'
    process = backup.start("once", PATH=backup.instead_of("pg_dump", begins))
    deadline = time.monotonic() + 30
    while not backup.leftovers():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert backup.leftovers(), "or this test proves nothing"
    assert list(backup.dumps().values()) == [b"earlier"]

    done = backup.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert backup.leftovers() == []
    assert len(backup.dumps()) == 2
    assert b"earlier" in backup.dumps().values()


def test_old_dumps_go_but_never_the_newest(backup: Backup) -> None:
    old = backup.earlier(hours_ago=8 * 24)
    young = backup.earlier(hours_ago=6 * 24)
    foreign = backup.folder / "by-hand.dump"
    foreign.write_text("not ours")
    os.utime(foreign, (0, 0))
    assert backup.run(PGHOST="/nowhere").returncode == 1
    assert old.exists(), "nothing goes while nothing new is good"
    done = backup.run()
    assert done.returncode == 0, done.stdout
    assert not old.exists()
    assert young.exists()
    assert foreign.exists()
    assert f"removed {old.name}" in done.stdout
    assert backup.run(KEEP_SECONDS="-10").returncode == 0
    assert len([name for name in backup.dumps() if name[0].isdigit()]) == 1


def test_run_waits_until_one_is_due_and_ends_at_once(backup: Backup) -> None:
    backup.earlier(hours_ago=5)
    process = backup.start("run")
    backup.until_it_waits()
    process.terminate()
    said, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "a backup every 360 min of slipway" in said
    assert list(backup.dumps().values()) == [b"earlier"]
    assert backup.figures()["slipway_backup_last_success_timestamp_seconds"] < time.time() - 4 * HOUR


def test_a_restart_does_not_hide_that_the_last_attempt_failed(backup: Backup) -> None:
    backup.earlier(hours_ago=1)
    assert backup.run(PGHOST="/nowhere").returncode == 1
    process = backup.start("run")
    backup.until_it_waits()
    process.terminate()
    process.communicate(timeout=10)
    assert backup.figures()["slipway_backup_last_attempt_failed"] == 1


def test_room_is_measured_while_no_backup_is_due(backup: Backup) -> None:
    backup.earlier(hours_ago=1)
    assert backup.run(PGHOST="/nowhere").returncode == 1
    room = backup.root / "room"
    room.write_text("7")
    path = backup.instead_of("df", f'echo heading; echo "disk 9 9 $(cat {room})"')
    process = backup.start("run", PATH=path, FIGURES_SECONDS="1")
    for kib in (7, 5):
        room.write_text(str(kib))
        deadline = time.monotonic() + 30
        while backup.figures()["slipway_backup_free_bytes"] != kib * 1024:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    process.terminate()
    process.communicate(timeout=10)
    assert backup.figures()["slipway_backup_last_attempt_failed"] == 1


def test_run_makes_one_that_is_due(backup: Backup) -> None:
    backup.earlier(hours_ago=7)
    process = backup.start("run")
    assert process.stdout
    assert any("backup done" in line for line in process.stdout)
    assert len(backup.dumps()) == 2
    process.terminate()
    process.communicate(timeout=10)


def test_run_asked_to_end_in_the_middle_ends_and_leaves_nothing_half(backup: Backup) -> None:
    begins = 'for word; do case $word in --file=*) echo half >"${word#--file=}";; esac; done; exec sleep 60'
    process = backup.start("run", PATH=backup.instead_of("pg_dump", begins))
    deadline = time.monotonic() + 30
    while not backup.leftovers():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    said, _ = process.communicate(timeout=10)
    assert "backup interrupted" in said
    assert backup.leftovers() == []
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def test_run_tries_again_after_a_failure(backup: Backup) -> None:
    process = backup.start("run", PGHOST="/nowhere", RETRY_SECONDS="1")
    assert process.stdout is not None
    said = ""
    while said.count("backup failed: pg_dump ended with 1") < 2:
        line = process.stdout.readline()
        assert line, said
        said += line
    process.terminate()
    said += process.communicate(timeout=10)[0]
    assert "newest: none" in said


def test_two_at_once_take_turns(backup: Backup) -> None:
    processes = [backup.start("once") for _ in range(2)]
    for process in processes:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert backup.leftovers() == []
    assert len(backup.dumps()) in {1, 2}  # within one second they have one name


def test_alive_is_false_without_a_sign_of_life(backup: Backup) -> None:
    assert backup.run("alive").returncode == 1
    beat = backup.root / "scratch" / "beat"
    beat.touch()
    assert backup.run("alive").returncode == 0
    os.utime(beat, (time.time() - 200, time.time() - 200))
    assert backup.run("alive").returncode == 1


def test_a_wrong_word_says_how() -> None:
    done = subprocess.run(
        ["sh", SCRIPT, "nonsense"],
        env=dict.fromkeys(
            ("PGHOST", "PGDATABASE", "FOLDER", "FIGURES", "PASSWORD_FILE", "EVERY_SECONDS", "KEEP_SECONDS"), "x"
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_it_is_plain_sh() -> None:
    for shell in ("dash", "bash"):
        if shutil.which(shell):
            subprocess.run([shell, "-n", SCRIPT], check=True)

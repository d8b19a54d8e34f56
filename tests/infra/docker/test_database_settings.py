import gzip
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.contract import ADMIN_ROLE
from infra.docker import database_settings
from infra.docker.database_settings import archive_command, arguments, settings
from infra.embedded import database as embedded
from tests.environments import fresh_layout

DAY = 86400


def mib(text: str) -> float:
    return int(text[:-2]) / {"kB": 1024, "MB": 1, "GB": 1 / 1024}[text[-2:]]


@given(memory=st.integers(256, 1 << 18), cpus=st.floats(0.1, 64), connections=st.integers(10, 1000))
def test_settings_fit_into_the_memory(memory: int, cpus: float, connections: int) -> None:
    told = settings(memory_mib=memory, cpus=cpus, max_connections=connections, keep_days=14)
    assert mib(told["shared_buffers"]) == memory // 4
    assert mib(told["shared_buffers"]) < mib(told["effective_cache_size"]) < memory
    assert 1 <= mib(told["work_mem"]) <= memory
    assert mib(told["maintenance_work_mem"]) <= min(2048, memory / 4)
    assert int(told["max_parallel_workers_per_gather"]) <= int(told["max_parallel_workers"]) >= 1


def test_a_gigabyte_for_a_hundred_connections() -> None:
    told = settings(memory_mib=1024, cpus=2, max_connections=100, keep_days=14)
    assert {
        name: told[name] for name in ("shared_buffers", "effective_cache_size", "work_mem", "maintenance_work_mem")
    } == {
        "shared_buffers": "256MB",
        "effective_cache_size": "768MB",
        "work_mem": "2621kB",
        "maintenance_work_mem": "64MB",
    }
    assert arguments({"a": "b c"}) == ["postgres", "-c", "a=b c"]


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(database_settings, "ARCHIVE_FOLDER", str(tmp_path / "wal"))
    (tmp_path / "1").write_bytes(b"one")
    return tmp_path


def run(folder: Path, segment: str, source: str, path: str = "") -> int:
    command = archive_command(14).replace("%p", source).replace("%f", segment)
    variables = os.environ | {"PATH": f"{path}:{os.environ['PATH']}"}
    return subprocess.run(["sh", "-c", command], cwd=folder, env=variables, check=False).returncode


def archived(folder: Path) -> dict[str, bytes]:
    return {
        path.name: gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in (folder / "wal").iterdir()
        if path.suffix != ".partial"
    }


def test_a_segment_is_archived_whole_and_never_over_another(archive: Path) -> None:
    assert run(archive, "0001", "1") == 0
    assert archived(archive) == {"0001.gz": b"one"}
    assert run(archive, "0001", "1") == 0, "the same one again is fine: PostgreSQL may have died after the first time"
    (archive / "1").write_bytes(b"two")
    assert run(archive, "0001", "1") != 0
    assert run(archive, "0002", "missing") != 0
    assert archived(archive) == {"0001.gz": b"one"}


def test_a_segment_whose_archiving_was_interrupted_is_archived_anew(archive: Path) -> None:
    (archive / "wal").mkdir()
    (archive / "wal" / "0001.gz.partial").write_bytes(b"what a kill left, longer than what is to be written")
    assert run(archive, "0001", "1") == 0
    assert archived(archive) == {"0001.gz": b"one"}
    assert [path.name for path in (archive / "wal").iterdir()] == ["0001.gz"]


def test_a_damaged_segment_is_not_taken_for_an_equal_one(archive: Path) -> None:
    (archive / "wal").mkdir()
    (archive / "wal" / "0001.gz").write_bytes(b"no gzip")
    assert run(archive, "0001", "1") != 0


def test_a_segment_of_before_compression_counts(archive: Path) -> None:
    (archive / "wal").mkdir()
    (archive / "wal" / "0001").write_bytes(b"one")
    assert run(archive, "0001", "1") == 0
    (archive / "1").write_bytes(b"two")
    assert run(archive, "0001", "1") != 0
    assert archived(archive) == {"0001": b"one"}


def test_old_segments_go_compressed_or_not(archive: Path) -> None:
    (archive / "wal").mkdir()
    for name, days in (("0001", 16), ("0002.gz", 16), ("0003.gz.partial", 16), ("0004", 13), ("0005.gz", 13)):
        (archive / "wal" / name).write_bytes(gzip.compress(b"old"))
        os.utime(archive / "wal" / name, (time.time() - days * DAY,) * 2)
    assert run(archive, "0006", "1") == 0
    assert sorted(path.name for path in (archive / "wal").iterdir()) == ["0004", "0005.gz", "0006.gz"]


@pytest.mark.parametrize(("program", "succeeds"), [("find", True), ("gzip", False), ("sync", False), ("mv", False)])
def test_what_may_fail(archive: Path, program: str, succeeds: bool) -> None:  # noqa: FBT001
    (archive / "bin").mkdir()
    (archive / "bin" / program).write_text("#!/bin/sh\nexit 1\n")
    (archive / "bin" / program).chmod(0o755)
    assert (run(archive, "0001", "1", path=str(archive / "bin")) == 0) is succeeds
    assert archived(archive) == ({"0001.gz": b"one"} if succeeds else {})


def test_postgresql_archives_and_keeps_what_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    with fresh_layout() as layout:
        wal = layout.home / "wal"
        wal.mkdir()
        wal.chmod(0o777)  # where the server runs as another user than we
        monkeypatch.setattr(database_settings, "ARCHIVE_FOLDER", str(wal))
        told = settings(memory_mib=1024, cpus=2, max_connections=60, keep_days=14)
        for name in ("archive_mode", "archive_timeout", "archive_command"):
            monkeypatch.setitem(embedded.SERVER_SETTINGS, name, told[name])
        database = embedded.Database(layout)
        database.start()
        try:
            ask = asking(database)
            first = ask("select pg_walfile_name(pg_switch_wal())")
            until(lambda: ask("select last_archived_wal from pg_stat_archiver") == first)
            content = gzip.decompress((wal / f"{first}.gz").read_bytes())
            assert len(content) == 16 << 20
            assert content == (database.data / "pg_wal" / first).read_bytes()

            ask("select pg_logical_emit_message(false, 'test', 'there is something to archive')")
            (wal / f"{ask('select pg_walfile_name(pg_current_wal_lsn())')}.gz").write_bytes(gzip.compress(b"another"))
            second = ask("select pg_walfile_name(pg_switch_wal())")
            until(lambda: ask("select last_failed_wal from pg_stat_archiver") == second)
            assert gzip.decompress((wal / f"{second}.gz").read_bytes()) == b"another"

            (wal / f"{second}.gz").unlink()
            until(lambda: ask("select last_archived_wal from pg_stat_archiver") == second)
        finally:
            database.stop()


def asking(database: embedded.Database) -> Callable[[str], str]:
    url, variables = database.url(ADMIN_ROLE, "postgres"), {"PGPASSWORD": database.admin_password}

    def ask(text: str) -> str:
        command = [str(embedded.program("psql")), "-AtqX", "-v", "ON_ERROR_STOP=1", url, "-c", text]
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout.strip()

    return ask


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90  # PostgreSQL tries three times in a row, and then after a minute
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_without_backups_nothing_is_archived() -> None:
    told = settings(memory_mib=1024, cpus=2, max_connections=100, keep_days=None)
    assert told["archive_mode"] == "off"
    assert not {"archive_command", "archive_timeout"} & told.keys()

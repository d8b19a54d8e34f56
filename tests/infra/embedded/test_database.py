import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.contract import ADMIN_ROLE
from infra.embedded import unprivileged
from infra.embedded.database import Database, program
from infra.embedded.layout import Layout
from infra.embedded.processes import ProcessError, wait_for_end

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it tests what root does")


def query(database: Database, sql: str, *, password: str | None = None) -> str:
    environment = {"PGPASSWORD": database.admin_password if password is None else password}
    command = (program("psql"), "-At", "-U", ADMIN_ROLE, "-h", database.socket_directory, "-d", "postgres", "-c", sql)
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else result.stderr.strip()


def test_it_starts_once_keeps_its_data_and_stops(layout: Layout) -> None:
    database = Database(layout)
    try:
        assert database.start()
        query(database, "create table kept as select 42 as answer")
        assert not database.start()
        database.stop()
        assert database.process() is None
        assert database.start()
        assert query(database, "select answer from kept") == "42"
        assert database.version().startswith("18.")
    finally:
        database.stop()


def test_it_listens_on_its_socket_only_and_wants_the_password(layout: Layout) -> None:
    database = Database(layout)
    try:
        database.start()
        server = database.process()
        assert server is not None
        assert not server.net_connections(kind="inet")
        assert "password authentication failed" in query(database, "select 1", password="wrong")
    finally:
        database.stop()


def test_kill_9_of_the_server_loses_nothing_committed(layout: Layout) -> None:
    database = Database(layout)
    try:
        database.start()
        query(database, "create table kept as select 42 as answer")
        server = database.process()
        assert server is not None
        server.kill()
        assert database.start()
        assert query(database, "select answer from kept") == "42"
    finally:
        database.stop()


def test_a_stale_pid_file_whose_pid_another_program_has_now(layout: Layout) -> None:
    database = Database(layout)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        database.start()
        pid_file = database.data / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        database.stop()
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        assert database.start()
        assert stranger.poll() is None, "the stranger was not ours to touch"
    finally:
        database.stop()
        stranger.kill()
        stranger.wait()


def test_an_interrupted_initdb_is_done_again(layout: Layout) -> None:
    database = Database(layout)
    partial = layout.home / "postgres.partial"
    partial.mkdir()
    (partial / "PG_VERSION").write_text("18")
    try:
        assert database.start()
        assert not partial.exists()
    finally:
        database.stop()


def test_a_server_that_cannot_start_is_told_in_its_own_words(layout: Layout) -> None:
    database = Database(layout)
    database.start()
    database.stop()
    (database.data / "PG_VERSION").write_text("12\n")
    with pytest.raises(ProcessError, match=r"PostgreSQL did not start: .*incompatible"):
        database.start()
    assert database.process() is None


@pytest.fixture
def small_disk(layout: Layout) -> Path:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root and mount: it fills a small file system")
    result = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", layout.home], capture_output=True, check=False
    )
    if result.returncode != 0:
        pytest.skip("mount is not allowed here: it fills a small file system")
    return layout.home


def test_a_full_disk_is_told_and_healed_by_space(layout: Layout, small_disk: Path) -> None:
    from infra.embedded import secrets

    try:
        layout.create()
        secrets.ensure(layout)
        database = Database(layout)
        filler = small_disk / "filler"
        filler.write_bytes(b"\0" * (30 << 20))
        with pytest.raises(ProcessError, match="No space left on device"):
            database.start()
        assert database.process() is None
        filler.unlink()
        database.start()
        database.stop()
        free = shutil.disk_usage(small_disk).free
        with filler.open("wb") as file:
            file.write(b"\0" * max(free - 4096, 0))
        with pytest.raises(ProcessError, match="No space left on device"):
            database.start()
        filler.unlink()
        assert database.start()
        database.stop()
    finally:
        subprocess.run(["umount", layout.home], check=True)


@needs_root
def test_root_in_a_user_namespace_owns_its_files(layout: Layout) -> None:
    if not unprivileged.user_namespace_allowed():
        pytest.skip("user namespaces are not allowed here")
    database = Database(layout)
    try:
        database.start()
        assert {path.stat().st_uid for path in (database.data, database.data / "base")} == {0}
    finally:
        database.stop()


@needs_root
def test_root_without_user_namespaces_runs_it_as_nobody(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (package util-linux) is not installed")
    monkeypatch.setattr(unprivileged, "user_namespace_allowed", lambda: False)
    assert layout.project.stat().st_mode & 0o777 == 0o700
    database = Database(layout)
    try:
        database.start()
        server = database.process()
        assert server is not None
        assert server.uids().effective == unprivileged.nobody()
        assert layout.project.stat().st_mode & 0o777 == 0o700
        assert query(database, "select 1") == "1"
    finally:
        database.stop()


@needs_root
def test_root_with_neither_way_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unprivileged, "user_namespace_allowed", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(unprivileged.UnprivilegedError, match="as an ordinary user"):
        unprivileged.disguise()


def test_an_ordinary_user_needs_no_disguise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert unprivileged.disguise() == unprivileged.Disguise(prefix=(), owner_uid=1234)


def test_orphaned_backends_are_ended_first(layout: Layout) -> None:
    database = Database(layout)
    try:
        database.start()
        server = database.process()
        assert server is not None
        children = server.children()
        children[0].suspend()
        server.kill()
        server.wait(30)
        assert database.start()
        assert wait_for_end(children, timeout_seconds=0) == []
    finally:
        database.stop()

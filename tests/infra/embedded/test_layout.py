import errno
import os
from pathlib import Path

import pytest

from infra.embedded.layout import SOCKET_FOLDER_MAX_BYTES, Layout, LayoutError, write_atomically


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_folders_are_private_and_nothing_outside_changes(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    layout = Layout(tmp_path)
    layout.create()
    layout.create()
    assert mode(tmp_path) == 0o755
    assert {mode(path) for path in (layout.state, layout.home, layout.releases, layout.records, layout.logs)} == {0o700}


def test_sockets_get_a_short_folder_where_the_project_lies_deep(tmp_path: Path) -> None:
    project = tmp_path / ("d" * SOCKET_FOLDER_MAX_BYTES)
    project.mkdir()
    layout = Layout(project)
    layout.create()
    try:
        assert len(os.fsencode(layout.run)) <= SOCKET_FOLDER_MAX_BYTES
        assert mode(layout.run) == 0o700
        assert layout.run == Layout(project).run
        assert layout.run != Layout(project, "other").run
    finally:
        layout.run.rmdir()


def test_a_short_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    project = tmp_path / ("d" * SOCKET_FOLDER_MAX_BYTES)
    project.mkdir()
    layout = Layout(project)
    layout.run.symlink_to(tmp_path)
    try:
        with pytest.raises(LayoutError, match="belongs to another user"):
            layout.create()
    finally:
        layout.run.unlink()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / ".slipway").write_text("in the way")
    with pytest.raises(LayoutError, match=r"\.slipway"):
        Layout(tmp_path).create()


def test_a_write_replaces_whole_files_with_their_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "one")
    write_atomically(path, "two", mode=0o600)
    assert path.read_text() == "two"
    assert mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "one")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\udcff")
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("letter", ['"', "$", "`", "\\"])
def test_a_path_that_initdb_cannot_have_is_refused(tmp_path: Path, letter: str) -> None:
    project = tmp_path / f"a{letter}b"
    project.mkdir()
    with pytest.raises(LayoutError, match="rename the folder"):
        Layout(project).create()
    assert list(project.iterdir()) == []


def test_a_write_that_fails_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically(tmp_path / "file", "text")
    assert caught.value.filename == str(tmp_path / "file")

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops import bootstrap


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "requirements").mkdir()
    for name in ("uv.txt", "up.txt"):
        (tmp_path / "requirements" / name).write_text("")
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(bootstrap, "REQUIREMENTS", tmp_path / "requirements")
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "up"])
    return tmp_path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would run; each succeeds."""
    seen: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        if command[1:3] == ["-m", "venv"]:
            Path(command[-1]).mkdir()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return seen


def test_a_python_that_is_too_old_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    assert bootstrap.main() == 2
    assert "Python 3.9.2 is too old, 3.11 or newer is needed" in capsys.readouterr().err


def test_it_installs_with_hashes_once(calls: list[list[str]]) -> None:
    assert bootstrap.main() == 0
    assert sum("--require-hashes" in command for command in calls) == 2
    done = len(calls)
    assert bootstrap.main() == 0
    assert len(calls) == done


def test_a_changed_lock_file_installs_again(calls: list[list[str]], elsewhere: Path) -> None:
    bootstrap.main()
    done = len(calls)
    (elsewhere / "requirements" / "up.txt").write_text("new")
    bootstrap.main()
    assert len(calls) > done


def test_no_index_is_told_in_one_line_and_can_be_tried_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    (elsewhere / "requirements" / "uv.txt").write_text("uv==0.0.1 --hash=sha256:" + "0" * 64 + "\n")
    assert bootstrap.main() == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "see that the package index can be reached" in error
    assert not list((elsewhere / ".venv").glob(".slipway-*"))


def test_a_python_without_venv_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert bootstrap.main() == 1
    assert "python3-venv" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], calls: list[list[str]], elsewhere: Path
) -> None:
    (elsewhere / ".venv").write_text("in the way")
    monkeypatch.setattr(bootstrap, "make_venv", lambda: None)
    assert bootstrap.main() == 1
    assert "make it writable" in capsys.readouterr().err


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap, "make_venv", interrupt)
    assert bootstrap.main() == 130
    assert "run it again" in capsys.readouterr().err


def test_uv_hears_of_the_index_that_pip_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://mirror/simple")
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    bootstrap.pip_setting.cache_clear()
    assert bootstrap.environment()["UV_DEFAULT_INDEX"] == "http://mirror/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://chosen/simple")
    assert bootstrap.environment()["UV_DEFAULT_INDEX"] == "http://chosen/simple"
    bootstrap.pip_setting.cache_clear()


def test_two_at_once_wait_for_each_other(elsewhere: Path, calls: list[list[str]]) -> None:
    import fcntl
    import threading

    with (elsewhere / "requirements" / "uv.txt").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        second = threading.Thread(target=bootstrap.main)
        second.start()
        second.join(0.5)
        assert second.is_alive()
        assert calls == []
    second.join(10)
    assert not second.is_alive()
    assert calls

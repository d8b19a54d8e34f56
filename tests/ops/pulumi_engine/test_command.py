import os
import signal
import threading
import time
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from pulumi.automation import CommandError, PulumiCommand

from ops.errors import UsageError
from ops.pulumi_engine import command as module
from ops.pulumi_engine.command import Command, find, find_or_install

CLI = """#!/bin/sh
case "$*" in
version) echo v3.999.0 ;;
*fail*) echo "error: no stack named 'x' found" >&2; exit 3 ;;
*wait*) trap 'echo ended in order; exit 255' INT; echo $$ > pid; while :; do sleep 0.05; done ;;
*) echo "said: $*"; echo "read: $(cat)" ;;
esac
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a CLI of our own where Pulumi's installer puts it, and none on the PATH."""
    program = tmp_path / ".pulumi" / "bin" / "pulumi"
    program.parent.mkdir(parents=True)
    program.write_text(CLI)
    program.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PULUMI_HOME", raising=False)
    path = os.pathsep.join(folder for folder in os.environ["PATH"].split(":") if not Path(folder, "pulumi").exists())
    monkeypatch.setenv("PATH", path)
    return tmp_path


def found() -> Command:
    command = find()
    assert command is not None
    return command


def test_the_cli_is_found_and_what_it_is_given_is_in_no_list_of_processes(home: Path) -> None:
    result = found().ask(["config", "set", "key"], home, {"PULUMI_BACKEND_URL": "file:///x"}, given="a secret")
    assert result.stdout == "said: --non-interactive config set key\nread: a secret"


def test_as_the_automation_api_calls_it(home: Path) -> None:
    heard: list[str] = []
    result = found().run(["stack", "ls"], str(home), {}, on_output=heard.append)
    assert heard == result.stdout.splitlines() == ["said: --non-interactive stack ls", "read: "]


def test_a_failure_is_of_its_kind(home: Path) -> None:
    with pytest.raises(CommandError, match="code: 3") as raised:
        found().ask(["fail"], home, {})
    assert raised.value.name == "StackNotFoundError"


def test_whoever_interrupts_us_has_the_engine_end_in_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Any] = []
    end = module._end

    def seen(child: Any) -> None:
        end(child)
        ended.append(child.returncode)

    def interrupt() -> None:
        while not (home / "pid").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(module, "_end", seen)
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        found().ask(["wait"], home, {})
    thread.join()
    assert ended == [255]


def test_one_that_does_not_end_is_made_to(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".pulumi" / "bin" / "pulumi").write_text(CLI.replace("echo ended in order; exit 255", ""))
    monkeypatch.setattr(module, "CANCEL_SECONDS", 0.3)

    def interrupt() -> None:
        while not (home / "pid").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        found().ask(["wait"], home, {})
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(int((home / "pid").read_text()), 0)


def test_without_cli_and_network_it_says_how(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".pulumi" / "bin" / "pulumi").unlink()

    def no_network(_root: str) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(PulumiCommand, "install", no_network)
    assert find() is None
    with pytest.raises(
        UsageError, match=r"could not be downloaded \(.*not known.*\): install it \(https://www\.pulumi"
    ):
        find_or_install()


def test_a_missing_cli_is_installed_where_the_automation_api_looks(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = home / ".pulumi" / "bin" / "pulumi"

    def install(root: str) -> None:
        target = Path(root) / "bin" / "pulumi"
        target.parent.mkdir(parents=True)
        source.rename(target)
        assert target.is_relative_to(home / ".pulumi" / "versions")

    monkeypatch.setattr(module, "find", lambda: None)
    monkeypatch.setattr(PulumiCommand, "install", install)
    assert str(find_or_install().version) == "3.999.0"


def test_a_cli_that_is_too_old_is_told(home: Path) -> None:
    program = home / ".pulumi" / "bin" / "pulumi"
    program.write_text(CLI.replace("v3.999.0", "v3.0.0"))
    with pytest.raises(UsageError, match="minimum CLI version requirement"):
        find()

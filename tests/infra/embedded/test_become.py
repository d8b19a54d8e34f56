import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from infra.embedded import become, processes
from infra.embedded.unprivileged import nobody, user_namespace_allowed

WHO = "import os; print(os.getpid(), os.getppid(), os.geteuid(), os.getegid())"


def test_the_program_has_the_pid_that_was_started() -> None:
    with subprocess.Popen([*become.following(), sys.executable, "-c", WHO], stdout=subprocess.PIPE, text=True) as child:
        said, _ = child.communicate()
    assert said.split()[:2] == [str(child.pid), str(os.getpid())]


def test_in_a_user_namespace_it_is_somebody_else() -> None:
    if not user_namespace_allowed():
        pytest.skip("user namespaces are not allowed here")
    command = [*become.as_user(nobody()), *become.following(), sys.executable, "-c", WHO]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.split()[2:] == [str(nobody())] * 2


def test_it_does_not_begin_when_its_parent_has_ended_already(tmp_path: Path) -> None:
    other = ("--follow", str(psutil.Process().ppid()))
    done = subprocess.run([*become.PREFIX, *other, "touch", tmp_path / "begun"], check=False)
    assert done.returncode != 0
    assert not (tmp_path / "begun").exists()


def test_a_program_that_is_missing_is_told() -> None:
    with pytest.raises(processes.ProcessError, match="/no/such/program: No such file or directory"):
        processes.run_job(["/no/such/program"], timeout_seconds=10)


def test_what_is_launched_behind_a_prefix_is_known_at_once_by_its_own_command_line(tmp_path: Path) -> None:
    child = processes.launch(["sleep", "60"], prefix=become.following(), log=tmp_path / "log")
    try:
        assert psutil.Process(child.pid).cmdline() == ["sleep", "60"]
    finally:
        processes.end_child(child)


def test_what_cannot_be_prepared_is_told_as_the_reason(tmp_path: Path) -> None:
    child = processes.launch(["sleep", "60"], prefix=("sh", "-c", "echo FATAL: not here; exit 1"), log=tmp_path / "log")
    with pytest.raises(processes.ProcessError, match="it did not start: FATAL: not here"):
        processes.wait_until(lambda: False, process=child, log=tmp_path / "log", what="it", timeout_seconds=10)


def test_children_start_from_many_threads_at_once() -> None:
    """Nothing of ours runs between fork and exec, where other threads' locks stay locked for ever."""
    said: list[str] = []

    def start() -> None:
        said.append(processes.run_job(["echo", "here"], timeout_seconds=30))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == ["here\n"] * 8

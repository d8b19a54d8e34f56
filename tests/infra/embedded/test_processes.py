import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from infra.embedded import processes
from infra.embedded.processes import ProcessError, Signature

SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_process_is_known_by_program_and_arguments_side_by_side() -> None:
    signature = Signature("valkey-server", ("/here/valkey.conf", "--set-proc-title"))
    assert signature.matches(["/bin/valkey-server", "/here/valkey.conf", "--set-proc-title", "no"])
    assert not signature.matches(["/bin/valkey-server", "/there/valkey.conf", "--set-proc-title", "no"])
    assert not signature.matches(["tail", "-f", "/here/valkey.conf", "--set-proc-title"])
    assert not signature.matches(["vi", "x", "valkey-server", "/here/valkey.conf", "--set-proc-title"])
    assert not signature.matches([])


def test_find_sees_living_processes_only(tmp_path: Path) -> None:
    mark = str(tmp_path)
    signature = Signature(Path(sys.executable).name, ("-c", SLEEP, mark))
    child = subprocess.Popen([sys.executable, "-c", SLEEP, mark])
    try:
        assert wait_for(lambda: [process.pid for process in processes.find(signature)] == [child.pid])
    finally:
        child.kill()
    assert wait_for(lambda: not processes.find(signature)), "a zombie is not running"
    child.wait()


def test_stop_insists_after_its_patience() -> None:
    child = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    processes.stop([psutil.Process(child.pid)], timeout_seconds=0.3)
    # Nobody has waited for it yet: to its parent it is a zombie, to us it has ended.
    assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()


def test_stop_never_signals_a_reused_pid(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = subprocess.Popen([sys.executable, "-c", SLEEP])
    known = psutil.Process(ours.pid)
    # The same pid, born at another time: what a reused pid looks like to psutil.
    monkeypatch.setattr(known, "_ident", (known.pid, known.create_time() - 100))
    try:
        processes.stop([known], timeout_seconds=0.2)
        assert ours.poll() is None
    finally:
        ours.kill()
        ours.wait()


def test_a_job_returns_what_it_prints() -> None:
    assert processes.run_job([sys.executable, "-c", "print(input())"], timeout_seconds=10, given="hello\n") == "hello\n"


def test_a_failing_job_tells_its_last_line() -> None:
    script = "import sys; print('first\\nthe reason', file=sys.stderr); sys.exit(3)"
    with pytest.raises(ProcessError, match=r"^the reason$"):
        processes.run_job([sys.executable, "-c", script], timeout_seconds=10)


def test_a_job_that_takes_too_long_is_ended() -> None:
    with pytest.raises(ProcessError, match=r"did not end within 0\.2 s"):
        processes.run_job([sys.executable, "-c", SLEEP], timeout_seconds=0.2)


def test_a_job_dies_with_its_parent(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    job = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent = (
        "import sys; from infra.embedded.processes import run_job; "
        f"run_job([sys.executable, '-c', {job!r}], timeout_seconds=60)"
    )
    child = subprocess.Popen([sys.executable, "-c", parent])
    assert wait_for(lambda: pid_file.exists() and pid_file.read_text() != "", 20)
    pid = int(pid_file.read_text())
    child.kill()
    child.wait()
    assert wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_launched_process_is_in_a_session_of_its_own(tmp_path: Path) -> None:
    child = processes.launch([sys.executable, "-c", SLEEP], log=tmp_path / "log")
    try:
        assert os.getsid(child.pid) == child.pid
    finally:
        processes.end_child(child)


def test_a_process_that_dies_while_starting_is_told_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "print('FATAL: no space left'); print('bye')"
    child = processes.launch([sys.executable, "-c", script], log=log)
    with pytest.raises(ProcessError, match="the thing did not start: FATAL: no space left"):
        processes.wait_until(lambda: False, process=child, log=log, what="the thing", timeout_seconds=10)


def test_a_process_that_never_gets_ready_is_told_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = processes.launch([sys.executable, "-c", SLEEP], log=log)
    try:
        with pytest.raises(ProcessError, match=r"not ready within 0\.1 s: its log is empty"):
            processes.wait_until(lambda: False, process=child, log=log, what="the thing", timeout_seconds=0.1)
    finally:
        processes.end_child(child)


def test_the_words_of_an_earlier_start_are_not_this_one_s(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("FATAL: of yesterday\n")
    child = processes.launch([sys.executable, "-c", "raise ImportError('of today')"], log=log)
    with pytest.raises(ProcessError, match="did not start: ImportError: of today"):
        processes.wait_until(lambda: False, process=child, log=log, what="the thing", timeout_seconds=10)


def test_last_words_of_no_log(tmp_path: Path) -> None:
    assert processes.last_words(tmp_path / "none") == "no log (No such file or directory)"

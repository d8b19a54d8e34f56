"""Start, find and stop this environment's processes.

A process is known by its command line, which names a file of this environment, and never by a number in a
file: a stale pid file can't mislead us, and a pid reused by another program is never signalled.
"""

import atexit
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.embedded.become import following

LOG_TAIL_BYTES = 16_384
LINE_LETTERS = 500
TROUBLE = (("No space left on device",), ("FATAL", "PANIC"), ("ERROR", "error", "Error:"))
"""Words that tell of trouble, the gravest first; a full disk makes many other lines."""
STEERING = ("SLIPWAY_", "PG", "GUNICORN_")
"""Variables of the caller's shell that the service, libpq, asyncpg and gunicorn would obey."""
_launched: list[subprocess.Popen[bytes]] = []
_marks: dict[Path, int] = {}
"""How long each log was when what interests us now began; what stands before has other causes."""


@atexit.register
def _disown() -> None:
    """Popen warns of a child that outlives its handle; what we launch is meant to."""
    for process in _launched:
        process.returncode = 0


class ProcessError(Exception):
    """A process of ours did not do what it should; the message holds its own last words."""


@dataclass(frozen=True)
class Signature:
    """What tells one of our processes from every other.

    Args:
        program: the name of its program, as in the last part of one of its first two words.
        arguments: words that stand side by side in its command line; one is a path of this environment.
    """

    program: str
    arguments: tuple[str, ...]

    def matches(self, command_line: Sequence[str]) -> bool:
        """Whether this command line is ours."""
        if self.program not in (Path(word).name for word in command_line[:2]):
            return False
        width = len(self.arguments)
        return any(tuple(command_line[i : i + width]) == self.arguments for i in range(len(command_line)))


def find(signature: Signature) -> list[psutil.Process]:
    """All living processes of this user with this signature, oldest first."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error), process.oneshot():
            mine = process.uids().effective == os.geteuid() or os.geteuid() == 0
            if mine and signature.matches(process.cmdline()) and _lives(process):
                found.append(process)
    return sorted(found, key=lambda process: (process.create_time(), process.pid))


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables that a process of ours gets: the caller's, but those that would steer it, and these settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(STEERING)}
    return kept | dict(settings or {})


def launch(
    command: Sequence[str],
    *,
    log: Path,
    settings: Mapping[str, str] | None = None,
    folder: Path | None = None,
    prefix: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """Start a process that outlives us: its own session, its output appended to `log`.

    Args:
        command: the program, which runs when this returns: its signature finds it.
        log: where its output goes.
        settings: its variables besides the caller's.
        folder: its current folder.
        prefix: words before the command, of programs that prepare the process and then become the next.
    """
    mark(log)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(settings),
            cwd=folder,
            start_new_session=True,
        )
    _launched.append(process)
    try:
        while prefix and process.poll() is None and _is_prepared_for(process.pid, list(command)):
            time.sleep(0.002)
    except BaseException:
        end_child(process)
        raise
    return process


def _is_prepared_for(pid: int, command: list[str]) -> bool:
    """Whether other words still stand before this command; in the midst of an exec(2) there are none at all."""
    with contextlib.suppress(psutil.Error):
        words = psutil.Process(pid).cmdline()
        return not words or (len(words) > len(command) and words[-len(command) :] == command)
    return False


def run_job(
    command: Sequence[str],
    *,
    settings: Mapping[str, str] | None = None,
    folder: Path | None = None,
    timeout_seconds: float,
    prefix: Sequence[str] = (),
    given: str = "",
) -> str:
    """Run a process to its end and return what it printed; it dies with us.

    Raises:
        ProcessError: it failed or took too long; the message is what it said of it.
    """
    with subprocess.Popen(
        [*prefix, *following(), *command],  # this order, because a change of user undoes the following
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(settings),
        cwd=folder,
        text=True,
    ) as process:
        try:
            output: str
            output, errors = process.communicate(given, timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise ProcessError(f"{Path(command[0]).name} did not end within {timeout_seconds:g} s") from None
        except BaseException:
            end_child(process)
            raise
    if process.returncode != 0:
        raise ProcessError(_telling(errors.splitlines() or output.splitlines()) or f"exit code {process.returncode}")
    return output


def end_child(process: "subprocess.Popen[str] | subprocess.Popen[bytes]", *, patience_seconds: float = 10) -> None:
    """Ask a child to end, then make it."""
    process.terminate()
    try:
        process.wait(patience_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def stop(
    processes: Sequence[psutil.Process],
    *,
    timeout_seconds: float,
    ask: signal.Signals = signal.SIGTERM,
    insist: signal.Signals = signal.SIGKILL,
) -> None:
    """Ask processes to end; after `timeout_seconds` insist. psutil refuses to signal a reused pid."""
    for each in (ask, insist):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(each)
        processes = wait_for_end(processes, timeout_seconds=timeout_seconds)
        if not processes:
            return
    raise ProcessError(f"process {processes[0].pid} does not end; look at it with: ps -fp {processes[0].pid}")


def wait_for_end(processes: Sequence[psutil.Process], *, timeout_seconds: float) -> list[psutil.Process]:
    """Wait for processes to end, and return those that have not.

    A zombie has ended: its parent may be slow to notice, or, as some containers' first process, never look.
    """
    deadline = time.monotonic() + timeout_seconds
    while alive := [process for process in processes if _lives(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return alive


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(
    ready: Callable[[], bool], *, process: subprocess.Popen[bytes], log: Path, what: str, timeout_seconds: float
) -> None:
    """Wait for a process to become ready.

    Raises:
        ProcessError: it ended, or took too long; the message holds the last words of its log.
    """
    deadline = time.monotonic() + timeout_seconds
    while not ready():
        if process.poll() is not None:
            raise ProcessError(f"{what} did not start: {last_words(log)} (all of it: {log})")
        if time.monotonic() > deadline:
            raise ProcessError(f"{what} was not ready within {timeout_seconds:g} s: {last_words(log)} (log: {log})")
        time.sleep(0.02)


def mark(log: Path) -> None:
    """Let `last_words` look only at what is written from now on."""
    _marks[log] = log.stat().st_size if log.exists() else 0


def last_words(log: Path) -> str:
    """The last line that tells of trouble in a log since its mark, else its last line."""
    try:
        with log.open("rb") as file:
            file.seek(max(_marks.get(log, 0), file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError as error:
        return f"no log ({error.strerror})"
    return _telling(lines) or "its log is empty"


def _telling(lines: Sequence[str]) -> str:
    lines = [line.strip() for line in lines if line.strip()]
    for words in TROUBLE:
        found = [line for line in lines if any(word in line for word in words)]
        if found:
            return found[-1][:LINE_LETTERS]
    return lines[-1][:LINE_LETTERS] if lines else ""

"""The workers that serve one socket, of all its masters: a folder with a locked file for each.

A recycled worker takes the number of one that has ended, so what is kept for each number (metrics) stays bounded; and a
worker that leaves can tell whether others stay. Locks and not process ids say who lives: the kernel drops them with the
process, however it ends (flock(2)).

The folder is made by a gunicorn master, handed on to the one that takes its place on SIGUSR2, and removed by the last.
Needs nothing but the standard library, because gunicorn's configuration (server.py) uses it too.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from dataclasses import dataclass
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Self

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where the folder's path stands; prometheus-client asks for this name."""
_PREFIX = "slipway-workers-"
_MASTERS = "masters"


def make_folder(parent: str | None) -> int:
    """Make the folder of a new master, in `parent` or where temporary files go, and name it in the environment.

    Folders whose masters were killed are removed on this occasion.

    Returns:
        The file descriptor to call `leave_folder` with.
    """
    folder = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
    held = join_folder(folder)
    os.environ[FOLDER_VARIABLE] = folder
    for masters in Path(folder).parent.glob(f"{_PREFIX}*/{_MASTERS}"):
        with contextlib.suppress(OSError), masters.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(masters.parent, ignore_errors=True)
    return held


def join_folder(folder: str) -> int:
    """Keep a folder from being removed, as one of its masters; returns what `leave_folder` takes."""
    held = os.open(Path(folder) / _MASTERS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(held, fcntl.LOCK_SH)
    return held


def leave_folder(folder: str, held: int) -> None:
    """Remove the folder, unless another master is in it."""
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    os.close(held)


class State(Enum):
    """What a worker does."""

    STARTING = b""
    SERVING = b"s"
    LEAVING = b"l"


@dataclass(frozen=True)
class Slot:
    """The place of one worker, taken by its master before the fork. Its number is the lowest that was free."""

    folder: Path
    number: int
    _file: int

    @classmethod
    def claim(cls, folder: Path) -> Self:
        """Take a place, until `free` or the end of every process that has it by then."""
        folder.mkdir(mode=0o700, exist_ok=True)  # somebody may have tidied up shared memory
        for number in count():
            file = os.open(_path(folder, number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                continue
            slot = cls(folder, number, file)
            slot.tell(State.STARTING)
            return slot
        raise AssertionError("numbers do not end")

    def tell(self, state: State) -> None:
        """Tell the others what this worker does."""
        os.pwrite(self._file, state.value, 0)
        os.ftruncate(self._file, len(state.value))

    def free(self) -> None:
        """Give the place back, as far as this process is concerned."""
        os.close(self._file)

    def others(self) -> set[State]:
        """What the other workers do. Of several that leave at once, at least one finds nobody but such."""
        return {state for number, state in self._living() if number != self.number}

    def living(self) -> set[int]:
        """The numbers of all workers, this one's too."""
        return {number for number, _ in self._living()}

    def _living(self) -> list[tuple[int, State]]:
        found = []
        for number in count():
            try:
                with _path(self.folder, number).open("rb") as file:
                    if _is_locked(file.fileno()):
                        found.append((number, State(file.read(1))))
            except FileNotFoundError:
                return found
        raise AssertionError("numbers do not end")


def _path(folder: Path, number: int) -> Path:
    return folder / f"worker-{number}"


def _is_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False

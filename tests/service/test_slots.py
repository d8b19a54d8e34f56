"""Who serves one socket: taken places, others that serve, and a folder that nobody leaves behind."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service import slots
from service.slots import Slot, State

HOLD = """
import sys, time
from pathlib import Path
from service.slots import Slot, State
slot = Slot.claim(Path(sys.argv[1]))
slot.tell(State.SERVING)
print(slot.number, flush=True)
time.sleep(60)
"""


def test_the_lowest_free_number_is_taken_and_given_back(tmp_path: Path) -> None:
    first, second, third = (Slot.claim(tmp_path) for _ in range(3))
    assert [first.number, second.number, third.number] == [0, 1, 2]
    assert first.living() == {0, 1, 2}
    second.free()
    assert first.living() == {0, 2}
    again = Slot.claim(tmp_path)
    assert again.number == 1
    for slot in (first, third, again):
        slot.free()


def test_others_are_told_of_until_they_die(tmp_path: Path) -> None:
    mine, other = Slot.claim(tmp_path), Slot.claim(tmp_path)
    mine.tell(State.SERVING)
    assert mine.others() == {State.STARTING}
    for state in (State.SERVING, State.LEAVING):
        other.tell(state)
        assert mine.others() == {state}
    other.tell(State.STARTING)
    assert mine.others() == {State.STARTING}
    assert other.others() == {State.SERVING}
    other.free()  # as the kernel does for one that is killed
    assert mine.others() == set()
    mine.free()


def test_a_folder_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    before = Slot.claim(tmp_path / "folder")
    shutil.rmtree(tmp_path / "folder")
    assert before.living() == set()
    after = Slot.claim(tmp_path / "folder")
    assert after.living() == {0}
    before.free()
    after.free()


def test_a_place_is_kept_by_whoever_inherits_it(tmp_path: Path) -> None:
    mine, childs = Slot.claim(tmp_path), Slot.claim(tmp_path)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reading, 1)
        os._exit(0)
    childs.free()
    assert mine.living() == {0, 1}
    os.write(writing, b"x")
    os.waitpid(child, 0)
    assert mine.living() == {0}
    mine.free()
    os.close(reading)
    os.close(writing)


def test_a_place_is_free_again_when_its_process_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"0\n"
        mine = Slot.claim(tmp_path)
        assert mine.number == 1
        assert mine.others() == {State.SERVING}
        process.kill()
    assert mine.others() == set()
    assert mine.living() == {1}
    mine.free()


def test_the_last_master_removes_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(slots.FOLDER_VARIABLE, "")  # to be put back
    held = slots.make_folder(str(tmp_path))
    folder = os.environ[slots.FOLDER_VARIABLE]
    successor = slots.join_folder(folder)
    slots.leave_folder(folder, held)
    assert Path(folder).is_dir()
    slots.leave_folder(folder, successor)
    assert not Path(folder).exists()


def test_a_new_master_removes_what_a_killed_one_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(slots.FOLDER_VARIABLE, "")
    held = slots.make_folder(str(tmp_path))
    left, living = os.environ[slots.FOLDER_VARIABLE], slots.make_folder(str(tmp_path))
    assert Path(left).is_dir()  # it lives
    os.close(held)
    newest = slots.make_folder(str(tmp_path))
    assert not Path(left).exists()
    assert len(list(tmp_path.iterdir())) == 2
    os.close(living)
    os.close(newest)

import contextlib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rich.console import Console

from ops.errors import CheckFailedError, UsageError
from ops.junit import Case, steps_reported, write_junit
from ops.steps import Steps


def test_each_case_has_its_result_and_illegal_characters_are_left_out(tmp_path: Path) -> None:
    cases = [
        Case("good", 0.5),
        Case("bad <&>", 1.0, failure='a\x00b\x1b[31m\ud800 "x" ✓'),
        Case("left", 0, skipped="why"),
    ]
    write_junit(tmp_path / "j.xml", "su\x01ite", cases)
    (suite,) = ET.parse(tmp_path / "j.xml").getroot()
    assert suite.attrib == {
        "name": "suite", "tests": "3", "failures": "1", "errors": "0", "skipped": "1", "time": "1.500"
    }  # fmt: skip
    good, bad, left = suite
    assert (good.attrib, list(good)) == ({"classname": "suite", "name": "good", "time": "0.500"}, [])
    assert (bad.attrib["name"], bad[0].tag, bad[0].attrib["message"]) == ("bad <&>", "failure", 'ab[31m "x" ✓')
    assert (left[0].tag, left[0].attrib["message"]) == ("skipped", "why")


def test_a_deploy_is_a_case_for_each_step_and_the_failed_one_says_why(tmp_path: Path) -> None:
    steps = Steps(Console(quiet=True))
    with contextlib.suppress(CheckFailedError), steps_reported(tmp_path / "j.xml", "up", steps):
        with steps.step("release"):
            pass
        with steps.step("migrate"):
            raise CheckFailedError("no such column")
    release, migrate = ET.parse(tmp_path / "j.xml").getroot()[0]
    assert len(release) == 0
    assert migrate[0].attrib == {"message": "no such column"}


def test_what_fails_outside_of_all_steps_is_told_too(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), steps_reported(tmp_path / "j.xml", "up", Steps(Console(quiet=True))):
        raise KeyboardInterrupt
    (case,) = ET.parse(tmp_path / "j.xml").getroot()[0]
    assert case[0].attrib == {"message": "KeyboardInterrupt"}


def test_a_file_that_cannot_be_written_stops_it_before_it_begins(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="no such folder"),
        steps_reported(tmp_path / "no" / "j", "up", Steps(Console())),
    ):
        raise AssertionError

"""Results as JUnit XML, the form in which every CI system reads them."""

import contextlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from loadtests.files import write_atomically
from ops.errors import UsageError
from ops.steps import Steps

__all__ = ["Case", "require_writable", "steps_reported", "write_junit"]

ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even escaped (section 2.2)."""


@dataclass(frozen=True)
class Case:
    """One test case: at most one of `failure` and `skipped` is given, neither when it passed."""

    name: str
    seconds: float
    failure: str | None = None
    skipped: str | None = None


def write_junit(path: Path, suite: str, cases: Iterable[Case]) -> None:
    """Write one suite, whole or not at all; characters that XML cannot hold are left out.

    Args:
        path: the file; an older one is replaced.
        suite: the suite's name, and each case's class name.
        cases: in the order they ran, with their times in seconds.

    Raises:
        OSError: the file cannot be written.
    """
    listed = list(cases)
    root = ET.Element("testsuites")
    totals = {
        "name": _legal(suite),
        "tests": str(len(listed)),
        "failures": str(sum(case.failure is not None for case in listed)),
        "errors": "0",
        "skipped": str(sum(case.skipped is not None for case in listed)),
        "time": f"{sum(case.seconds for case in listed):.3f}",
    }
    found = ET.SubElement(root, "testsuite", totals)
    for case in listed:
        of_case = {"classname": _legal(suite), "name": _legal(case.name), "time": f"{case.seconds:.3f}"}
        element = ET.SubElement(found, "testcase", of_case)
        for tag, reason in (("failure", case.failure), ("skipped", case.skipped)):
            if reason is not None:
                ET.SubElement(element, tag, {"message": _legal(reason)})
    ET.indent(root)
    write_atomically(path, ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def _legal(text: str) -> str:
    return ILLEGAL.sub("", text)


def require_writable(path: Path | None) -> None:
    """See beforehand that the file can be written, if one is wanted.

    Raises:
        UsageError: its folder is missing, or it is a folder itself.
    """
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise UsageError(f"--junit {path}: there is no such folder, or it is one; name a file in a folder that exists")


@contextlib.contextmanager
def steps_reported(path: Path | None, suite: str, steps: Steps) -> Iterator[None]:
    """Write a case for each step that ran, however the work ends; nothing where no file is wanted.

    Raises:
        UsageError: the file cannot be written.
    """
    require_writable(path)
    reason: str | None = None
    try:
        yield
    except BaseException as error:
        reason = str(error) or type(error).__name__
        raise
    finally:
        if path is not None:
            write_junit(path, suite, _cases(suite, steps, reason))


def _cases(suite: str, steps: Steps, reason: str | None) -> list[Case]:
    cases = [Case(step.name, step.seconds, reason if step.failed else None) for step in steps.done]
    if reason is not None and not any(step.failed for step in steps.done):
        cases.append(Case(suite, 0.0, reason))
    return cases

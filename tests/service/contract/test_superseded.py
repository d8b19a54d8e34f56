"""docs/superseded.md is true: our operations in it exist, and so does every test that it names."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.environments import ROOT
from tests.service.contract.calls import OPERATIONS

TABLE = ROOT / "docs" / "superseded.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.read_text(encoding="utf-8").splitlines()
    if re.match(r"\| \d+ \|", line)
]
OURS = {f"{operation.method} {operation.path.removeprefix('/api/v1')}" for operation in OPERATIONS.values()}
OUTSIDE = {"GET /metrics"}
"""What is there, but for nobody to rely on."""


def test_all_thirty_three_are_there_in_order() -> None:
    assert [row[0] for row in ROWS] == [str(number) for number in range(1, 34)]
    assert len({row[1] for row in ROWS}) == 33


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_a_row_is_true(row: list[str]) -> None:
    _, theirs, ours, _, proofs = row
    operations = re.findall(r"`([A-Z]+ /[^`?]*)", ours)
    assert operations, f"{theirs} has nothing of ours"
    assert set(operations) <= OURS | OUTSIDE
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", proofs)
    assert named, f"{theirs} has no test"
    for path, test in named:
        assert test in names_in(ROOT / "tests" / "service" / path), f"{path} has no {test}"


@cache
def names_in(path: Path) -> set[str]:
    """The names of a file's tests."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}

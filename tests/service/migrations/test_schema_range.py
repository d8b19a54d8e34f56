import ast
import json
import subprocess
import sys

import pytest

from service.errors import SchemaRangeError
from service.migrations.schema_range import OLDEST, VERSIONS, SchemaRange

RANGE = SchemaRange(head="0004", oldest="0002", newest="0004")


@pytest.mark.parametrize(
    ("revision", "accepts_from"),
    [("0002", "0001"), ("0003", "0003"), ("0004", "0004"), ("0005", "0004"), ("0009", "0002")],
)
def test_runs_on(revision: str, accepts_from: str) -> None:
    RANGE.require(revision, accepts_from)


@pytest.mark.parametrize(
    ("revision", "accepts_from", "message"),
    [
        (None, None, "schema is empty: run slipway-migrate first"),
        ("0001", "0001", "schema 0001 is older than this release can run on (0002..0004): run slipway-migrate first"),
        (
            "0005",
            "0005",
            (
                "schema 0005 is newer than this release can run on (0002..0004): "
                "deploy a release whose schema is 0005 or newer"
            ),
        ),
    ],
)
def test_refuses_and_says_what_to_do(revision: str | None, accepts_from: str | None, message: str) -> None:
    with pytest.raises(SchemaRangeError) as caught:
        RANGE.require(revision, accepts_from)
    assert str(caught.value) == message


def test_describe_needs_no_settings() -> None:
    command = [sys.executable, "-m", "service.migrations.migrate", "describe"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={})
    assert json.loads(done.stdout) == {
        "head": RANGE.of_source().head,
        "oldest": OLDEST,
        "newest": RANGE.of_source().head,
    }


def test_revisions_are_one_line_of_four_digits_and_say_whom_they_accept() -> None:
    before = None
    for number, path in enumerate(sorted(VERSIONS.glob("[0-9]*.py")), start=1):
        assigned = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and not node.targets[0].id.startswith("_")  # its statements
        }
        assert assigned["revision"] == path.name[:4] == f"{number:04}"
        assert assigned["down_revision"] == before
        assert "0001" <= assigned["accepts_from"] <= assigned["revision"]
        before = assigned["revision"]
    assert SchemaRange.of_source().head == before

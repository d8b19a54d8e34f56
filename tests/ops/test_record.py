from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops import record
from ops.record import Record

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)


def test_records_are_in_order_and_never_overwritten(tmp_path: Path) -> None:
    first = Record.begin(tmp_path, "0.1.0-aaa", NOON)
    assert first.folder.name == "20260301T120000.123Z-0.1.0-aaa"
    later = Record.begin(tmp_path, "0.1.0-aaa", NOON.replace(hour=13))
    assert record.newest(tmp_path) == later
    with pytest.raises(FileExistsError):
        Record.begin(tmp_path, "0.1.0-aaa", NOON)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    one = Record.begin(tmp_path, "r", NOON)
    one.write("outcome.json", {"outcome": "passed"})
    assert one.read("outcome.json") == {"outcome": "passed"}


def test_a_missing_or_broken_file_is_empty(tmp_path: Path) -> None:
    one = Record.begin(tmp_path, "r", NOON)
    for content in ("{", "[]"):
        (one.folder / "outcome.json").write_text(content)
        assert one.read("outcome.json") == one.read("none.json") == {}


def test_no_records(tmp_path: Path) -> None:
    assert record.newest(tmp_path) is None
    assert record.newest(tmp_path / "none") is None

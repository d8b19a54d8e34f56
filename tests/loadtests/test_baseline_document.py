"""docs/baseline.md says what the code does."""

import re
from pathlib import Path

from loadtests.baseline import FIELDS, QUANTILES, SCHEMA_VERSION
from loadtests.conditions import NOT_COMPARED, observed_conditions
from loadtests.credentials import read_credentials

TEXT = (Path(__file__).parents[2] / "docs" / "baseline.md").read_text()


def words(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def test_each_field_has_its_row() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|", TEXT, re.MULTILINE)
    assert set().union(*map(words, rows)) == set(FIELDS)
    assert f"Schema version {SCHEMA_VERSION}:" in TEXT


def test_each_figure_is_named() -> None:
    assert {"count", "errors", *QUANTILES} <= words(TEXT)


def test_each_condition_is_named(credentials: Path) -> None:
    compared, _, left_out = TEXT.partition("In the fingerprint")[2].partition("but for")
    observed = observed_conditions(read_credentials(credentials))
    assert words(compared) == {*observed, "profile", "target", "workers", "postgres"}
    assert words(left_out) == NOT_COMPARED

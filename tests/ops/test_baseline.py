"""`slipway baseline`, on records as deploys leave them."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadtests.baseline import QUANTILES
from loadtests.conditions import fingerprint
from ops import cli

CONDITIONS = {"cores": 2, "python": "3.12.1", "profile": {"journeys_per_second": 24}}


def write(records: Path, deploy: str, *, p95_ms: float | None = 10.0, outcome: str = "passed", **told: Any) -> None:
    figures = {"count": 100, "errors": 0, **dict.fromkeys(QUANTILES, 5.0), "p95_ms": p95_ms}
    conditions = CONDITIONS | {"release": deploy[-1]} | told
    content = {
        "schema_version": 1, "outcome": outcome, "failures": [] if outcome == "passed" else ["void"],
        "profile": "quick", "started_at": None, "ended_at": None, "kinds": {"me": figures}, "all": figures,
        "errors": [], "requests_per_second": 231.4, "generator": {}, "conditions": conditions,
        "fingerprint": fingerprint(conditions),
    }  # fmt: skip
    (records / deploy).mkdir(parents=True)
    (records / deploy / "baseline.json").write_text(json.dumps(content))


@pytest.fixture
def records(tmp_path: Path) -> Path:
    folder = tmp_path / "local"
    write(folder, "20260301T120000.000Z-a")
    write(folder, "20260302T120000.000Z-b", p95_ms=15.0)
    write(folder, "20260303T120000.000Z-c", outcome="failed")
    return folder


def call(records: Path, *words: str) -> int:
    return cli.run(["baseline", words[0], "local", *words[1:], "--records", str(records.parent)])


def test_the_list_skips_what_is_damaged_and_names_it(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (records / "20260301T120000.000Z-a" / "baseline.json").read_bytes()
    for name, content in {
        "d": whole[:-200],
        "e": b"\xff\x00",
        "f": b'{"schema_version": 1}',
        "g": b"[" * 100_000,
    }.items():
        (records / f"20260304T120000.000Z-{name}").mkdir()
        (records / f"20260304T120000.000Z-{name}" / "baseline.json").write_bytes(content)
    (records / "20260305T120000.000Z-none").mkdir()
    assert call(records, "list", "--json") == 0
    told = capsys.readouterr()
    rows = json.loads(told.out)
    assert [(row["release"], row["outcome"], row["p95_ms"]) for row in rows] == [
        ("a", "passed", 10.0), ("b", "passed", 15.0), ("c", "failed", 10.0)
    ]  # fmt: skip
    assert [line.split("/")[0] for line in told.err.splitlines()] == [
        f"skipped: 20260304T120000.000Z-{name}" for name in "defg"
    ]
    assert call(records, "list") == 0
    assert "skipped: 20260304T120000.000Z-d/baseline.json is damaged" in capsys.readouterr().out


def test_one_is_shown_with_its_conditions(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(records, "show", "Z-b") == 0
    told = capsys.readouterr().out
    assert "20260302T120000.000Z-b: passed, 231 requests/s" in told
    assert "cpu" not in told
    assert call(records, "show") == 0
    assert "Z-c: failed: void" in capsys.readouterr().out


def test_the_last_two_that_passed_are_compared(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(records, "compare") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "from 20260301T120000.000Z-a to 20260302T120000.000Z-b"
    assert "15.0 ms +5.0 ms (1.50x)" in lines[2]
    assert "only the gate says" in lines[-1]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["compare", "Z-a", "Z-d"], 2, "so not compared: cores 2 against 4; profile.journeys_per_second 24 against 48"),
        (["compare", "Z-a", "Z-c"], 1, "its run failed: void"),
        (["compare", "Z-a", "nothing"], 2, "fits no deploy"),
        (["compare", "Z-", "Z-a"], 2, "fits 4 deploys"),
        (["show", "nothing"], 2, "fits no deploy"),
    ],
)  # fmt: skip
def test_what_must_not_be_compared_is_refused_in_one_line(
    records: Path, words: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(records, "20260304T120000.000Z-d", cores=4, profile={"journeys_per_second": 48})
    assert call(records, *words) == code
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_kind_without_latencies_has_no_ratio(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(records, "20260304T120000.000Z-d", p95_ms=None)
    assert call(records, "compare", "Z-b", "Z-d", "--json") == 0
    change = json.loads(capsys.readouterr().out)["kinds"]["me"]["p95_ms"]
    assert change == {"before_ms": 15.0, "after_ms": None, "change_ms": None, "ratio": None}


def test_no_records_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["baseline", "list", "local", "--project", str(tmp_path)]) == 0
    assert "no baselines yet" in capsys.readouterr().out
    assert cli.run(["baseline", "compare", "local", "--project", str(tmp_path)]) == 2
    assert cli.run(["baseline", "show", "local", "--project", str(tmp_path)]) == 2

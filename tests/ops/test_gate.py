"""`slipway gate` between two running services, from the words to the exit code."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from infra.embedded.layout import Layout
from ops import cli
from ops.errors import UsageError
from ops.verbs import gate as gate_verb
from ops.verbs.gate_table import lines
from tests.loadtests.fake import fakes

Fake: TypeAlias = Callable[..., str]


@pytest.fixture
def fake() -> Iterator[Fake]:
    """Starts a stand-in for the API with the faults asked for; its URL."""
    with fakes() as start:
        yield start


def words(project: Path, current: str, candidate: str, *more: str) -> list[str]:
    limits = ("--limit-seconds", "9", "--rate", "150")
    return ["gate", "--project", str(project), "--current", current, "--candidate", candidate, *limits, *more]


def test_a_regression_is_1_with_its_reason_and_leaves_verdict_and_samples(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    current, candidate = fake(release="old"), fake(release="new", fail="DELETE")
    assert cli.run(words(tmp_path, current, candidate, "--json")) == 1
    said = capsys.readouterr()
    content = json.loads(said.out)
    assert content["verdict"] == "regressed"
    assert (content["conditions"]["current"], content["conditions"]["candidate"]) == ("old", "new")
    record = Path(content["record"])
    assert {path.name for path in record.iterdir()} == {"samples.bin", "verdict.json"}
    assert record.parent == tmp_path / ".slipway" / "gates"
    [reason] = [line for line in said.err.splitlines() if line.startswith("slipway: ")]
    assert reason.startswith("slipway: regressed: delete_task: ")


def test_what_is_not_clear_is_3(fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(words(tmp_path, fake(), fake())) == 3
    said = capsys.readouterr()
    assert "too few samples" in said.err
    assert "inconclusive after 9 s" in said.out


def test_nobody_there_is_4_and_half_a_pair_is_2(fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = fake()
    assert cli.run(words(tmp_path, here, "http://127.0.0.1:9")) == 4
    assert cli.run(words(tmp_path, here, "0.1.0-abc")) == 2
    assert cli.run(["gate", "--project", str(tmp_path), "--candidate", here]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "http://127.0.0.1:9 does not tell its release" in errors[0]
    assert all("give both as URLs" in error for error in errors[1:])


def test_a_local_gate_needs_an_environment_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["gate", "--project", str(tmp_path)]) == 4
    assert "start it with slipway up local" in capsys.readouterr().err


def deployed(layout: Layout, number: int, release: str, outcome: str = "passed") -> None:
    record = layout.records / f"2026112{number}T000000.000Z-{release}"
    record.mkdir(parents=True)
    (record / "outcome.json").write_text(json.dumps({"release": release, "outcome": outcome}))


def test_the_current_release_is_the_last_other_one_that_passed(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for name in ("0.1.0-aaa", "0.1.0-bbb", "0.1.0-ccc", "0.1.0-ddd"):
        (layout.releases / name).mkdir(parents=True)
    deployed(layout, 1, "0.1.0-aaa")
    deployed(layout, 2, "0.1.0-bbb")
    deployed(layout, 3, "0.1.0-ccc", "failed")
    deployed(layout, 4, "0.1.0-ddd")
    (layout.records / "20261125T000000.000Z-killed").mkdir()
    assert gate_verb._served_before(layout, layout.releases / "0.1.0-ddd").name == "0.1.0-bbb"
    assert gate_verb._snapshot(layout, "aa").name == "0.1.0-aaa"
    with pytest.raises(UsageError, match="names 4 releases"):
        gate_verb._snapshot(layout, "0.1.0")
    with pytest.raises(UsageError, match=r"there is no other release.*--current"):
        gate_verb._served_before(Layout(tmp_path, "empty"), layout.releases / "0.1.0-aaa")


def test_a_plan_looks_seven_times_from_a_third_of_its_time_on() -> None:
    plan = gate_verb.plan(180.0, 0.05)
    assert plan.looks == [60, 80, 100, 120, 140, 160, 180]
    assert plan.tolerance.ratio == 0.05


ROW: dict[str, Any] = {
    "kind": "list_tasks",
    "measure": "p95",
    "before": 2.5,
    "after": 3.0,
    "unit": "ms",
    "change": 0.2,
    "low": 0.1,
    "high": None,
    "allowed": 0.05,
    "detectable": 0.08,
    "verdict": "regressed",
    "needed_seconds": 0,
}


def test_the_table_says_all_of_it() -> None:
    content = {
        "comparisons": [
            ROW,
            ROW | {"measure": "errors", "unit": "share", "verdict": "pass", "before": 0.0, "after": 0.001},
        ],
        "noise": {"p50": 0.004},
        "verdict": "regressed",
        "seconds": 60.0,
        "requests": 12_000,
        "reasons": ["list_tasks p95: slower"],
        "record": "/r",
    }
    told = "\n".join(lines(content))
    assert "✗ list_tasks" in told
    assert "+10.0% to ?" in told
    assert "0.10%" in told
    assert "two starts of one release differ by (standard deviation): p50 0.4%" in told
    assert "regressed after 60 s and 12,000 requests" in told

import json
from pathlib import Path

import pytest

from infra.embedded.layout import LayoutError
from infra.embedded.network import PortTakenError
from infra.embedded.processes import ProcessError
from loadtests.targets import judged
from ops import cli, console
from ops.errors import CheckFailedError, UnreachableError
from ops.verbs import bench, drills


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["up", "moon"], "there is no environment 'moon': choose one of local"),
        (["up", "--port", "0"], "slipway --help"),
        (["up", "--nonsense"], "slipway --help"),
        (["nonsense"], "slipway --help"),
        (["smoke", "127.0.0.1:8000"], "is no address"),
        (["bench", "--rounds", "one"], "slipway --help"),
    ],
)
def test_wrong_usage_is_2_and_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CheckFailedError("the reason"), 1),
        (ProcessError("the reason"), 1),
        (LayoutError("the reason"), 2),
        (PortTakenError("the reason"), 2),
        (UnreachableError("the reason"), 4),
        (OSError(28, "the reason", "/a/file"), 1),
        (KeyboardInterrupt(), 130),
        (console.TerminatedError(), 143),
    ],
)
def test_each_failure_has_its_exit_code_and_one_line(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("ops.verbs.status.status", fail)
    assert console.call(["status"]) == code
    told = capsys.readouterr().err
    assert told.startswith("slipway: ")
    assert told.count("\n") == 1
    assert "the reason" in told or "run it again" in told


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("ops.verbs.status.status", fail)
    with pytest.raises(ZeroDivisionError):
        cli.run(["status"])


def test_status_of_nothing_is_4_and_json_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["status", "--json", "--project", str(tmp_path)]) == 4
    state = json.loads(capsys.readouterr().out)
    assert state["serving"] is False
    assert {part["state"] for part in state["parts"].values()} == {"stopped"}
    assert state["last_deploy"] is None


def test_smoke_of_nothing_is_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["smoke", "http://127.0.0.1:9"]) == 4
    assert "no answer" in capsys.readouterr().err


def test_down_of_nothing_does_nothing(tmp_path: Path) -> None:
    assert cli.run(["down", "--project", str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == []


def test_clean_asks_somebody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["clean", "--project", str(tmp_path)]) == 0
    (tmp_path / ".slipway" / "local").mkdir(parents=True)
    assert cli.run(["clean", "--project", str(tmp_path)]) == 2
    assert "--yes" in capsys.readouterr().err
    assert cli.run(["clean", "--project", str(tmp_path), "--yes"]) == 0
    assert not (tmp_path / ".slipway" / "local").exists()


def test_help_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    assert "bench" in capsys.readouterr().out


MEASURES = {
    "list_20": {"value": 0.36, "low": 0.35, "high": 0.37, "ours_rps": 2512.4, "ceiling_rps": 7012.0},
    "memory": {"value": 96.0},
}


@pytest.mark.parametrize(("value", "words", "code"), [(0.36, ["--check"], 0), (0.32, [], 0), (0.32, ["--check"], 1)])
def test_a_bench_fails_where_it_is_asked_to_and_a_measure_is_not_what_is_required(
    value: float,
    words: list[str],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = {"measures": judged(MEASURES | {"list_20": MEASURES["list_20"] | {"value": value}})}
    monkeypatch.setattr(bench, "bench", lambda *_: (result, bench.lines(result)))
    assert cli.run(["bench", "--project", str(tmp_path), *words]) == code
    told = capsys.readouterr()
    assert told.err == ("slipway: list_20: not what is required; measure again on an idle machine\n" if code else "")
    assert f"{value} (0.35 to 0.37) of the ceiling; at least 0.4: MISSED; 2,512.4 against 7,012 requests" in told.out
    assert "96 MB resident in a worker; at most 120: met" in told.out


def test_drills_fail_where_a_promise_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"restarts": {"broken": ["1 x ConnectionResetError during it"]}, "memory": {"broken": []}}
    monkeypatch.setattr(drills, "drills", lambda *_: ({"drills": found}, ["the table"]))
    assert cli.run(["drills", "--project", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert told.out == "the table\n"
    assert told.err == "slipway: restarts: not as promised\n"

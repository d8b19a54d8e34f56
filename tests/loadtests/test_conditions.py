from pathlib import Path
from typing import Any

import pytest

from loadtests.conditions import (
    ConditionsError,
    differences,
    fingerprint,
    observed_conditions,
    read_conditions,
    scenario_digest,
)
from loadtests.credentials import CredentialsError, read_credentials, write_credentials


def test_what_can_be_seen_is_there(credentials: Path) -> None:
    conditions = observed_conditions(read_credentials(credentials))
    assert conditions["cores"] >= 1
    assert conditions["cpu_model"]
    assert (conditions["dataset"], conditions["accounts"], conditions["tasks"]) == ("d1", 1_000, 200_000)
    assert len(conditions["scenario"]) == len(conditions["dependencies"]) == 16
    assert fingerprint(conditions) == fingerprint(dict(reversed(conditions.items())))


def test_an_unknown_processor_goes_by_its_kind(credentials: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_: (_ for _ in ()).throw(OSError))
    monkeypatch.setattr("loadtests.conditions.LOCK_FILE", credentials.with_name("none"))
    conditions = observed_conditions(read_credentials(credentials))
    assert conditions["cpu_model"]
    assert conditions["dependencies"] is None


@pytest.mark.parametrize(("content", "words"), [("[]", "JSON object"), ("{", "not JSON")])
def test_unusable_conditions_are_named(tmp_path: Path, content: Any, words: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(ConditionsError, match=words):
        read_conditions(tmp_path / "c.json")


def test_missing_conditions_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConditionsError, match="No such file"):
        read_conditions(tmp_path / "c.json")


def test_credentials_survive_writing(credentials: Path, tmp_path: Path) -> None:
    known = read_credentials(credentials)
    write_credentials(tmp_path / "again.json", known)
    assert read_credentials(tmp_path / "again.json") == known


@pytest.mark.parametrize("content", ["{", "[]", '{"emails": [{}]}', '{"emails": 1}'])
def test_unusable_credentials_are_named(tmp_path: Path, content: Any) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(CredentialsError, match="load the dataset again"):
        read_credentials(tmp_path / "c.json")


def test_missing_credentials_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="load the dataset first"):
        read_credentials(tmp_path / "c.json")


SCENARIO = 'def journey(client):\n    """Log in."""\n    client.get("/me")\n'


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        (f"# a comment\n{SCENARIO}", True),
        (SCENARIO.replace("Log in", "Come in"), True),
        (SCENARIO.replace('get("/me")', "get(\n        '/me',\n    )"), True),
        (SCENARIO.replace("/me", "/tasks"), False),
        (SCENARIO.replace("get", "post"), False),
    ],
)
def test_only_code_changes_the_scenario(tmp_path: Path, changed: str, same: Any) -> None:
    before, after = tmp_path / "before.py", tmp_path / "after.py"
    before.write_text(SCENARIO)
    after.write_text(changed)
    assert (scenario_digest([before]) == scenario_digest([after])) is same


REQUIRED = ("scenario", "dataset", "accounts", "tasks", "cores", "cpu_model", "python", "dependencies")


@pytest.mark.parametrize("name", [*REQUIRED, "target", "workers", "postgres", "profile"])
def test_each_condition_is_in_the_fingerprint(credentials: Path, name: str) -> None:
    told = {"target": "embedded", "workers": 2, "postgres": "18.0", "profile": {"journeys_per_second": 24}}
    conditions = observed_conditions(read_credentials(credentials)) | told
    assert fingerprint(conditions) != fingerprint(conditions | {name: "another"})


def test_differing_conditions_are_named_and_those_of_the_release_are_not() -> None:
    before = {"cores": 2, "release": "a", "profile": {"journeys_per_second": 24, "name": "quick"}}
    after = {"cores": 4, "release": "b", "profile": {"journeys_per_second": 48, "name": "quick"}, "python": "3.12"}
    assert differences(before, after) == {
        "cores": (2, 4),
        "profile.journeys_per_second": (24, 48),
        "python": (None, "3.12"),
    }

from pathlib import Path
from typing import Any

import pytest

from loadtests.conditions import ConditionsError, fingerprint, observed_conditions, read_conditions
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

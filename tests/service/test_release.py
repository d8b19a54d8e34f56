import json
from pathlib import Path

import pytest

from service.errors import SettingsError
from service.release import read_release

MANIFEST = {
    "release": "0.1.0-1a2b3c4d5e6f",
    "version": "0.1.0",
    "digest": "sha256:" + "0" * 64,
    "schema": {"head": "0003", "oldest": "0002", "newest": "0003"},
    "created_at": "2026-11-21T00:00:00Z",
}


def test_reads_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "release.json").write_text(json.dumps(MANIFEST))
    release = read_release(tmp_path / "release.json")
    assert release.name == MANIFEST["release"]
    assert release.digest == MANIFEST["digest"]
    assert (release.schema.head, release.schema.oldest, release.schema.newest) == ("0003", "0002", "0003")


def test_source_checkout_needs_none() -> None:
    release = read_release()
    assert release.name == "0.0.0-source"
    assert release.schema.head == release.schema.newest


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema": 1}', "\x00"])
def test_broken_manifest_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "release.json").write_text(content)
    with pytest.raises(SettingsError, match=r"is not a release manifest \(.*\): build the release again"):
        read_release(tmp_path / "release.json")


def test_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist: unset it or build the release"):
        read_release(tmp_path / "release.json")

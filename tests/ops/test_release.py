import json
from pathlib import Path

import pytest

from infra.embedded.layout import Layout
from infra.embedded.processes import ProcessError
from ops import release
from ops.errors import UsageError
from ops.manifest import source_digest


def test_the_manifest_says_what_the_snapshot_is(project: Layout) -> None:
    built = release.build(project)
    manifest = json.loads((built.snapshot / "release.json").read_text())
    assert manifest == built.manifest
    assert manifest["digest"] == source_digest(project.project, manifest["version"])
    assert manifest["release"] == f"{manifest['version']}-{manifest['digest'][7:19]}"
    revisions = sorted(path.name[:4] for path in (project.project / "service/migrations/versions").glob("0*.py"))
    assert manifest["schema"]["head"] == revisions[-1]
    assert manifest["schema"]["oldest"] <= manifest["schema"]["newest"] == revisions[-1]


def test_the_same_source_is_the_same_release(project: Layout) -> None:
    first = release.build(project)
    (project.project / "service" / "__pycache__").mkdir(exist_ok=True)
    (project.project / "service" / "__pycache__" / "x.pyc").write_bytes(b"1")
    assert release.build(project) == first


@pytest.mark.parametrize("file", ["service/main.py", "requirements/service.txt"])
def test_a_changed_source_is_another_release_and_leaves_the_old_snapshot(project: Layout, file: str) -> None:
    first = release.build(project)
    path = project.project / file
    before = path.read_text()
    path.write_text(before + "# changed\n")
    second = release.build(project)
    assert second.name != first.name
    if file.startswith("service"):
        assert (first.snapshot / file).read_text() == before


def test_a_renamed_file_is_another_release(project: Layout) -> None:
    first = source_digest(project.project, "1")
    (project.project / "service" / "extra.py").write_text("")
    second = source_digest(project.project, "1")
    (project.project / "service" / "extra.py").rename(project.project / "service" / "extrb.py")
    assert len({first, second, source_digest(project.project, "1"), source_digest(project.project, "2")}) == 4


def test_a_source_that_cannot_be_read_leaves_no_snapshot(project: Layout) -> None:
    (project.project / "service" / "migrations" / "migrate.py").write_text("raise SystemExit('broken source')")
    with pytest.raises(ProcessError, match="broken source"):
        release.build(project)
    assert list(project.releases.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_a_broken_snapshot_is_taken_again(project: Layout, content: str) -> None:
    first = release.build(project)
    (first.snapshot / "release.json").write_text(content)
    assert release.build(project).digest == first.digest
    (first.snapshot / "release.json").unlink()
    assert release.build(project).digest == first.digest


def test_another_folder_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not a Slipway project.*--project"):
        release.build(Layout(tmp_path))

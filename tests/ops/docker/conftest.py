from pathlib import Path

import pytest

from tests.ops.pulumi_projects import PulumiProject, alone


@pytest.fixture
def pulumi_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PulumiProject:
    alone(monkeypatch, tmp_path / "home")
    folder = tmp_path / "project"
    folder.mkdir()
    return PulumiProject(folder)

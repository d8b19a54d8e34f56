import sys
from pathlib import Path

import pytest

from infra.docker import image_build
from infra.docker.engine import EngineError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "service" / "__pycache__").mkdir(parents=True)
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / ".dockerignore").write_text("# only these\n*\n!service\n!pyproject.toml\n")
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "service" / "main.py").write_text("one")
    return tmp_path


def test_only_what_the_image_is_made_of_makes_another(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(image_build.BASE_VARIABLE, raising=False)
    before = image_build.source_digest(project)
    (project / "README.md").write_text("news")
    (project / "service" / "__pycache__" / "main.pyc").write_text("x")
    assert image_build.source_digest(project) == before
    (project / "service" / "main.py").write_text("two")
    changed = image_build.source_digest(project)
    assert changed != before
    monkeypatch.setenv(image_build.BASE_VARIABLE, "python:3.14")
    assert image_build.source_digest(project) not in {before, changed}


@pytest.mark.parametrize(
    ("script", "outcome"),
    [('echo \'{"reference": "x:1"}\'', "x:1"), ("echo no Docker client >&2; exit 4", "failed:\nno Docker client")],
)
def test_slipway_image_builds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, outcome: str) -> None:
    slipway = tmp_path / "slipway"
    slipway.write_text(f"#!/bin/sh\n{script}\n")
    slipway.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    props = {"project": str(tmp_path), "repository": "slipway-dev-image", "source": "0"}
    if "exit" in script:
        with pytest.raises(EngineError, match=outcome):
            image_build.build(props)
    else:
        assert image_build.build(props) == props | {"reference": outcome}

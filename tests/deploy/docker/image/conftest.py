"""An image built from a copy of this checkout; skipped without a Docker engine.

Its base is the one that SLIPWAY_BASE_IMAGE names, else a stand-in.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from infra.embedded.layout import Layout
from ops.docker_cli import DockerCli, find_docker
from ops.errors import UnreachableError
from ops.verbs.image import BASE_VARIABLE, Options, image
from tests.deploy.docker.image.environment import Built, silent_steps, standin
from tests.environments import ROOT

MADE_OF = ("service", "requirements", "ops", "pyproject.toml", "Dockerfile", ".dockerignore")


@pytest.fixture(scope="package")
def docker() -> DockerCli:
    try:
        return find_docker()
    except UnreachableError as error:
        pytest.skip(f"needs a Docker engine: {error}")


@pytest.fixture(scope="package")
def base(docker: DockerCli) -> str:
    return os.environ.get(BASE_VARIABLE) or standin("python")


@pytest.fixture(scope="package")
def source() -> Iterator[Path]:
    """This checkout as it is now, as if it were a commit: the time that goes into the image is fixed."""
    with tempfile.TemporaryDirectory(prefix="slipway-test-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1750000000")
        for name in MADE_OF:
            _copy(ROOT / name, Path(folder, "source", name))
        yield Path(folder, "source")


@pytest.fixture(scope="package")
def make(docker: DockerCli, base: str, source: Path) -> Iterator[Callable[..., Built]]:
    """Builds the image from a copy of the source, somewhere else and of another time each time."""
    made: list[str] = []

    def build_image(change: str = "", **options: Any) -> Built:
        project = source.parent / uuid4().hex[:8]
        _copy(source, project)
        with (project / "service" / "health.py").open("a") as file:
            file.write(change)
        for path in project.rglob("*"):
            os.utime(path, (time.time(), time.time()))
        chosen = Options(base=base, repository=f"slipway-test-{uuid4().hex[:8]}", **options)
        result = image(Layout(project), chosen, silent_steps())
        made.append(result["image"])
        return Built(docker, project, result)

    yield build_image
    for name in made:
        docker.output("image", "rm", "--force", name)


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(path, target)


@pytest.fixture(scope="package")
def built(make: Callable[..., Built]) -> Built:
    return make()

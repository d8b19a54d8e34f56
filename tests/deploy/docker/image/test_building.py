"""The image's build, on a real engine: the same source gives the same layers, and what fails says why."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.embedded.layout import Layout
from ops.errors import CheckFailedError, UnreachableError
from ops.verbs.image import Options, image
from tests.deploy.docker.image.environment import Built, silent_steps

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("image")]


def test_a_change_of_the_service_is_a_change_of_its_layer_only(built: Built, make: Callable[..., Built]) -> None:
    changed = make(change="# changed\n")
    assert changed.result["release"] != built.result["release"]
    assert changed.result["layers"][:2] == built.result["layers"][:2]
    assert changed.result["layers"][2] != built.result["layers"][2]


def test_the_same_source_gives_the_same_layers(built: Built, make: Callable[..., Built]) -> None:
    began = time.monotonic()
    again = make(cache=False)
    print(f"built without cache in {time.monotonic() - began:.1f} s")
    assert again.result["layers"] == built.result["layers"]
    one, other = (Path(each.result["folder"], "sbom.cdx.json").read_text() for each in (built, again))
    assert one == other


def test_no_engine_is_one_line(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(UnreachableError, match=r"Docker does not answer at unix:///nowhere/docker.sock.*DOCKER_HOST"):
        image(Layout(built.project), Options(), silent_steps())


def test_no_base_is_one_line(built: Built) -> None:
    options = Options(base="localhost:1/python:none")
    with pytest.raises(CheckFailedError, match=r"base image localhost:1/python:none can't be had.*--base"):
        image(Layout(built.project), options, silent_steps())


def test_a_build_that_fails_says_why(built: Built, make: Callable[..., Built]) -> None:
    broken = built.project.parent / "broken"
    shutil.copytree(built.project, broken, ignore=shutil.ignore_patterns(".slipway"))
    (broken / "service" / "main.py").write_text("import nothing_of_that_name\n")
    options = Options(base=built.result["base"])
    with pytest.raises(CheckFailedError, match=r"could not be built:.*nothing_of_that_name.*build\.log"):
        image(Layout(broken), options, silent_steps())

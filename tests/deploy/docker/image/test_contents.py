"""The image, on a real engine: what is in it, and what is not."""

import json
import stat
import tarfile
import tempfile
from pathlib import Path

import pytest

from infra.contract import HEALTH_COMMAND, IMAGE_RELEASE_FILE, IMAGE_UID, api_command
from ops.manifest import identify, sources
from tests.deploy.docker.image.environment import CONFINED, Built

MOST_ADDED_BYTES = 60_000_000
COMPILERS = {"as", "cc", "gcc", "g++", "clang", "ld", "make", "strip", "tcc"}
pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("image")]


@pytest.fixture(scope="module")
def files(built: Built) -> dict[str, tarfile.TarInfo]:
    """Every file of the image, as a container of it has them."""
    container = built.docker.output("create", built.name)
    try:
        with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
            built.docker.output("export", "--output", archive.name, container)
            with tarfile.open(archive.name) as members:
                return {f"/{member.name}": member for member in members}
    finally:
        built.docker.output("rm", "--force", container)


def test_what_is_said_of_it(built: Built) -> None:
    told, config = built.inspect(), built.inspect()["Config"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    known = identify(built.project)
    assert labels["version"] == known["version"]
    assert labels["title"] == "slipway"
    assert labels["licenses"] == "Apache-2.0"
    assert labels["created"] == built.result["created"]
    assert labels["revision"] == built.result["revision"]
    assert labels["base.name"] == built.result["base"]
    assert config["User"] == f"{IMAGE_UID}:{IMAGE_UID}"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] is None
    assert tuple(config["Cmd"]) == api_command()
    assert tuple(config["Healthcheck"]["Test"]) == ("CMD", *HEALTH_COMMAND)
    assert (built.result["id"], built.result["size_bytes"]) == (told["Id"], told["Size"])
    assert json.loads((Path(built.result["folder"]) / "image.json").read_text()) == built.result


def test_it_adds_little_to_its_base(built: Built) -> None:
    sizes = built.result
    print({name: sizes[name] for name in ("size_bytes", "base_bytes", "added_bytes", "layer_bytes")})
    assert sizes["added_bytes"] == sizes["size_bytes"] - sizes["base_bytes"] <= MOST_ADDED_BYTES


def test_it_holds_what_it_needs(built: Built, files: dict[str, tarfile.TarInfo]) -> None:
    ours = {path for path, member in files.items() if path.startswith("/app/") and member.isfile()}
    folders = {path.split("/")[2] for path in ours}
    assert folders == {"service", "packages", "bytecode", "release.json"}
    wanted = {f"/app/{path.relative_to(built.project)}" for path in sources(built.project)}
    assert {path for path in ours if path.startswith("/app/service/")} == wanted - {"/app/requirements/service.txt"}
    distributions = {path.split("/")[3] for path in ours if ".dist-info/" in path}
    assert len(distributions) == len({name.partition("-")[0] for name in distributions}) > 30
    unwanted = {"locust", "gevent", "pulumi", "pytest", "rich", "typer", "psutil", "docker", "ops", "infra", "tests"}
    assert not {path.split("/")[3] for path in ours if path.startswith("/app/packages/")} & unwanted


def test_it_holds_nothing_to_install_compile_or_rise_with(files: dict[str, tarfile.TarInfo]) -> None:
    names = {path: Path(path).name for path in files}
    assert [path for path, name in names.items() if name in {"pip", "ensurepip", "setuptools"}] == []
    assert [path for path, name in names.items() if name.startswith("pip") and "/bin/" in path] == []
    assert [path for path, name in names.items() if name in COMPILERS and "/bin/" in path] == []
    privileged = [p for p, m in files.items() if m.isfile() and m.mode & (stat.S_ISUID | stat.S_ISGID)]
    assert privileged == []
    ours = {path: member for path, member in files.items() if path.startswith("/app")}
    assert {(member.uid, member.gid) for member in ours.values()} == {(0, 0)}
    assert [path for path, member in ours.items() if member.mode & 0o022 and not member.issym()] == []


def test_it_names_its_release_and_its_schema(built: Built) -> None:
    run = ("run", "--rm", "--network", "none", *CONFINED, built.name)
    manifest = json.loads(built.docker.output(*run, "python", "-c", f"print(open('{IMAGE_RELEASE_FILE}').read())"))
    described = json.loads(built.docker.output(*run, "python", "-m", "service.migrations.migrate", "describe"))
    assert manifest == identify(built.project) | {"schema": described, "created_at": built.result["created"]}

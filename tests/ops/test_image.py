"""What can be told of the image without an engine: words, names, errors."""

import io
import json
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from infra.embedded.layout import Layout
from ops import docker_cli
from ops.docker_cli import DockerCli, find_docker
from ops.errors import CheckFailedError, UnreachableError, UsageError
from ops.release import identity
from ops.steps import Steps
from ops.verbs.image import PROXY_VARIABLES, Options, Source, build_words, closing_lines, image
from tests.environments import ROOT

SOURCE = Source(Path("/project"), "1.2-abc", "1.2", "f00", 1750000000)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXY_VARIABLES, "SOURCE_DATE_EPOCH", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)


def fake_docker(folder: Path, script: str) -> Path:
    """A program called docker that does as the shell script says."""
    folder.mkdir(exist_ok=True)
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def checkout(project: Layout) -> Layout:
    """A project that an image can be built of."""
    (project.project / "Dockerfile").write_text("ARG BASE_IMAGE=python:3.14-slim\n")
    return project


def silent() -> Steps:
    return Steps(Console(file=io.StringIO()))


def test_the_words_of_a_build() -> None:
    words = build_words(SOURCE, "base@sha256:1", "slipway:1.2-abc", Options(), {"index": Path("/tmp/index")})
    assert words == [
        "--network", "host",
        "--build-arg", "BASE_IMAGE=base@sha256:1",
        "--build-arg", "VERSION=1.2",
        "--build-arg", "REVISION=f00",
        "--build-arg", "CREATED=2025-06-15T15:06:40Z",
        "--build-arg", "SOURCE_DATE_EPOCH=1750000000",
        "--secret", "id=index,src=/tmp/index",
        "--tag", "slipway:1.2-abc",
        "/project",
    ]  # fmt: skip


def test_a_build_goes_through_the_proxy_without_naming_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy:3128")
    words = build_words(SOURCE, "base", "name", Options(network="default", cache=False), {})
    assert words[:3] == ["--network", "default", "--no-cache"]
    assert words[words.index("HTTPS_PROXY") - 1] == "--build-arg"
    assert not [word for word in words if "secret" in word]


def test_the_dockerfile_takes_what_the_build_gives() -> None:
    arguments = {line.split()[1].partition("=")[0] for line in _dockerfile() if line.startswith("ARG ")}
    given = build_words(SOURCE, "base", "name", Options(), {})
    assert {word.partition("=")[0] for before, word in pairwise(given) if before == "--build-arg"} == arguments


def _dockerfile() -> list[str]:
    return (ROOT / "Dockerfile").read_text().splitlines()


def test_a_source_is_named_by_its_commit(checkout: Layout) -> None:
    def git(*words: str) -> None:
        person = ("-c", "user.name=n", "-c", "user.email=n@example.com")
        subprocess.run(["git", "-C", str(checkout.project), *person, *words], check=True, capture_output=True)

    outside = Source.of(checkout.project)
    assert outside.revision == ""
    assert outside.epoch > 0
    assert outside.release == identity(checkout.project)["release"]
    git("init")
    git("add", ".")
    git("commit", "--message", "m", "--date", "2025-06-15T15:06:40Z")
    clean = Source.of(checkout.project)
    assert len(clean.revision) == 40
    (checkout.project / "notes.txt").write_text("nothing to do with it")
    assert Source.of(checkout.project) == clean
    (checkout.project / "Dockerfile").write_text("FROM scratch\n")
    assert Source.of(checkout.project).revision == f"{clean.revision}-dirty"


def test_a_time_that_is_none_is_refused(checkout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH=today is not a number"):
        Source.of(checkout.project)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert Source.of(checkout.project).created == "1970-01-01T00:00:00Z"


def test_another_folder_is_refused(project: Layout) -> None:
    with pytest.raises(UsageError, match="has no Dockerfile"):
        image(project, Options(), silent())


def test_no_docker_is_one_line(checkout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnreachableError, match=r"no docker on the PATH: install Docker"):
        image(checkout, Options(), silent())


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo Cannot connect to the daemon >&2; exit 1", r"does not answer at its default address \(Cannot connect"),
        ('[ "$1" = version ] && echo 28.2.2', "without its buildx plugin: install docker-buildx"),
    ],
)
def test_a_docker_that_cannot_build_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    fake_docker(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnreachableError, match=reason):
        find_docker()


def test_the_first_docker_that_can_build_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_docker(tmp_path / "a", '[ "$1" = version ] && echo 28.2.2')
    old = fake_docker(tmp_path / "b", "echo 20.10.24+dfsg1")
    new = fake_docker(tmp_path / "c", "echo 28.2.2")
    monkeypatch.setenv("PATH", f"{tmp_path / 'a'}:{tmp_path / 'b'}:{tmp_path / 'c'}")
    assert find_docker() == DockerCli(str(old), buildx=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'a'}:{tmp_path / 'c'}")
    assert find_docker() == DockerCli(str(new), buildx=True)


@pytest.mark.parametrize("buildx", [True, False])
def test_a_build_writes_its_log(tmp_path: Path, *, buildx: bool) -> None:
    program = fake_docker(tmp_path, 'echo "$DOCKER_BUILDKIT $*"; exit 3')
    with (tmp_path / "log").open("w") as log:
        assert not DockerCli(str(program), buildx).build(["."], log)
    more = "--load --provenance=false " if buildx else ""
    assert (tmp_path / "log").read_text() == f"1 build --progress plain {more}.\n"


def test_a_command_that_fails_says_its_last_line(tmp_path: Path) -> None:
    docker = DockerCli(str(fake_docker(tmp_path, "echo one >&2; echo two >&2; exit 1")), buildx=False)
    with pytest.raises(CheckFailedError, match="docker push failed: two"):
        docker.output("push", "name")
    silent = DockerCli(str(fake_docker(tmp_path, "exit 1")), buildx=False)
    with pytest.raises(CheckFailedError, match="it said nothing"):
        silent.output("push", "name")
    assert docker_cli.LONGEST_REASON


def test_an_engine_that_pulls_builds_inspects_and_pushes(
    checkout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole verb, with an engine that says what a real one would."""
    known = identity(checkout.project)
    release = {"release": known["release"], "digest": known["digest"], "schema": {"head": "0002"}, "created_at": "t"}
    inspected = json.dumps({"release": release, "python": "3.14.1", "packages": []})
    fake_docker(
        tmp_path,
        f"""
case "$*" in
version*) echo 20.10 ;;
"image inspect --format {{{{.Size}}}} python:3.14-slim") [ -e {tmp_path}/pulled ] && echo 100 || exit 1 ;;
"pull --quiet python:3.14-slim") : > {tmp_path}/pulled ;;
build*) : > {tmp_path}/built ;;
"image inspect --format {{{{json .RepoDigests}}}}"*) echo '["registry.example.com:5000/slipway@sha256:2"]' ;;
"image inspect"*) echo '[{{"Id": "sha256:3", "Size": 150, "RootFS": {{"Layers": ["sha256:4"]}}}}]' ;;
run*) echo '{inspected}' ;;
push*) echo pushed ;;
history*) printf '0\\tLABEL a\\n3\\tCOPY c\\n2\\tCOPY b\\n0\\tUSER u\\n1\\tCOPY a\\n' ;;
*) echo "unexpected: $*" >&2; exit 1 ;;
esac""",
    )
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    result = image(checkout, Options(repository="registry.example.com:5000/slipway", push=True), silent())
    assert (result["size_bytes"], result["base_bytes"], result["added_bytes"]) == (150, 100, 50)
    assert result["layer_bytes"] == {"base": 1, "packages": 2, "service": 3}
    assert result["reference"] == "registry.example.com:5000/slipway@sha256:2"
    assert {path.name for path in Path(result["folder"]).iterdir()} == {
        *("build.log", "image.json", "sbom.cdx.json", "licences.md")
    }
    told = "\n".join(closing_lines(result))
    assert "digest  sha256:2" in told
    (checkout.project / "service" / "extra.py").write_text("")
    with pytest.raises(CheckFailedError, match="the source changed meanwhile"):
        image(checkout, Options(), silent())

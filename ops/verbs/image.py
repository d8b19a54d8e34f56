"""`slipway image`: build the image of the source as it is, and leave beside it what is in it.

`.slipway/images/<release>/` gets `image.json`, `sbom.cdx.json` (CycloneDX) and `licences.md`. With `--push`, the image
goes to its registry, and `image.json` names the digest by which staging and production take it.
"""

import contextlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.embedded.layout import Layout, write_atomically
from ops import bootstrap, sbom
from ops.docker_cli import DockerCli, find_docker
from ops.errors import CheckFailedError, UsageError
from ops.manifest import REQUIREMENTS, sources
from ops.release import identity
from ops.steps import Steps

BASE_VARIABLE = "SLIPWAY_BASE_IMAGE"
DEFAULT_BASE = re.compile(r"^ARG BASE_IMAGE=(\S+)$", re.MULTILINE)
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
SAID = re.compile(r"^#\d+ \d+\.\d+ (.*)$", re.MULTILINE)
"""What a step of a build printed, as BuildKit shows it."""
MADE_OF = ("service", "requirements/service.txt", "pyproject.toml", "Dockerfile", "ops/image_tree.py")
LAYERS = ("base", "packages", "service")
"""What the Dockerfile copies, in its order."""


@dataclass(frozen=True)
class Options:
    """What the operator may choose.

    Args:
        base: the base image; None for what SLIPWAY_BASE_IMAGE says, else for the Dockerfile's own.
        repository: the image's name before the colon, with a registry or without.
        push: whether to push it.
        network: where the build reaches for packages: as Docker's `--network`.
        cache: whether layers that were built before may be used.
    """

    base: str | None = None
    repository: str = "slipway"
    push: bool = False
    network: str = "host"
    cache: bool = True


@dataclass(frozen=True)
class Source:
    """What a build is made from.

    Args:
        project: the folder with the Dockerfile.
        release: its name.
        version: its version.
        revision: the commit, with `-dirty` where what the image is made of differs from it; empty outside git.
        epoch: seconds since 1970, the time that stands in the image: SOURCE_DATE_EPOCH, else the commit's, else the
            newest file's.
    """

    project: Path
    release: str
    version: str
    revision: str
    epoch: int

    @classmethod
    def of(cls, project: Path) -> "Source":
        """The source as it is now.

        Raises:
            UsageError: this is no Slipway project, or SOURCE_DATE_EPOCH is no number.
        """
        known = identity(project)
        if not (project / "Dockerfile").is_file():
            raise UsageError(f"{project} has no Dockerfile: run this in a checkout of Slipway, or name it: --project")
        revision = _git(project, "rev-parse", "HEAD")
        changed = revision and _git(project, "status", "--porcelain", "--", *MADE_OF)
        return cls(
            project, known["release"], known["version"], revision + ("-dirty" if changed else ""), _epoch(project)
        )

    @property
    def created(self) -> str:
        """The epoch as RFC 3339 has it."""
        return datetime.fromtimestamp(self.epoch, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def image(layout: Layout, options: Options, steps: Steps) -> dict[str, Any]:
    """Build the image, and write what is in it.

    Returns:
        The content of `image.json`: release, image (its name), reference (by digest where pushed, else the name), id,
        digest (or None), revision, created, base, size_bytes, base_bytes, added_bytes (the difference), layer_bytes
        (base, packages, service), layers (digests of their content) and folder.

    Raises:
        UnreachableError: no Docker client, or no engine.
        CheckFailedError: the base can't be had, or the build, the push or a check of the result failed.
        UsageError: this is no Slipway project.
    """
    source, docker = Source.of(layout.project), find_docker()
    base = options.base or os.environ.get(BASE_VARIABLE) or _default_base(layout.project)
    name = f"{options.repository}:{source.release}"
    folder = layout.state / "images" / source.release
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with steps.step("base") as step:
        base_bytes = _have_base(docker, base)
        step.say(f"{base.partition('@')[0]}, {_mb(base_bytes)}")
    with steps.step("build") as step:
        _build(docker, source, base, name, options, folder / "build.log")
        told = json.loads(docker.output("image", "inspect", name))[0]
        step.say(f"{name}, {_mb(told['Size'])}")
    with steps.step("contents") as step:
        contents = _contents(docker, name, source)
        _write_contents(contents, source, base, folder)
        step.say(f"{len(contents.packages)} packages, sbom.cdx.json and licences.md in {folder}")
    digest = None
    if options.push:
        with steps.step("push") as step:
            digest = _push(docker, name)
            step.say(digest)
    result = {
        "release": source.release,
        "image": name,
        "reference": f"{options.repository}@{digest}" if digest else name,
        "id": told["Id"],
        "digest": digest,
        "source_digest": contents.release["digest"],
        "schema": contents.release["schema"],
        "revision": source.revision,
        "created": source.created,
        "base": base,
        "size_bytes": told["Size"],
        "base_bytes": base_bytes,
        "added_bytes": told["Size"] - base_bytes,
        "layer_bytes": _layer_bytes(docker, name),
        "layers": told["RootFS"]["Layers"],
        "folder": str(folder),
    }
    write_atomically(folder / "image.json", json.dumps(result, indent=2) + "\n")
    return result


def closing_lines(result: dict[str, Any]) -> list[str]:
    """What to tell a person of an image that was built."""
    parts = ", ".join(f"{name} {_mb(size)}" for name, size in result["layer_bytes"].items())
    return [
        "",
        f"image {result['image']}",
        f"  id      {result['id']}",
        f"  digest  {result['digest'] or 'none before it is pushed (--push)'}",
        f"  size    {_mb(result['size_bytes'])}, {_mb(result['added_bytes'])} more than its base ({parts})",
        f"  files   {result['folder']}: image.json, sbom.cdx.json, licences.md",
    ]


def build_words(source: Source, base: str, name: str, options: Options, secrets: dict[str, Path]) -> list[str]:
    """The words after `docker build`.

    Args:
        source: what it is built from.
        base: the base image.
        name: what it is called.
        options: what the operator chose.
        secrets: files that the build may read and that stay out of the image, by name.
    """
    arguments = {
        "BASE_IMAGE": base,
        "VERSION": source.version,
        "REVISION": source.revision,
        "CREATED": source.created,
        "SOURCE_DATE_EPOCH": str(source.epoch),
    }
    return [
        *("--network", options.network),
        *(() if options.cache else ("--no-cache",)),
        *(word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")),
        # Their values are taken from our environment, and stay out of the image's history.
        *(word for key in PROXY_VARIABLES if key in os.environ for word in ("--build-arg", key)),
        *(word for key, path in secrets.items() for word in ("--secret", f"id={key},src={path}")),
        *("--tag", name),
        str(source.project),
    ]


def _default_base(project: Path) -> str:
    found = DEFAULT_BASE.search((project / "Dockerfile").read_text())
    if not found:
        raise UsageError("the Dockerfile names no BASE_IMAGE: name one with --base")
    return found[1]


def _have_base(docker: DockerCli, base: str) -> int:
    """The base image's size in bytes; it is pulled where it is not there."""
    size = ("image", "inspect", "--format", "{{.Size}}", base)
    try:
        return int(docker.output(*size))
    except CheckFailedError:
        try:
            docker.output("pull", "--quiet", base)
        except CheckFailedError as error:
            raise CheckFailedError(
                f"the base image {base} can't be had ({error}): see that its registry can be reached, "
                f"or name another one with --base or {BASE_VARIABLE}"
            ) from error
        return int(docker.output(*size))


def _build(docker: DockerCli, source: Source, base: str, name: str, options: Options, log: Path) -> None:
    with _secrets() as secrets, log.open("w") as output:
        built = docker.build(build_words(source, base, name, options, secrets), output)
    if not built:
        said = SAID.findall(log.read_text()) or log.read_text().strip().splitlines() or ["it said nothing"]
        raise CheckFailedError(f"the image could not be built: {said[-1].strip()[:400]} (all of it: {log})")


@contextlib.contextmanager
def _secrets() -> Iterator[dict[str, Path]]:
    """What pip on this machine knows of the index and of whom to trust, as files for the build."""
    known = bootstrap.environment()
    with tempfile.TemporaryDirectory(prefix="slipway-build-") as folder:
        files = {}
        if certificates := known.get("SSL_CERT_FILE"):
            files["certificates"] = Path(certificates)
        if index := known.get("UV_DEFAULT_INDEX"):
            files["index"] = Path(folder) / "index"
            files["index"].write_text(index)
        yield files


def _contents(docker: DockerCli, name: str, source: Source) -> sbom.Contents:
    """What the image says of itself, which must be what was meant."""
    run = ("run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--no-healthcheck")
    contents = sbom.Contents.read(docker.output(*run, name, "python", "-c", sbom.INSPECTION))
    if contents.release["release"] != source.release:
        raise CheckFailedError(
            f"the image holds {contents.release['release']} and not {source.release}: "
            "the source changed meanwhile; build it again"
        )
    return contents


def _write_contents(contents: sbom.Contents, source: Source, base: str, folder: Path) -> None:
    bill = sbom.bill_of_materials(contents, (source.project / REQUIREMENTS).read_text(), base)
    write_atomically(folder / "sbom.cdx.json", json.dumps(bill, indent=2) + "\n")
    write_atomically(folder / "licences.md", sbom.licence_list(contents, base))


def _push(docker: DockerCli, name: str) -> str:
    """Push the image; its digest in the registry."""
    docker.output("push", name)
    repository = name.rpartition(":")[0]
    for known in json.loads(docker.output("image", "inspect", "--format", "{{json .RepoDigests}}", name)):
        at, _, digest = str(known).partition("@")
        if at.removeprefix("docker.io/").removeprefix("library/") == repository.removeprefix("docker.io/"):
            return digest
    raise CheckFailedError(f"{name} was pushed, but the engine knows no digest of it: push it again")


def _layer_bytes(docker: DockerCli, name: str) -> dict[str, int]:
    """The sizes of the three layers that hold something."""
    rows = docker.output("history", "--human=false", "--format", "{{.Size}}\t{{.CreatedBy}}", name).splitlines()
    copied = [int(size) for size, _, by in (row.partition("\t") for row in rows) if by.startswith("COPY ")]
    return dict(zip(LAYERS, reversed(copied), strict=True))


def _epoch(project: Path) -> int:
    told = os.environ.get("SOURCE_DATE_EPOCH") or _git(project, "log", "-1", "--format=%ct")
    if not told:
        return int(max(path.stat().st_mtime for path in sources(project)))
    if not told.isdecimal():
        raise UsageError(f"SOURCE_DATE_EPOCH={told} is not a number of seconds since 1970: correct or unset it")
    return int(told)


def _git(project: Path, *words: str) -> str:
    """What git says; empty where the project is in no repository, or there is no git."""
    try:
        done = subprocess.run(["git", "-C", str(project), *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"

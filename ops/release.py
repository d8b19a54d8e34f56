"""A release: one immutable build. On the embedded target it is a snapshot of the source, named by its digest."""

import hashlib
import json
import os
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.embedded.layout import Layout, write_atomically
from infra.embedded.migration import command
from infra.embedded.processes import run_job
from ops.errors import UsageError

DIGEST_LETTERS = 12
"""48 bits of the digest in a release's name: enough to tell a project's releases apart."""
DESCRIBE_SECONDS = 60


@dataclass(frozen=True)
class Release:
    """One release and where its snapshot lies.

    Args:
        snapshot: the folder with `service/` and `release.json`.
        manifest: what `release.json` says: release, version, digest, schema {head, oldest, newest}, created_at.
    """

    snapshot: Path
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        """The version and the start of the digest."""
        return str(self.manifest["release"])

    @property
    def digest(self) -> str:
        """`sha256:` and 64 hexadecimal digits."""
        return str(self.manifest["digest"])


def build(layout: Layout) -> Release:
    """The release of the source as it is now; made once, found again while nothing changed.

    Raises:
        UsageError: this is not a Slipway project.
        ProcessError: the source's migrations can't be read.
    """
    version = _version(layout.project)
    digest = source_digest(layout.project, version)
    name = f"{version}-{digest.removeprefix('sha256:')[:DIGEST_LETTERS]}"
    snapshot = layout.releases / name
    manifest = {"release": name, "version": version, "digest": digest}
    if (kept := _read_manifest(snapshot)) is not None and kept.items() >= manifest.items():
        return Release(snapshot, kept)
    return Release(snapshot, _take_snapshot(layout.project, snapshot, manifest))


def source_digest(project: Path, version: str) -> str:
    """SHA-256 over the version and over the names and contents of what the release is made of."""
    total = hashlib.sha256(f"{version}\0".encode())
    for path in sources(project):
        content = path.read_bytes()
        total.update(f"{path.relative_to(project).as_posix()}\0{len(content)}\0".encode())
        total.update(content)
    return f"sha256:{total.hexdigest()}"


def sources(project: Path) -> Iterator[Path]:
    """The files that make a release: the service and its locked dependencies, in a fixed order."""
    files = (path for path in (project / "service").rglob("*") if path.is_file())
    yield from sorted(path for path in files if "__pycache__" not in path.parts and path.suffix != ".pyc")
    yield project / "requirements" / "service.txt"


def _version(project: Path) -> str:
    try:
        version = tomllib.loads((project / "pyproject.toml").read_text())["project"]["version"]
        (project / "service").stat()
        (project / "requirements" / "service.txt").stat()
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"{project} is not a Slipway project ({error}): run this in the folder that holds service/ "
            "and pyproject.toml, or name it with --project"
        ) from error
    return str(version)


def _read_manifest(snapshot: Path) -> dict[str, Any] | None:
    """The manifest in a snapshot; None where there is none that can be read, and the snapshot is taken again."""
    try:
        manifest = json.loads((snapshot / "release.json").read_text())
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def _take_snapshot(project: Path, snapshot: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    partial = snapshot.with_name(f".{snapshot.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for path in sources(project):
            target = partial / path.relative_to(project)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        described = run_job(command("describe"), folder=partial, timeout_seconds=DESCRIBE_SECONDS)
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        manifest = manifest | {"schema": json.loads(described), "created_at": now}
        write_atomically(partial / "release.json", json.dumps(manifest, indent=2) + "\n")
        shutil.rmtree(snapshot, ignore_errors=True)
        partial.rename(snapshot)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest

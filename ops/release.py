"""A release: one immutable build. On the embedded target it is a snapshot of the source, named by its digest."""

import compileall
import json
import os
import shutil
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

from infra.embedded.layout import Layout, write_atomically
from infra.embedded.migration import command
from infra.embedded.processes import run_job
from ops.errors import UsageError
from ops.manifest import complete, identify, sources, text_of

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
    manifest = identity(layout.project)
    snapshot = layout.releases / manifest["release"]
    if (kept := _read_manifest(snapshot)) is not None and kept.items() >= manifest.items():
        return Release(snapshot, kept)
    return Release(snapshot, _take_snapshot(layout.project, snapshot, manifest))


def identity(project: Path) -> dict[str, str]:
    """What the source as it is now is called: release, version and digest.

    Raises:
        UsageError: this is not a Slipway project.
    """
    try:
        return identify(project)
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"{project} is not a Slipway project ({error}): run this in the folder that holds service/ "
            "and pyproject.toml, or name it with --project"
        ) from error


def _read_manifest(snapshot: Path) -> dict[str, Any] | None:
    """The manifest in a snapshot; None where there is none that can be read, and the snapshot is taken again."""
    try:
        manifest = json.loads((snapshot / "release.json").read_text())
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def _take_snapshot(project: Path, snapshot: Path, known: dict[str, str]) -> dict[str, Any]:
    partial = snapshot.with_name(f".{snapshot.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for path in sources(project):
            target = partial / path.relative_to(project)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        described = run_job(command("describe"), folder=partial, timeout_seconds=DESCRIBE_SECONDS)
        manifest = complete(known, described, datetime.now(UTC))
        write_atomically(partial / "release.json", text_of(manifest))
        _compile(partial, snapshot)
        shutil.rmtree(snapshot, ignore_errors=True)
        partial.rename(snapshot)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _compile(partial: Path, snapshot: Path) -> None:
    """Leave bytecode beside the source, as an image has it: half a second less of every start.

    Never compared with the source again, which does not change; a file that does not compile fails when it is run.
    """
    compileall.compile_dir(
        partial / "service",
        quiet=2,
        stripdir=str(partial),
        prependdir=str(snapshot),
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )

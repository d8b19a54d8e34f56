"""What names a release: its digest over the source, and the manifest `release.json`.

Standard library only, because the image's build runs it too, and so gives the same source the same name.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DIGEST_LETTERS = 12
"""48 bits of the digest in a release's name: enough to tell a project's releases apart."""
REQUIREMENTS = Path("requirements", "service.txt")


def identify(project: Path) -> dict[str, str]:
    """What the source in this folder is called: release, version and digest.

    Raises:
        OSError, KeyError, tomllib.TOMLDecodeError: it is not a Slipway project.
    """
    version = str(tomllib.loads((project / "pyproject.toml").read_text())["project"]["version"])
    for part in ("service", REQUIREMENTS):
        (project / part).stat()
    digest = source_digest(project, version)
    name = f"{version}-{digest.removeprefix('sha256:')[:DIGEST_LETTERS]}"
    return {"release": name, "version": version, "digest": digest}


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
    yield project / REQUIREMENTS


def complete(identity: dict[str, str], described: str, created_at: datetime) -> dict[str, Any]:
    """The whole manifest.

    Args:
        identity: what `identify` said.
        described: what `service.migrations.migrate describe` printed: head, oldest and newest schema, as JSON.
        created_at: when the release was made, or what stands for that where a build must be reproducible.
    """
    created = created_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return identity | {"schema": json.loads(described), "created_at": created}


def text_of(manifest: dict[str, Any]) -> str:
    """The manifest as it stands in `release.json`."""
    return json.dumps(manifest, indent=2) + "\n"

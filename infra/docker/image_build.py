"""Has the image built from the source: for dev, for elsewhere a release is promoted.

`slipway image` builds, here as everywhere; it is run as a program, because nothing below `ops` imports it.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from infra.docker.engine import EngineError, plainly

BASE_VARIABLE: Final = "SLIPWAY_BASE_IMAGE"
"""Where `slipway image` looks for another base than the Dockerfile's own."""


def source_digest(project: Path) -> str:
    """SHA-256 over what the image is made of, and the base it is made on.

    Args:
        project: the folder with the Dockerfile.
    """
    total = hashlib.sha256(os.environ.get(BASE_VARIABLE, "").encode())
    for path in _files(project):
        content = path.read_bytes()
        total.update(f"{path.relative_to(project).as_posix()}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()


def _files(project: Path) -> Iterator[Path]:
    """The Dockerfile and what it may read."""
    lines = (project / ".dockerignore").read_text().splitlines()
    let_in = [line.removeprefix("!").strip() for line in lines if line.startswith("!")]
    for name in sorted({"Dockerfile", ".dockerignore", *let_in}):
        found = project / name
        files = sorted(found.rglob("*")) if found.is_dir() else [found]
        yield from (path for path in files if "__pycache__" not in path.parts and path.is_file())


def build(props: Mapping[str, Any]) -> dict[str, Any]:
    """Build the image of these properties (`infra/docker/image.py`), and return them with its reference.

    Raises:
        EngineError: the build failed, with what it said.
    """
    return plainly(lambda: {**props, "reference": _build(props)})


def _build(props: Mapping[str, Any]) -> str:
    slipway = str(Path(sys.executable).with_name("slipway"))
    command = (slipway, "image", "--project", props["project"], "--repository", props["repository"], "--json")
    variables = os.environ | ({"DOCKER_HOST": props["host"]} if props.get("host") else {})
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EngineError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return str(json.loads(done.stdout)["reference"])

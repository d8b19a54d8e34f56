"""Docker's command line, for what only it does: building with BuildKit, and pushing with the operator's credentials."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ops.errors import CheckFailedError, UnreachableError

BUILDX_SINCE = 23
"""From this version on, the client builds with BuildKit only where the buildx plugin is installed."""
LONGEST_REASON = 400


@dataclass(frozen=True)
class DockerCli:
    """A client that builds with BuildKit and reaches an engine.

    Args:
        program: its path.
        buildx: whether its `build` is the buildx plugin's.
    """

    program: str
    buildx: bool

    def output(self, *words: str) -> str:
        """What a command prints.

        Raises:
            CheckFailedError: it failed, with the last line it said.
        """
        done = subprocess.run([self.program, *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CheckFailedError(f"docker {words[0]} failed: {_last_line(done.stderr or done.stdout)}")
        return done.stdout.strip()

    def build(self, words: list[str], log: IO[str]) -> bool:
        """Build with BuildKit, and write its progress to the log; whether it worked."""
        command = [self.program, "build", "--progress", "plain"]
        # No provenance beside the image, which would say when it was built: the same source is the same image.
        command += ["--load", "--provenance=false"] if self.buildx else []
        variables = os.environ | {"DOCKER_BUILDKIT": "1"}
        done = subprocess.run([*command, *words], env=variables, stdout=log, stderr=log, check=False)
        return done.returncode == 0


def find_docker() -> DockerCli:
    """The first client on the PATH that can build here.

    Raises:
        UnreachableError: there is none, or no engine answers.
    """
    reason = "there is no docker on the PATH: install Docker, or build where it is"
    for folder in os.get_exec_path():
        program = Path(folder) / "docker"
        if not os.access(program, os.X_OK):
            continue
        client = _usable(str(program))
        if isinstance(client, DockerCli):
            return client
        reason = client
    raise UnreachableError(reason)


def _usable(program: str) -> DockerCli | str:
    """This client, or why it can't build here and what to do."""
    command = [program, "version", "--format", "{{.Client.Version}}"]
    version = subprocess.run(command, capture_output=True, text=True, check=False)
    if version.returncode != 0:
        where = os.environ.get("DOCKER_HOST", "its default address")
        return (
            f"Docker does not answer at {where} ({_last_line(version.stderr)}): "
            "start it, or set DOCKER_HOST to where it is"
        )
    if int(version.stdout.partition(".")[0]) < BUILDX_SINCE:
        return DockerCli(program, buildx=False)
    if subprocess.run([program, "buildx", "version"], capture_output=True, check=False).returncode == 0:
        return DockerCli(program, buildx=True)
    return f"{program} can't build without its buildx plugin: install docker-buildx"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:LONGEST_REASON] if lines else "it said nothing"

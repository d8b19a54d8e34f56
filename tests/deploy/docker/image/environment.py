"""The image as a host runs it: PostgreSQL, Valkey and processes of the service, on a network that leads nowhere."""

import io
import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import pytest
from rich.console import Console

from infra.contract import IMAGE_RELEASE_FILE, IMAGE_SECRETS_DIR, IMAGE_UID, SECRET_FILES, START_SECONDS
from ops.docker_cli import DockerCli
from ops.steps import Steps
from tests.deploy.standins import StandinError, build
from tests.service.conftest import TOKEN_KEYS

CONFINED = (
    *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--user", f"{IMAGE_UID}:{IMAGE_UID}"),
)
PASSWORDS = {
    "admin_password": "admin",
    "migrator_password": "migrator",
    "app_password": "app",
    "monitor_password": "monitor",
    "cache_password": "cache",
    "token_keys": TOKEN_KEYS,
}


@dataclass
class Built:
    """One image, and what was said of it."""

    docker: DockerCli
    project: Path
    result: dict[str, Any]

    @property
    def name(self) -> str:
        name: str = self.result["image"]
        return name

    def inspect(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.docker.output("image", "inspect", self.name))[0]
        return told


@dataclass
class Environment:
    """PostgreSQL and Valkey, and whatever of the image joins their network, which leads nowhere."""

    docker: DockerCli
    image: str
    secrets: Path
    network: str = "none"
    started: list[str] = field(default_factory=list)

    @property
    def sockets(self) -> Path:
        """Where the API listens for us."""
        return self.secrets / "sockets"

    def run(self, image: str, *words: str, options: tuple[str, ...] = ()) -> str:
        """Start a container in the background; its id."""
        container = self.docker.output("run", "--detach", "--network", self.network, *options, image, *words)
        self.started.append(container)
        return container

    def service(self, process: str, command: tuple[str, ...], *options: str, **variables: str) -> str:
        """A process of the service as a host runs it, with its secrets and no more rights than it needs."""
        folder = self.secrets / process
        if not folder.exists():
            folder.mkdir()
            for name, secret in SECRET_FILES[process].items():
                (folder / name).write_text(PASSWORDS[secret])
        role = {"api": "app", "bootstrap": "admin", "migration": "migrator"}[process]
        database = "postgres" if process == "bootstrap" else "slipway"
        variables |= {
            "SLIPWAY_ENVIRONMENT": "staging",
            "SLIPWAY_SECRETS_DIR": IMAGE_SECRETS_DIR,
            "SLIPWAY_DATABASE_URL": f"postgresql://slipway_{role}@127.0.0.1:5432/{database}",
            "SLIPWAY_DATABASE_TLS": "false",
        }
        if process == "api":
            variables |= {
                "SLIPWAY_CACHE_URL": "redis://127.0.0.1:6379/0",
                "SLIPWAY_MAIL_URL": "outbox:///tmp/outbox",
                "SLIPWAY_MAIL_FROM": "no-reply@example.com",
                "SLIPWAY_RELEASE_FILE": IMAGE_RELEASE_FILE,
            }
        told = (word for name, value in variables.items() for word in ("--env", f"{name}={value}"))
        mount = ("--volume", f"{folder}:{IMAGE_SECRETS_DIR}:ro")
        return self.run(self.image, *command, options=(*CONFINED, *mount, *told, *options))

    def end(self, container: str, seconds: float = 60) -> tuple[int, str]:
        """Wait for a container's end: exit code and what it said."""
        deadline = time.monotonic() + seconds
        while self.state(container)["Running"]:
            assert time.monotonic() < deadline, self.logs(container)
            time.sleep(0.1)
        return int(self.state(container)["ExitCode"]), self.logs(container)

    def state(self, container: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.docker.output("inspect", "--format", "{{json .State}}", container))
        return told

    def health(self, container: str) -> str:
        return str(self.state(container)["Health"]["Status"])

    def healthy(self, container: str, seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while self.health(container) != "healthy":
            assert self.state(container)["Running"], self.logs(container)
            assert time.monotonic() < deadline, self.logs(container)
            time.sleep(0.2)

    def logs(self, container: str) -> str:
        command = [self.docker.program, "logs", container]
        return subprocess.run(command, stdout=PIPE, stderr=STDOUT, text=True, check=True).stdout


def compiled_at_run_time(said: str) -> list[str]:
    """The modules whose bytecode is not in the image, of what Python said of every module it loaded."""
    begin = "# code object from "
    named = (line.removeprefix(begin).strip("'\"") for line in said.splitlines() if line.startswith(begin))
    return [path for path in named if path.endswith(".py")]


def standin(name: str) -> str:
    try:
        return build([name], say=lambda _: None)[name]
    except StandinError as error:
        pytest.skip(f"needs the stand-in {name}: {error}")


def silent_steps() -> Steps:
    return Steps(Console(file=io.StringIO()))

"""Where a stack's state lives and what opens its secrets: as the operator says, else files in `.slipway/`."""

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from infra import generate
from infra.embedded.layout import Layout, write_atomically
from ops.errors import UsageError

BACKEND: Final = "PULUMI_BACKEND_URL"
PASSPHRASE: Final = "PULUMI_CONFIG_PASSPHRASE"  # noqa: S105 - a name
PASSPHRASE_FILE: Final = "PULUMI_CONFIG_PASSPHRASE_FILE"  # noqa: S105 - likewise
CLOUD: Final = "https://api.pulumi.com"


@dataclass(frozen=True)
class Access:
    """What the CLI needs to open a stack.

    Args:
        backend: where the state lives, for people.
        variables: what it must be told besides the caller's environment; nobody needs them who has told it himself.
    """

    backend: str
    variables: Mapping[str, str]

    @property
    def exports(self) -> list[str]:
        """The lines after which plain `pulumi` works on the same stack."""
        return [f"export {name}={shlex.quote(value)}" for name, value in self.variables.items()]

    @property
    def folder(self) -> Path | None:
        """The folder of a file backend; None for another backend."""
        if not self.backend.startswith("file://"):
            return None
        path = self.backend.removeprefix("file://")
        return Path(path).expanduser() / ".pulumi"


def access(layout: Layout) -> Access:
    """How to open this environment's stack, with what exists."""
    variables = {}
    backend = _chosen_backend(layout.project)
    if backend is None:
        backend = variables[BACKEND] = f"file://{layout.state / 'pulumi'}"
    if needs_passphrase(layout) and not _passphrase_is_given():
        variables[PASSPHRASE_FILE] = str(passphrase_of(layout))
    return Access(backend, variables)


def passphrase_of(layout: Layout) -> Path:
    """The file with the passphrase of an environment's secrets, mode 0600, where nobody chose another way."""
    return layout.home / "passphrase"


def prepare(layout: Layout) -> Access:
    """Make what `access` names: the folder of the state, and a passphrase where the stack has none yet.

    Raises:
        UsageError: the stack's secrets were encrypted with a passphrase that is not here.
    """
    layout.state.mkdir(mode=0o700, exist_ok=True)
    layout.home.mkdir(mode=0o700, exist_ok=True)
    found = access(layout)
    if BACKEND in found.variables:
        (layout.state / "pulumi").mkdir(mode=0o700, exist_ok=True)
    if PASSPHRASE_FILE in found.variables and not passphrase_of(layout).exists():
        if "encryptionsalt" in settings(layout):
            raise UsageError(missing_passphrase(layout))
        write_atomically(passphrase_of(layout), generate.password() + "\n", mode=0o600)
    return found


def missing_passphrase(layout: Layout) -> str:
    """What to say when secrets are there and what opens them is not."""
    return (
        f"the passphrase of {layout.environment} is not on this machine: put it into {passphrase_of(layout)}, "
        f"or set {PASSPHRASE}"
    )


def needs_passphrase(layout: Layout) -> bool:
    """Whether the stack's secrets hang on a passphrase, and not on a key service (`secretsprovider`)."""
    return "secretsprovider" not in settings(layout) or settings(layout)["secretsprovider"] in {"passphrase", "default"}


def settings(layout: Layout) -> dict[str, Any]:
    """The stack file, `Pulumi.<environment>.yaml`.

    Raises:
        UsageError: it cannot be read.
    """
    path = layout.project / f"Pulumi.{layout.environment}.yaml"
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise UsageError(f"{path.name} cannot be read: {reason}") from error
    return content if isinstance(content, dict) else {}


def _passphrase_is_given() -> bool:
    return PASSPHRASE in os.environ or bool(os.environ.get(PASSPHRASE_FILE))


def _chosen_backend(project: Path) -> str | None:
    """The backend that the operator chose, in the order in which the CLI looks for it; None if nobody did."""
    if url := os.environ.get(BACKEND):
        return url
    try:
        content = yaml.safe_load((project / "Pulumi.yaml").read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(
            f"{project} has no Pulumi.yaml that can be read: run this in the project's root, or name it with --project"
        ) from error
    if url := ((content or {}).get("backend") or {}).get("url"):
        return str(url)
    return _login() or (CLOUD if os.environ.get("PULUMI_ACCESS_TOKEN") else None)


def _login() -> str | None:
    """The backend of the last `pulumi login`."""
    home = os.environ.get("PULUMI_CREDENTIALS_PATH") or os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi"
    try:
        current = json.loads((Path(home) / "credentials.json").read_text()).get("current")
    except (OSError, ValueError, AttributeError):
        return None
    return str(current) if current else None

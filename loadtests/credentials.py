"""The credentials file: what the dataset's loader leaves for load runs to log in with."""

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from loadtests.files import write_atomically

__all__ = ["Credentials", "CredentialsError", "LoadAccount", "kept_password", "read_credentials", "write_credentials"]


class CredentialsError(Exception):
    """The credentials file is absent or unusable; the message names cause and remedy in one line."""


@dataclass(frozen=True, slots=True)
class LoadAccount:
    """An account that load is made with: its address and how many tasks the dataset gave it."""

    email: str
    tasks: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a load run needs to know of the loaded dataset.

    Args:
        dataset: digest of the parameters.
        accounts: number of accounts in the dataset.
        tasks: number of tasks in it.
        password: the one password of all its accounts.
        emails: a sample of its accounts, from the emptiest to the fullest.
    """

    dataset: str
    accounts: int
    tasks: int
    password: str
    emails: tuple[LoadAccount, ...]


def read_credentials(path: Path) -> Credentials:
    """The credentials that the loader left at `path`.

    Raises:
        CredentialsError: there is no such file, or it is not one of ours.
    """
    try:
        content = json.loads(path.read_bytes())
        sample = tuple(LoadAccount(str(entry["email"]), int(entry["tasks"])) for entry in content["emails"])
        return Credentials(
            str(content["dataset"]), int(content["accounts"]), int(content["tasks"]), str(content["password"]), sample
        )
    except OSError as error:
        remedy = "load the dataset first (python -m loadtests.dataset)"
        raise CredentialsError(f"{path}: {error.strerror}: {remedy}") from error
    except (ValueError, KeyError, TypeError) as error:
        remedy = "remove it and load the dataset again"
        raise CredentialsError(f"{path} holds no credentials ({error!r}): {remedy}") from error


def write_credentials(path: Path, credentials: Credentials) -> None:
    """Write the file (mode 0600), whole or not at all."""
    write_atomically(path, (json.dumps(asdict(credentials), indent=1) + "\n").encode(), mode=0o600)


def kept_password(path: Path) -> str:
    """The password of an earlier call, else a new one."""
    try:
        return read_credentials(path).password
    except CredentialsError:
        return secrets.token_urlsafe(18)

"""A stack's configuration, as Pulumi hands it to the program."""

from pulumi import Config, Output, get_stack
from pulumi.runtime.config import CONFIG, is_config_secret

from infra.stack import PROJECT, Stack, StackError, read

SECRET_OF = {
    "admin_password": "adminPassword",
    "migrator_password": "migratorPassword",
    "app_password": "appPassword",
    "monitor_password": "monitorPassword",
    "cache_password": "cachePassword",
    "token_keys": "tokenKeys",
    "mail_password": "mailPassword",
    "sentry_dsn": "sentryDsn",
}
"""Secrets by the names of `infra/contract.py`, and their keys."""


def read_stack() -> Stack:
    """The running stack's configuration, checked.

    Raises:
        StackError: it cannot be used.
    """
    prefix = f"{PROJECT}:"
    ours = {key.removeprefix(prefix): value for key, value in CONFIG.get().items() if key.startswith(prefix)}
    secret_names = {key for key in ours if is_config_secret(prefix + key)}
    for key in sorted(secret_names):
        if not ours[key]:
            raise StackError(f"{prefix}{key} is empty: pulumi config set --stack {get_stack()} --secret {prefix}{key}")
    return read(ours, secret_names, get_stack())


def secret(key: str) -> Output[str]:
    """One encrypted key's value, which stays marked as secret."""
    return Config(PROJECT).require_secret(key)


def first_secret(stack: Stack, *keys: str) -> Output[str] | None:
    """The first of these encrypted keys that is set; None where none is."""
    return next((secret(key) for key in keys if key in stack.secrets), None)


def secrets(stack: Stack) -> dict[str, Output[str]]:
    """All secrets of our processes that are set, by the names of `infra/contract.py`."""
    return {name: secret(key) for name, key in SECRET_OF.items() if key in stack.secrets}

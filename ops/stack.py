"""An environment's stack as its file says, read without Pulumi: what is encrypted is there, and stays closed."""

from typing import Any

from infra import stack
from infra.embedded.layout import Layout
from infra.stack import Stack, StackError
from ops.errors import UsageError
from ops.pulumi_engine.access import settings

PREFIX = f"{stack.PROJECT}:"


def read(layout: Layout) -> Stack:
    """The stack's configuration, checked by the program's own rules.

    Raises:
        UsageError: something is wrong with it; the line names the key.
    """
    config, secret_names = values(layout)
    try:
        return stack.read(config, secret_names, layout.environment)
    except StackError as error:
        raise UsageError(f"Pulumi.{layout.environment}.yaml: {error}") from error


def values(layout: Layout) -> tuple[dict[str, Any], set[str]]:
    """The configuration by key without `slipway:`, and which of its keys are encrypted; their values are left out."""
    found = settings(layout).get("config") or {}
    config = {key.removeprefix(PREFIX): value for key, value in found.items() if str(key).startswith(PREFIX)}
    secret_names = {key for key, value in config.items() if isinstance(value, dict) and value.keys() == {"secure"}}
    return config | dict.fromkeys(secret_names, ""), secret_names

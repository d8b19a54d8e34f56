"""`slipway init`: make an environment's stack and every secret that it lacks."""

import json
from typing import Any, Final

from infra import generate
from infra.embedded.layout import Layout
from infra.stack import PROJECT, SECRETS
from ops import lock, stack
from ops.pulumi_engine.access import prepare
from ops.pulumi_engine.engine import Engine
from ops.steps import Steps

TOKEN_KEYS: Final = "tokenKeys"  # noqa: S105 - a name
ADMIN_PASSWORD: Final = "adminPassword"  # noqa: S105 - likewise


def init(layout: Layout, steps: Steps) -> dict[str, Any]:
    """Make what is missing, and leave what is there. Nothing that it makes is shown.

    Returns:
        environment, backend, created (whether the stack is new), generated (names of secrets), exports (the lines after
        which plain `pulumi` works on the same stack), next (the command that comes next).

    Raises:
        UsageError: the passphrase is missing or wrong, or the stack's file cannot be read.
        LockedError: another verb is at work.
    """
    found = prepare(layout)
    with lock.held(layout, "init"):
        engine = Engine(layout)
        with steps.step("stack") as step:
            created = engine.create()
            step.say(f"{layout.environment} in {found.backend}" + ("" if created else ", was there"))
        with steps.step("secrets") as step:
            wanted = missing(layout)
            for number, name in enumerate(wanted, 1):
                step.show(f"{number} of {len(wanted)}")
                engine.set_secret(f"{PROJECT}:{name}", _value(name))
            step.say(f"{len(wanted)} generated" if wanted else "all there")
    return {
        "environment": layout.environment,
        "backend": found.backend,
        "created": created,
        "generated": wanted,
        "exports": found.exports,
        "next": _next(layout),
    }


def missing(layout: Layout) -> list[str]:
    """The secrets that the stack needs, that Slipway can make, and that are not there."""
    config, _ = stack.values(layout)
    external = _section(config.get("database")).get("mode") == "external"
    needed = [name for name, secret in SECRETS.items() if secret.required and not (external and name == ADMIN_PASSWORD)]
    return [name for name in needed if name not in config]


def _value(name: str) -> str:
    return generate.token_keys() if name == TOKEN_KEYS else generate.password()


def _section(value: Any) -> dict[str, Any]:
    """A section of the configuration, which may stand in the file as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _next(layout: Layout) -> str:
    """What to do next: what is not yet right in the configuration, else `up`."""
    config, _ = stack.values(layout)
    if _section(config.get("database")).get("mode") == "external" and "databaseUrl" not in config:
        return f"pulumi config set --stack {layout.environment} --secret {PROJECT}:databaseUrl"
    if config.get("kind", layout.environment) != "dev" and "image" not in config:
        return f"pulumi config set --stack {layout.environment} {PROJECT}:image REGISTRY/NAME@sha256:DIGEST"
    return f"slipway up {layout.environment}"

"""`slipway down`: remove what the environment's stack made."""

from typing import Any

from infra.embedded.layout import Layout
from ops import lock, stack
from ops.pulumi_engine.access import prepare
from ops.pulumi_engine.engine import Engine
from ops.steps import Steps


def is_production(layout: Layout) -> bool:
    """Whether a yes is not enough. An environment whose kind cannot be told is treated as the strictest."""
    config, _ = stack.values(layout)
    return str(config.get("kind", layout.environment)) not in {"dev", "staging"}


def down(layout: Layout, steps: Steps) -> dict[str, Any]:
    """Remove services, networks, secrets, and outside production volumes; whoever calls has asked.

    Secrets and configuration stay in the stack's file, records in `.slipway/`, and in production the data on its
    volume: `up` brings the same environment back.

    Raises:
        LockedError: somebody else is at work.
        CheckFailedError: the engine could not.
    """
    prepare(layout)
    with lock.held(layout, "down"), steps.step("remove") as step:
        progress = Engine(layout).down(steps, step, keep_protected=is_production(layout))
    return {"environment": layout.environment, "changes": progress.changes, "steps": steps.as_list()}

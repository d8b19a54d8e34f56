"""`slipway preview`: what `up` would change."""

from typing import Any

from infra.embedded.layout import Layout
from ops import stack
from ops.pulumi_engine.access import prepare
from ops.pulumi_engine.engine import Engine
from ops.steps import Steps


def preview(layout: Layout, steps: Steps) -> dict[str, Any]:
    """Ask the engine, and change nothing.

    Returns:
        environment, change_count, changes (by operation), resources (what would become of each).

    Raises:
        UsageError: the configuration is wrong.
        CheckFailedError: the engine could not tell.
    """
    stack.read(layout)
    prepare(layout)
    with steps.step("preview") as step:
        progress = Engine(layout).preview(steps, step)
    return {
        "environment": layout.environment,
        "change_count": progress.change_count,
        "changes": progress.changes,
        "resources": progress.changed,
    }

"""Which environments a project has, and how each is hosted: `local` as processes, every other as a Pulumi stack."""

import re
from pathlib import Path
from typing import Final

from ops.errors import UsageError

LOCAL: Final = "local"
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
"""Becomes part of names in Docker and of DNS names."""
PRODUCTION: Final = "production"
"""Where an answer `yes` is not enough, and load is made only when it is asked for."""


def stacks(project: Path) -> list[str]:
    """The environments with a stack file, by name."""
    names = (path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in project.glob("Pulumi.?*.yaml"))
    return sorted(name for name in names if NAME.fullmatch(name) and name != LOCAL)


def require_stack(project: Path, environment: str) -> None:
    """See that there is such an environment, and that Pulumi hosts it.

    Raises:
        UsageError: there is none, or it is `local`.
    """
    choices = stacks(project)
    if environment in choices:
        return
    if environment == LOCAL:
        raise UsageError(f"local needs no stack; this verb is for {', '.join(choices) or 'environments with a stack'}")
    model = choices[-1] if choices else "staging"
    raise UsageError(
        f"there is no environment {environment!r}: choose one of {', '.join((LOCAL, *choices))}, "
        f"or copy Pulumi.{model}.yaml to Pulumi.{environment}.yaml for a new one"
    )

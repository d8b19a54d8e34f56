"""The load on an environment in Docker: its dataset through a tunnel, the journeys through the edge."""

import tempfile
from pathlib import Path
from typing import Any, Final

from infra.contract import APP_ROLE, DATABASE_NAME
from infra.docker.names import Names
from infra.embedded.layout import Layout
from infra.stack import Stack
from ops import load
from ops.docker_host import open_host
from ops.errors import UsageError
from ops.pulumi_engine.engine import Engine
from ops.record import Record
from ops.tunnel import tunnel

NEEDED_LIMITS: Final = ("SLIPWAY_LIMIT_REGISTRATION_ADDRESS", "SLIPWAY_LIMIT_LOGIN_ADDRESS")
"""The load's 11 newcomers a second all come from one address; as deployed these limits let 60 an hour register."""
DATABASE_PORT: Final = 5432
COPY_SECONDS: Final = 600


def can_take_load(stack: Stack) -> bool:
    """Whether an environment may be loaded unasked: nobody's work is in it, and its limits let the load pass."""
    return not stack.production and stack.database.mode == "container" and not missing_limits(stack)


def missing_limits(stack: Stack) -> list[str]:
    """The settings that the load needs and the stack does not have."""
    return [name for name in NEEDED_LIMITS if name not in stack.api.settings]


def require_load(stack: Stack) -> None:
    """See that a load that was asked for can be made at all.

    Raises:
        UsageError: it cannot; what is missing.
    """
    if missing := missing_limits(stack):
        raise UsageError(
            f"the load would meet the limits of one address: set {', '.join(missing)} (100000/minute) in "
            f"slipway:api.settings of {stack.environment}, or leave --load out"
        )
    if stack.database.mode == "external":
        raise UsageError(
            f"{stack.environment} has an external database: load the dataset with python -m loadtests.dataset and run "
            "python -m loadtests.run"
        )


def load_dataset(layout: Layout, stack: Stack) -> None:
    """The accounts and tasks that the load works on; loaded once.

    Raises:
        CheckFailedError: it could not be loaded.
    """
    password = Engine(layout).secrets()["appPassword"]
    database = Names(stack.environment).of("database")
    with (
        open_host(layout, quiet_seconds=COPY_SECONDS) as host,
        tunnel(host, "api", database, DATABASE_PORT) as port,
        tempfile.NamedTemporaryFile("w", dir=layout.home, prefix=".app-password.") as file,  # mode 0600
    ):
        file.write(password)
        file.flush()
        url = f"postgresql://{APP_ROLE}@127.0.0.1:{port}/{DATABASE_NAME}"
        load.load_rows(layout, url, Path(file.name))


def run_load(layout: Layout, stack: Stack, record: Record, release: str, authority: Path | None, profile: str) -> None:
    """The journeys through the edge; samples and baseline go into the record.

    Raises:
        CheckFailedError: the run failed or is void.
    """
    conditions: dict[str, Any] = {
        "release": release,
        "environment": stack.environment,
        "target": "docker",
        "replicas": stack.api.replicas,
        "workers": stack.api.workers,
        "settings": dict(stack.api.settings),
        "postgres": stack.images.postgres,  # container mode only: an external database takes no load
    }
    load.run_load(layout, record, conditions, stack.public_url, profile, authority=authority)

"""The dataset and the load run, as children that show their own progress."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

from infra.contract import APP_ROLE, DISK_BYTES
from infra.embedded import secrets
from infra.embedded.database import Database
from infra.embedded.layout import Layout
from infra.embedded.processes import end_child, environment, follow_parent
from ops import commands
from ops.errors import CheckFailedError
from ops.record import Record

END_SECONDS = 20
"""How long a child may take to put its files in order after it was asked to end."""


def credentials_of(layout: Layout) -> Path:
    """Where the dataset's accounts and their password stand, mode 0600."""
    return layout.home / "dataset.json"


def check_disk(layout: Layout) -> None:
    """See that there is room for the dataset, unless it is there already.

    Raises:
        CheckFailedError: there is not; a full disk would stop PostgreSQL half-way.
    """
    free = shutil.disk_usage(layout.home).free
    if free < DISK_BYTES and not credentials_of(layout).exists():
        raise CheckFailedError(
            f"{free >> 20} MiB are free in {layout.home}, and an environment with its dataset needs "
            f"{DISK_BYTES >> 20}: free some space and run it again"
        )


def load_dataset(layout: Layout) -> None:
    """The accounts and tasks that the load works on; loaded once.

    Raises:
        CheckFailedError: it could not be loaded.
    """
    check_disk(layout)
    command = commands.load_dataset(
        database_url=Database(layout).url(APP_ROLE),
        password_file=secrets.path_of(layout, "app_password"),
        credentials=credentials_of(layout),
    )
    _run(command, what="loading the dataset")


def run_load(layout: Layout, record: Record, conditions: dict[str, Any], host: str, profile: str) -> None:
    """The journeys, at a constant arrival rate; samples and baseline go into the record.

    Raises:
        CheckFailedError: the run failed or is void.
    """
    record.write("conditions.json", conditions)
    command = commands.run_load(
        host=host,
        profile=profile,
        credentials=credentials_of(layout),
        conditions=record.folder / "conditions.json",
        record=record.folder,
    )
    _run(command, what="the load run")


def _run(command: list[str], *, what: str) -> None:
    with subprocess.Popen(command, env=environment(), preexec_fn=follow_parent) as child:  # noqa: PLW1509 - we start no threads
        try:
            code = child.wait()
        except BaseException:
            end_child(child, patience_seconds=END_SECONDS)
            raise
    if code != 0:
        raise CheckFailedError(f"{what} failed (exit {code}); its reason stands above")

"""The dataset and the load run, as children that show their own progress."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.contract import APP_ROLE, DISK_BYTES
from infra.embedded import secrets
from infra.embedded.become import following
from infra.embedded.database import Database
from infra.embedded.layout import Layout
from infra.embedded.processes import end_child, environment
from loadtests.journeys import NEWCOMER_DOMAIN
from ops import commands, smoke
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
    load_rows(layout, Database(layout).url(APP_ROLE), secrets.path_of(layout, "app_password"))
    _forget_mail(layout)


def load_rows(layout: Layout, database_url: str, password_file: Path) -> None:
    """The dataset's rows, wherever the database is.

    Args:
        layout: the environment's folders.
        database_url: of the application's role, without password.
        password_file: holds that role's password.

    Raises:
        CheckFailedError: they could not be loaded.
    """
    command = commands.load_dataset(
        database_url=database_url, password_file=password_file, credentials=credentials_of(layout)
    )
    _run(command, what="loading the dataset")


def _forget_mail(layout: Layout) -> None:
    """Remove the mail to people whom load runs and smoke checks made up."""
    made_up = tuple(f"@{domain}".encode() for domain in (NEWCOMER_DOMAIN, smoke.EMAIL_DOMAIN))
    for mail in layout.outbox.glob("*.eml"):
        recipient = next((line for line in mail.read_bytes().splitlines() if line.startswith(b"To: ")), b"")
        if recipient.endswith(made_up):
            mail.unlink(missing_ok=True)


def run_load(
    layout: Layout,
    record: Record,
    conditions: dict[str, Any],
    host: str,
    profile: str,
    *,
    authority: Path | None = None,
) -> None:
    """The journeys, at a constant arrival rate; samples and baseline go into the record.

    Args:
        layout: the environment's folders.
        record: of the deploy that is measured.
        conditions: what is known of it.
        host: the service's URL.
        profile: which load.
        authority: PEM file of whom to trust instead of the system's authorities, if anybody.

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
    # OpenSSL's own variable: Locust has no option for it.
    _run(command, what="the load run", settings={"SSL_CERT_FILE": str(authority)} if authority else {})


def _run(command: list[str], *, what: str, settings: Mapping[str, str] | None = None) -> None:
    with subprocess.Popen([*following(), *command], env=environment(settings)) as child:
        try:
            code = child.wait()
        except BaseException:
            end_child(child, patience_seconds=END_SECONDS)
            raise
    if code != 0:
        raise CheckFailedError(f"{what} failed (exit {code}); its reason stands above")

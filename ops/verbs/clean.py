"""`slipway clean`: remove a local environment for good."""

import shutil

from infra.embedded.layout import Layout
from ops import lock
from ops.steps import Steps
from ops.verbs.down import stop_all


def clean(layout: Layout, steps: Steps) -> None:
    """Stop the environment and remove its folder: data, secrets, records.

    Raises:
        LockedError: another verb is at work.
        ProcessError: a process does not end.
    """
    if not layout.home.exists():
        return
    with lock.held(layout, "clean"):
        stop_all(layout, steps)
        shutil.rmtree(layout.run, ignore_errors=True)
        shutil.rmtree(layout.home)

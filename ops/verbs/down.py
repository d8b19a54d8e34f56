"""`slipway down`: stop everything, lose nothing."""

from infra.embedded.api import Api
from infra.embedded.cache import Cache
from infra.embedded.database import Database
from infra.embedded.layout import Layout
from ops import lock
from ops.steps import Steps


def down(layout: Layout, steps: Steps) -> None:
    """Stop the environment's processes, the API first; data, secrets and records stay.

    Raises:
        LockedError: another verb is at work.
        ProcessError: a process does not end.
    """
    if not layout.home.exists():
        return
    with lock.held(layout, "down"):
        stop_all(layout, steps)


def stop_all(layout: Layout, steps: Steps) -> None:
    """Stop what runs; the caller holds the lock."""
    with steps.step("api") as step:
        step.say("stopped" if Api(layout).processes() else "was not running")
        Api(layout, "candidate").stop()
        Api(layout).stop()
    with steps.step("cache") as step:
        step.say("stopped" if Cache(layout).process() else "was not running")
        Cache(layout).stop()
    with steps.step("database") as step:
        step.say("stopped" if Database(layout).process() else "was not running")
        Database(layout).stop()

"""One operator at a time: a lock on an environment, released by the kernel when its holder dies."""

import contextlib
import fcntl
import getpass
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from infra.embedded.layout import Layout
from ops.errors import SlipwayError


class LockedError(SlipwayError):
    """Somebody else is at work on this environment."""


@contextlib.contextmanager
def held(layout: Layout, verb: str) -> Iterator[None]:
    """Hold the environment's lock.

    Raises:
        LockedError: another process holds it; the message names it.
    """
    path = layout.home / "lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(_refusal(path, layout.environment)) from None
        file.truncate(0)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        json.dump({"pid": os.getpid(), "verb": verb, "user": _user(), "since": now}, file)
        file.flush()
        yield
        file.truncate(0)


def _refusal(path: Path, environment: str) -> str:
    try:
        holder = json.loads(path.read_text())
        who = "`slipway {verb}` (pid {pid}, by {user}, since {since})".format(**holder)
    except (OSError, ValueError, KeyError, TypeError):
        who = "another slipway command"
    return f"{who} is at work on {environment}: wait for it to end, or stop it"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())

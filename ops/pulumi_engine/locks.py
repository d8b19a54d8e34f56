"""The lock that Pulumi's own backends put on a stack: who holds it, whether he still lives, and how it is cleared."""

import contextlib
import json
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from ops.lock import LockedError

CREATED_BY = re.compile(r"created by (?P<user>.+?)@(?P<host>\S+) \(pid (?P<pid>\d+)\) at (?P<since>\S+)")
"""A line of the message with which a DIY backend (file, s3, gs, azblob) refuses."""
START_TOLERANCE = timedelta(seconds=2)
"""Between a process's start as the kernel rounds it and the time that it writes into its lock."""


@dataclass(frozen=True)
class Holder:
    """Who holds a stack's lock.

    Args:
        user: name on that machine.
        host: name of the machine.
        pid: of the `pulumi` process.
        since: RFC 3339.
    """

    user: str
    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        return f"{self.user}@{self.host} (pid {self.pid}, since {self.since})"

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this machine."""
        return self.host == socket.gethostname()

    @property
    def lives(self) -> bool | None:
        """Whether that process still runs; None where this machine cannot know."""
        if not self.is_here:
            return None
        try:
            process = psutil.Process(self.pid)
            started = datetime.fromtimestamp(process.create_time(), UTC)
            same = started <= datetime.fromisoformat(self.since) + START_TOLERANCE
            return same and process.status() != psutil.STATUS_ZOMBIE  # a younger process has only its number
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


def holders(folder: Path, project: str, stack: str) -> list[Holder]:
    """Who holds a stack's lock in a file backend.

    Args:
        folder: `.pulumi` of the backend.
        project: Pulumi's project.
        stack: its stack.
    """
    found = []
    for path in sorted((folder / "locks" / "organization" / project / stack).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(path.read_text())
            since = _rounded(str(content["timestamp"]))
            found.append(Holder(str(content["username"]), str(content["hostname"]), int(content["pid"]), since))
    return found


def holders_named(message: str) -> list[Holder]:
    """Who is named in the message with which a backend refuses."""
    return [
        Holder(found["user"], found["host"], int(found["pid"]), _rounded(found["since"]))
        for found in CREATED_BY.finditer(message)
    ]


def refusal(environment: str, found: Sequence[Holder]) -> LockedError:
    """What the second operator is told."""
    who = " and ".join(map(str, found)) or "another operator"
    return LockedError(
        f"{environment} is being changed by {who}: wait for it to end; if it died, slipway unlock {environment}"
    )


def is_stale(found: Sequence[Holder]) -> bool:
    """Whether all holders ran on this machine and are dead."""
    return bool(found) and all(holder.lives is False for holder in found)


def _rounded(moment: str) -> str:
    """Without what is below the second, which is more than `fromisoformat` takes."""
    return re.sub(r"\.\d+", "", moment)

"""Run a program as "not root" when we are root, without touching a permission outside our own folder.

PostgreSQL refuses to run as uid 0. Handing its data to another user would need every parent folder opened to
that user, and the wheel's own `get_server` does just that. There are two better ways, tried in this order:

1. A user namespace (user_namespaces(7)) in which our uid 0 is called `nobody`. The child is not root in its own
   eyes; outside nothing changes, not even the owner of its files.
2. Where namespaces are forbidden (a plain container): really become `nobody`, keeping the one capability
   (capabilities(7)) with which files can be reached through private folders. The data then belongs to `nobody`.
"""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache

from infra.embedded.become import as_user


class UnprivilegedError(Exception):
    """We are root and this machine offers no way to run a program as anybody else."""


@dataclass(frozen=True)
class Disguise:
    """How a child stops being root.

    Args:
        prefix: words to put before the child's command.
        owner_uid: the uid that its data folder must belong to, as seen from outside.
    """

    prefix: tuple[str, ...]
    owner_uid: int


def disguise() -> Disguise:
    """The first way that works here; none is needed where we are not root.

    Raises:
        UnprivilegedError: neither way works.
    """
    if os.geteuid() != 0:
        return Disguise(prefix=(), owner_uid=os.geteuid())
    if user_namespace_allowed():
        return Disguise(prefix=as_user(nobody()), owner_uid=0)
    if shutil.which("setpriv"):
        return Disguise(prefix=setpriv_prefix(nobody()), owner_uid=nobody())
    raise UnprivilegedError(
        "PostgreSQL does not run as root, and neither user namespaces nor setpriv (package util-linux) work here: "
        "run this as an ordinary user"
    )


def setpriv_prefix(uid: int) -> tuple[str, ...]:
    """The words that turn root into `uid` with CAP_DAC_OVERRIDE as its only capability (setpriv(1))."""
    return (
        "setpriv",
        f"--reuid={uid}",
        f"--regid={uid}",
        "--clear-groups",
        "--bounding-set=-all,+dac_override",
        "--inh-caps=-all,+dac_override",
        "--ambient-caps=-all,+dac_override",
    )


def nobody() -> int:
    """The uid of `nobody`; initdb insists on a uid that has a name."""
    return pwd.getpwnam("nobody").pw_uid


@cache
def user_namespace_allowed() -> bool:
    """Whether a child can enter a user namespace here: one that does nothing else tries."""
    return subprocess.run(as_user(nobody()), check=False, stderr=subprocess.DEVNULL).returncode == 0

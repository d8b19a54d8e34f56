"""What a child of ours does to itself, then it becomes its program: `become.py [--as UID] [--follow PID] PROGRAM...`.

Only a process itself can enter a user namespace or ask to end with its parent. To have Python do that between fork and
exec (`preexec_fn`) is not safe where threads run; here a fresh process does, and its pid stays when it becomes the
program. Every start waits for this file, so it imports next to nothing.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Sequence

CLONE_NEWUSER = 0x10000000  # sched.h
PR_SET_PDEATHSIG, SIGTERM = 1, 15  # prctl(2), signal(7); the module `signal` costs as much as all of this
EXIT_UNPREPARED, EXIT_NO_PROGRAM = 126, 127  # as a shell says it

PREFIX = (sys.executable, "-I", "-S", __file__)
_libc = ctypes.CDLL(None, use_errno=True)


def as_user(uid: int) -> tuple[str, ...]:
    """The words before a command that shall run in a user namespace, where our uid and gid are called `uid`."""
    return (*PREFIX, "--as", str(uid))


def following() -> tuple[str, ...]:
    """The words before a command that shall get SIGTERM when we end, so that `kill -9` of us leaves no job behind."""
    return (*PREFIX, "--follow", str(os.getpid()))


def enter_user_namespace(inner: int) -> None:
    """Move this process into a user namespace (user_namespaces(7)) where its uid and gid are `inner`.

    Raises:
        OSError: the kernel or the container does not allow user namespaces.
    """
    uid, gid = os.geteuid(), os.getegid()
    if _libc.unshare(CLONE_NEWUSER) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot enter a user namespace: {os.strerror(number)}")
    # The order is the kernel's: a process may map its group only after it gave up setgroups(2).
    for file, text in (("setgroups", "deny"), ("uid_map", f"{inner} {uid} 1"), ("gid_map", f"{inner} {gid} 1")):
        with open(f"/proc/self/{file}", "w") as map_:  # noqa: PTH123 - pathlib takes longer than all of this
            map_.write(text)


def follow(parent: int) -> None:
    """End when the process that started us does. Entering a user namespace undoes it, and must come first."""
    _libc.prctl(PR_SET_PDEATHSIG, SIGTERM)
    if os.getppid() != parent:  # it ended before we asked
        sys.exit(EXIT_UNPREPARED)


def main(words: Sequence[str]) -> None:
    """Take the steps, then run the program; without a program, just see whether they can be taken."""
    steps: dict[str, Callable[[int], None]] = {"--as": enter_user_namespace, "--follow": follow}
    try:
        while words and words[0] in steps:
            steps[words[0]](int(words[1]))
            words = words[2:]
    except OSError as error:
        sys.stderr.write(f"{error.strerror}\n")
        sys.exit(EXIT_UNPREPARED)
    if not words:
        return
    try:
        os.execvp(words[0], [*words])  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"{words[0]}: {error.strerror}\n")
        sys.exit(EXIT_NO_PROGRAM)


if __name__ == "__main__":
    main(sys.argv[1:])

"""PostgreSQL standing still, as a machine that swaps or a disk that hangs makes it."""

import contextlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from infra.embedded.database import Database as Server


@contextmanager
def paused(server: Server) -> Iterator[None]:
    """Let the server and all its processes stand still for the length of the block."""
    main = server.process()
    assert main is not None
    family = [main, *main.children(recursive=True)]
    _send(family, signal.SIGSTOP)
    try:
        yield
    finally:
        _send(family, signal.SIGCONT)


def _send(family: list[psutil.Process], what: signal.Signals) -> None:
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(what)

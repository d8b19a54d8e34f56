"""gunicorn's settings that are the same on every host: `from service.server import *`, then bind and workers.

Needs nothing but the standard library, so that a configuration file can be written and checked anywhere.
"""

import gc
import os
import signal
from pathlib import Path
from typing import Any

from service import slots

worker_class = "service.worker.Worker"
logger_class = "service.logs.GunicornLogger"
accesslog = None  # the application writes the access line
# Loaded once, before the fork: workers start at once and share the memory of the code.
preload_app = True
timeout = 30
graceful_timeout = 30
keepalive = 75  # longer than the proxies before us keep a connection, so that they and not we close idle ones
control_socket_disable = True
# Workers are replaced now and then, each after another number of requests, so that what a library may leak stays small.
max_requests = 500_000
max_requests_jitter = 100_000
# The heartbeat file must not wait for a disk.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() and os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - no file name is guessed

# Nothing that is imported becomes garbage, and looking for some meanwhile is a tenth of the start.
gc.disable()


def on_starting(server: Any) -> None:
    """Before the first fork: see that workers know of one another, and that none can miss a signal to stop."""
    successor = "GUNICORN_PID" in os.environ  # started by another master's SIGUSR2
    folder = os.environ.get(slots.FOLDER_VARIABLE) if successor else None
    server.slots = slots.join_folder(folder) if folder else slots.make_folder(worker_tmp_dir)
    os.register_at_fork(before=_hold_stops, after_in_parent=_take_stops, after_in_child=_be_stoppable)


_STOPS = {signal.SIGTERM, signal.SIGQUIT, signal.SIGINT}


def _hold_stops() -> None:
    """Let a signal to stop wait while the master forks."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)


def _take_stops() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)


def _be_stoppable() -> None:
    """In a worker, until it has handlers of its own: end at such a signal, which its master's handlers would lose."""
    for number in _STOPS:
        signal.signal(number, signal.SIG_DFL)
    _take_stops()


def pre_fork(server: Any, worker: Any) -> None:
    """Before a worker is there: take its place, so that those who leave meanwhile know of it."""
    del server
    worker.slot = slots.Slot.claim(Path(os.environ[slots.FOLDER_VARIABLE]))


def post_fork(server: Any, worker: Any) -> None:
    """In a worker: let go of its siblings' places, which would else be taken for as long as it lives."""
    del worker
    for sibling in server.WORKERS.values():
        sibling.slot.free()


def child_exit(server: Any, worker: Any) -> None:
    """When a worker has ended: give its place back."""
    del server
    worker.slot.free()


def pre_exec(server: Any) -> None:
    """Before this master's successor starts (in its process): leave it the folder."""
    server.cfg.env_orig[slots.FOLDER_VARIABLE] = os.environ[slots.FOLDER_VARIABLE]


def on_exit(server: Any) -> None:
    """When all workers have ended: remove the folder, unless another master goes on with it."""
    slots.leave_folder(os.environ[slots.FOLDER_VARIABLE], server.slots)


def when_ready(server: Any) -> None:
    """Before the first fork: leave what is loaded out of all later collections, so that workers keep sharing it."""
    del server
    gc.collect()
    gc.freeze()
    gc.enable()

"""gunicorn's settings that are the same on every host: `from service.server import *`, then bind and workers.

Imports nothing but the standard library, so that a configuration file can be written and checked anywhere.
"""

import gc
import os
from pathlib import Path
from typing import Any

worker_class = "service.worker.Worker"
logger_class = "service.logs.GunicornLogger"
accesslog = None  # the application writes the access line
# Loaded once, before the fork: workers start at once and share the memory of the code.
preload_app = True
timeout = 30
graceful_timeout = 30
keepalive = 75  # longer than the proxies before us keep a connection, so that they and not we close idle ones
control_socket_disable = True
# The heartbeat file must not wait for a disk.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() and os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - no file name is guessed

# Nothing that is imported becomes garbage, and looking for some meanwhile is a tenth of the start.
gc.disable()


def when_ready(server: Any) -> None:
    """Before the first fork: leave what is loaded out of all later collections, so that workers keep sharing it."""
    del server
    gc.collect()
    gc.freeze()
    gc.enable()

"""The gunicorn worker: uvicorn's, which leaves without failing a request and does not outlive its master."""

import asyncio
import os
import signal
import sys
import time
from socket import socket

from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]
from uvicorn.config import Config
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker  # type: ignore[import-untyped]

_TICK_SECONDS = 0.05


class GracefulServer(Server):
    """uvicorn's server, with an end that no client notices.

    uvicorn closes idle kept-alive connections the moment it is told to stop, and a request that a client sends on one
    at that moment is lost. Here such connections live on for `lame_duck_seconds`, in which whatever arrives is
    answered with `Connection: close`; new connections are left to the other processes that share the socket.
    """

    def __init__(self, config: Config, *, master_pid: int, lame_duck_seconds: float, graceful_seconds: float) -> None:
        super().__init__(config)
        self._master_pid = master_pid
        self._lame_duck_seconds = lame_duck_seconds
        self._graceful_seconds = graceful_seconds

    async def on_tick(self, counter: int) -> bool:
        """Stop also when the master is gone: nobody else would ever stop this worker, and it holds the port."""
        if os.getppid() != self._master_pid:
            self._lame_duck_seconds = 0
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Stop accepting, answer what is here and what still comes on open connections, then close."""
        started = time.monotonic()
        del sockets  # uvloop's servers close their listening sockets themselves
        for server in self.servers:
            server.close()
        # What is asked from now on learns from its answer that the connection ends; so does what is being answered.
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)
            if cycle is not None:
                cycle.keep_alive = False
        await self._wait(started + self._lame_duck_seconds)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._wait(started + self._graceful_seconds)
        for task in self.server_state.tasks:
            task.cancel()
        await self.lifespan.shutdown()
        # Otherwise uvicorn would end the process with the signal instead of letting gunicorn see it exit.
        self._captured_signals.clear()

    async def _wait(self, deadline: float) -> None:
        """Wait until every connection is closed, but not past a deadline, and show the master a sign of life."""
        while self.server_state.connections or self.server_state.tasks:
            if self.force_exit or time.monotonic() >= deadline:
                return
            if self.config.callback_notify is not None:
                await self.config.callback_notify()
            await asyncio.sleep(_TICK_SECONDS)


class Worker(UvicornWorker):  # type: ignore[misc] # gunicorn and its workers are untyped
    """Serves the application with uvloop and httptools; the rest of HTTP's machinery stays out of the process."""

    CONFIG_KWARGS = {  # noqa: RUF012 - the base class's form
        "loop": "uvloop",
        "http": "httptools",
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "server_header": False,
        # Believing forwarding headers is the application's decision, made with its own settings.
        "proxy_headers": False,
    }

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = GracefulServer(
            self.config,
            master_pid=self.ppid,
            lame_duck_seconds=self.wsgi.state.settings.lame_duck_seconds,
            # Two seconds before the master's patience ends, so that the last word is ours.
            graceful_seconds=self.cfg.graceful_timeout - 2,
        )

        def leave_now() -> None:
            server.force_exit = server.should_exit = True

        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, leave_now)
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

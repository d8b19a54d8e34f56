"""The gunicorn worker: uvicorn's, which leaves without failing a request and does not outlive its master."""

import asyncio
import os
import resource
import signal
import sys
import time
from socket import AF_UNIX, socket

from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]
from uvicorn.config import Config
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker  # type: ignore[import-untyped]

from service import metrics
from service.http.protocol import BoundedProtocol
from service.slots import Slot, State

_TICK_SECONDS = 0.05
_TICKS_PER_SECOND = 10  # uvicorn's


class GracefulServer(Server):
    """uvicorn's server, with an end that no client notices.

    uvicorn closes idle kept-alive connections the moment it is told to stop, and a request that a client sends on one
    at that moment is lost. Here such connections live on for `lame_duck_seconds`, in which whatever arrives is
    answered with `Connection: close`. New connections are left to the other processes that share the socket. Where
    none of them serves (yet), this worker goes on to accept for `lame_duck_seconds` more; and where all are to leave,
    /health/ready says 503 meanwhile, so that a load balancer finds another replica before a connection is refused.
    """

    def __init__(
        self, config: Config, *, slot: Slot, master_pid: int, lame_duck_seconds: float, graceful_seconds: float
    ) -> None:
        super().__init__(config)
        self._slot = slot
        self._master_pid = master_pid
        self._lame_duck_seconds = lame_duck_seconds
        self._graceful_seconds = graceful_seconds
        self._leaving = False

    def replica_ends(self) -> bool:
        """Whether all processes that share the socket were told to stop; a worker that is replaced ends no replica."""
        return self._leaving and self.should_exit and self._slot.others() <= {State.LEAVING}

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Accept."""
        await super().startup(sockets)
        if self.started:
            self._slot.tell(State.SERVING)

    async def on_tick(self, counter: int) -> bool:
        """Look after what has no timer of its own, once a second.

        Stop also when the master is gone: nobody else would ever stop this worker, and it holds the port.
        """
        if counter % _TICKS_PER_SECOND == 0:
            self._expire()
            metrics.publish()
        if os.getppid() != self._master_pid:
            self._lame_duck_seconds = 0
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Answer what is here and what still comes, then close."""
        started = time.monotonic()
        self._leaving = True
        self._slot.tell(State.LEAVING)
        # What is asked from now on learns from its answer that the connection ends; so does what is being answered.
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)
            if cycle is not None:
                cycle.keep_alive = False
        await self._go_on_accepting(sockets or [])
        for server in self.servers:
            server.close()  # uvloop's servers close their listening sockets themselves
        await self._wait(self._lame_duck_seconds)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._wait(started + self._graceful_seconds - time.monotonic())
        for task in self.server_state.tasks:
            task.cancel()
        await self.lifespan.shutdown()
        # Otherwise uvicorn would end the process with the signal instead of letting gunicorn see it exit.
        self._captured_signals.clear()

    async def _go_on_accepting(self, sockets: list[socket]) -> None:
        """Accept for as long as nobody else does, but not for ever."""
        deadline = time.monotonic() + self._lame_duck_seconds
        # Not `replica_ends`: a sibling that was told while it still started would be taken for a successor.
        watched = self.should_exit and any(one.family != AF_UNIX for one in sockets)
        while State.SERVING not in self._slot.others() and (watched or not self._is_idle()):
            if not await self._pause(deadline):
                return

    async def _wait(self, seconds: float) -> None:
        """Wait until every connection is closed, but not longer."""
        deadline = time.monotonic() + seconds
        while not self._is_idle() and await self._pause(deadline):
            pass

    def _is_idle(self) -> bool:
        return not self.server_state.connections and not self.server_state.tasks

    async def _pause(self, deadline: float) -> bool:
        """Wait a moment and show the master a sign of life; False when there is no time left."""
        if self.force_exit or time.monotonic() >= deadline:
            return False
        if self.config.callback_notify is not None:
            await self.config.callback_notify()
        self._expire()
        await asyncio.sleep(_TICK_SECONDS)
        return True

    def _expire(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            assert isinstance(connection, BoundedProtocol)
            connection.expire(now)


class Worker(UvicornWorker):  # type: ignore[misc] # gunicorn and its workers are untyped
    """Serves the application with uvloop and httptools; the rest of HTTP's machinery stays out of the process."""

    CONFIG_KWARGS = {  # noqa: RUF012 - the base class's form
        "loop": "uvloop",
        "http": BoundedProtocol,
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "server_header": False,
        # Believing forwarding headers is the application's decision, made with its own settings.
        "proxy_headers": False,
    }

    slot: Slot  # that server.py took for it

    async def _serve(self) -> None:
        # A shell's usual 1,024 files are fewer than the connections that slow clients can hold open.
        _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
        self.config.app = self.wsgi
        metrics.join(self.slot)
        server = GracefulServer(
            self.config,
            slot=self.slot,
            master_pid=self.ppid,
            lame_duck_seconds=self.wsgi.state.settings.lame_duck_seconds,
            # Two seconds before the master's patience ends, so that the last word is ours.
            graceful_seconds=self.cfg.graceful_timeout - 2,
        )
        self.wsgi.state.replica_ends = server.replica_ends

        def leave_now() -> None:
            server.force_exit = server.should_exit = True

        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, leave_now)
        in_flight = metrics.REQUESTS_IN_FLIGHT.labels(metrics.slot_name())
        with metrics.watching({in_flight: lambda: len(server.server_state.tasks)}):
            await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

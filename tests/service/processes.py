"""The API as a host runs it: a gunicorn master with its workers, on a socket."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil

CONFIGURATION = """
from service.server import *
bind = ["unix:{socket}", *{listen_also!r}]
workers = {workers}
chdir = {folder!r}
"""


class Api:
    """One gunicorn master and whatever it turns into; `more` are settings of gunicorn's."""

    def __init__(
        self,
        folder: Path,
        source: Path,
        environment: Mapping[str, str],
        workers: int = 2,
        listen_also: Sequence[str] = (),
        **more: Any,
    ) -> None:
        self.socket = folder / "api.sock"
        self.log = folder / "api.log"
        self._source = source
        self._environment = environment
        self._configuration = folder / "gunicorn.conf.py"
        self._configuration.write_text(
            CONFIGURATION.format(
                socket=self.socket, workers=workers, folder=str(source), listen_also=tuple(listen_also)
            )
            + "".join(f"{name} = {value!r}\n" for name, value in more.items())
        )

    def start(self) -> subprocess.Popen[bytes]:
        """Start the master; `ready` waits for it."""
        # Not `python -m gunicorn`: on SIGUSR2 that would run its __main__.py as a script, which finds other modules.
        program = Path(sys.executable).with_name("gunicorn")
        command = [str(program), "-c", str(self._configuration), "service.main:create_app()"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self._source, env=self._environment, stdout=log, stderr=log)
        return self.process

    def client(self) -> httpx.Client:
        """A client of this API."""
        return httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.socket), verify=False), base_url="http://api", timeout=10
        )

    def ready(self, timeout_seconds: float = 60) -> None:
        """Wait for the socket and for a 200 on /health/ready."""
        give_up_at = time.monotonic() + timeout_seconds
        while time.monotonic() < give_up_at:
            assert self.process.poll() is None, self.log.read_text()
            if self._listens():
                with self.client() as http:
                    assert http.get("/health/ready").status_code == 200
                return
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def starts(self) -> int:
        """How many workers have begun to serve so far: it is ready when the first has."""
        with self.client() as http:
            lines = http.get("/metrics").text.splitlines()
        return round(sum(float(line.split()[-1]) for line in lines if line.startswith("slipway_worker_starts_total")))

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def lines(self) -> list[dict[str, Any]]:
        """The log, each line parsed: all of it is JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self) -> None:
        """End every process of ours, those that a master left behind too; nobody waits for an answer any more."""
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):  # a worker ends with its master
                process.send_signal(signal.SIGQUIT)
        _, alive = psutil.wait_procs(self.family(), timeout=10)
        for process in alive:
            process.kill()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def family(self) -> list[psutil.Process]:
        """Every process that runs with our configuration file: it is in no other's command line."""
        found = []
        for process in psutil.process_iter():
            try:
                if str(self._configuration) in process.cmdline() and process.pid != os.getpid():
                    found.append(process)
            except psutil.Error:
                continue
        return found

"""The API's processes: a gunicorn master with its workers, run from a release's snapshot.

A new release takes over without a gap: gunicorn's SIGUSR2 starts a second master that inherits the listening
socket (gunicorn manual, "Upgrading to a new binary on the fly"), and the first one leaves when the second serves.
"""

import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from infra.contract import API_MODULE, DRAIN_SECONDS, READY_PATH, START_SECONDS, VERSION_PATH
from infra.embedded.api_settings import settings_of
from infra.embedded.layout import Layout, write_atomically
from infra.embedded.network import client, port_of
from infra.embedded.processes import ProcessError, Signature, find, last_words, launch, mark, stop, wait_until

STOP_SECONDS = DRAIN_SECONDS + 5
RESEND_SECONDS = 3
"""gunicorn ignores SIGUSR2 for up to a second after its own predecessor left."""


@dataclass(frozen=True)
class Plan:
    """How one release shall be served.

    Args:
        snapshot: the release's folder.
        address: `127.0.0.1:PORT` or `unix:PATH`.
        workers: processes that answer requests.
        core: the one core that all of them share, for a measurement; None for no limit.
        recycle: whether workers are replaced after many requests, as they should be, except in a measurement.
        changes: settings of the service (variable, value) that differ from this host's own; None for the default.
    """

    snapshot: Path
    address: str
    workers: int
    core: int | None = None
    recycle: bool = True
    changes: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True)
class Api:
    """One set of API processes.

    Args:
        layout: the environment's folders.
        name: `api`, or another name for a set beside it, such as `candidate`.
    """

    layout: Layout
    name: str = "api"

    @property
    def configuration(self) -> Path:
        """The configuration of gunicorn; its path is what we know our processes by."""
        return self.layout.home / f"{self.name}.conf.py"

    @property
    def log(self) -> Path:
        """What the API writes."""
        return self.layout.logs / f"{self.name}.log"

    @property
    def socket_address(self) -> str:
        """A private address, for a set that nobody but us shall reach."""
        return f"unix:{self.layout.run / f'{self.name}.sock'}"

    @property
    def _serving(self) -> Path:
        return self.layout.home / f"{self.name}.json"

    def command(self) -> tuple[str, ...]:
        """The command line of gunicorn. It is run as a script, because SIGUSR2 runs it again the same way."""
        gunicorn = Path(sys.executable).with_name("gunicorn")
        return (sys.executable, str(gunicorn), "-c", str(self.configuration), API_MODULE)

    def processes(self) -> list[psutil.Process]:
        """Masters and workers, oldest first."""
        return find(Signature("gunicorn", ("-c", str(self.configuration), API_MODULE)))

    def masters(self) -> list[psutil.Process]:
        """Masters that have workers, oldest first: two while one takes over from the other, else one or none."""
        ours = {process.pid: process for process in self.processes()}
        parents = set()
        for process in ours.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                parents.add(process.ppid())
        return [process for pid, process in ours.items() if pid in parents]

    def serving(self) -> Plan | None:
        """What the running processes were last told to serve; None where none run."""
        if not self.masters():
            return None
        told = self.remembered()
        return Plan(Path(told["snapshot"]), told["address"], told["workers"]) if told else None

    def remembered(self) -> dict[str, Any]:
        """What was last served, whether it runs or not; empty where nothing is known, or nothing that makes sense."""
        try:
            told: dict[str, Any] = json.loads(self._serving.read_text())
            port_of(told["address"])
            known = isinstance(told["snapshot"], str) and isinstance(told["workers"], int)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        return told if known else {}

    def serves(self, plan: Plan) -> bool:
        """Whether exactly this is being served, and answers."""
        told = self.remembered()
        return bool(
            self.masters() and told.get("configuration") == _digest(self.text(plan)) and self.ready(plan.address)
        )

    def text(self, plan: Plan) -> str:
        """The configuration of gunicorn for this plan: the release's own server settings and what this host adds."""
        private = plan.address.startswith("unix:")
        settings = settings_of(self.layout, snapshot=plan.snapshot, private=private) | dict(plan.changes)
        told = [f"{name}={value}" for name, value in settings.items() if value is not None]
        lines = (
            '"""Written by slipway up; what it says here is lost at the next one."""',
            "import sys",
            f"sys.path.insert(0, {str(plan.snapshot)!r})",
            "from service.server import *",
            f"bind = [{plan.address!r}]",
            f"workers = {plan.workers}",
            # SIGUSR2 changes to the folder it was started in: one that is always there, not a snapshot.
            f"chdir = {str(self.layout.home)!r}",
            f"raw_env = {told!r}",
            *(() if plan.recycle else ("max_requests = 0",)),
        )
        return "\n".join(lines) + "\n"

    def start(self, plan: Plan) -> None:
        """Serve this plan from nothing and wait until it is ready.

        Raises:
            ProcessError: it did not get ready; nothing of it runs any more.
        """
        write_atomically(self.configuration, self.text(plan))
        if plan.address.startswith("unix:"):
            Path(plan.address.removeprefix("unix:")).unlink(missing_ok=True)
        master = launch(self.command(), log=self.log, folder=self.layout.home)
        try:
            if plan.core is not None:
                os.sched_setaffinity(master.pid, [plan.core])  # before it has a worker, which inherits it
            wait_until(
                lambda: self._listens(plan.address) and self.ready(plan.address),
                process=master,
                log=self.log,
                what="the API",
                timeout_seconds=START_SECONDS,
            )
        except BaseException:
            self.stop()
            raise
        self._remember(plan)

    def take_over(self, plan: Plan) -> None:
        """Serve this plan in place of what is served now, at the same address, without a gap.

        Raises:
            ProcessError: the new processes did not serve; the old ones still do.
        """
        old = self.masters()[-1]
        before = self.configuration.read_text()
        mark(self.log)
        write_atomically(self.configuration, self.text(plan))
        try:
            self._wait_for_successor(old, plan)
        except BaseException:
            write_atomically(self.configuration, before)
            stop(_successors(old), timeout_seconds=STOP_SECONDS)
            raise
        self._remember(plan)
        stop([old], timeout_seconds=STOP_SECONDS)

    def settle(self) -> None:
        """After a kill -9 of us or of a master: finish an open take-over, end workers that lost their master."""
        masters = self.masters()
        if len(masters) > 1:
            stop(masters[:-1], timeout_seconds=STOP_SECONDS)
        if not masters:
            self.stop()

    def stop(self) -> None:
        """End all processes of this set; what is in flight is answered first."""
        masters = self.masters()
        if masters:
            stop(masters, timeout_seconds=STOP_SECONDS)
        # Whatever is left has no master: a worker that would have ended by itself, or a master not yet with workers.
        stop(self.processes(), timeout_seconds=STOP_SECONDS)

    def ready(self, address: str) -> bool:
        """Whether the service at this address says it is ready."""
        try:
            with client(address, timeout_seconds=3) as http:
                return http.get(READY_PATH).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def _listens(self, address: str) -> bool:
        """Whether it is us who would answer: another environment may have been faster to take the port."""
        if address.startswith("unix:"):
            return True
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                sockets = process.net_connections(kind="tcp4")
                if any(s.status == psutil.CONN_LISTEN and s.laddr.port == port_of(address) for s in sockets):
                    return True
        return False

    def _wait_for_successor(self, old: psutil.Process, plan: Plan) -> None:
        asked_at = time.time()
        asked, seen = 0.0, False
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            successors = _successors(old)
            if seen and not successors:
                raise ProcessError(f"the new processes ended: {last_words(self.log)} (all of it: {self.log})")
            if not successors and time.monotonic() - asked > RESEND_SECONDS:
                old.send_signal(signal.SIGUSR2)
                asked = time.monotonic()
            seen = seen or bool(successors)
            # All of it: a worker that the old master replaces meanwhile is young, but nobody's successor.
            if successors and successors[0].children() and _answers_since(asked_at, plan):
                return
            time.sleep(0.02)
        raise ProcessError(
            f"the new processes did not serve within {START_SECONDS} s: {last_words(self.log)} (log: {self.log})"
        )

    def _remember(self, plan: Plan) -> None:
        told = {
            "snapshot": str(plan.snapshot),
            "address": plan.address,
            "workers": plan.workers,
            "configuration": _digest(self.text(plan)),
        }
        write_atomically(self._serving, json.dumps(told, indent=2) + "\n")


def _answers_since(moment: float, plan: Plan) -> bool:
    """Whether the worker that answers now serves this plan's release and started after `moment` (epoch seconds)."""
    try:
        with client(plan.address, timeout_seconds=3) as http:
            answer = http.get(VERSION_PATH).json()
        started_at = datetime.fromisoformat(answer["started_at"]).astimezone(UTC).timestamp()
    except (httpx.HTTPError, ValueError, KeyError):
        return False
    return bool(started_at > moment and answer["release"] == plan.snapshot.name)


def _successors(master: psutil.Process) -> list[psutil.Process]:
    """The master that this one started to take its place: gunicorn gives it its own pid as GUNICORN_PID."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in master.children():
            with contextlib.suppress(psutil.Error):
                if child.environ().get("GUNICORN_PID") == str(master.pid):
                    found.append(child)
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

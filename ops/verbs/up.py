"""`slipway up`: one deploy, from the source to the report.

release → provision → migrate → serve → smoke → dataset → load → report. It can be interrupted anywhere and run
again: each step looks at what is there and does what is missing. What served before serves on until the new
release has been proved beside it.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

from infra.embedded import secrets
from infra.embedded.api import Api, Plan
from infra.embedded.api_settings import LIGHT_HASH
from infra.embedded.cache import Cache
from infra.embedded.database import Database
from infra.embedded.layout import Layout
from infra.embedded.migration import Migration
from infra.embedded.network import client, free_port, is_free, local_address, port_of
from infra.embedded.processes import ProcessError
from ops import load, lock, release
from ops.deployment import Deployment
from ops.steps import Step, Steps


@dataclass(frozen=True)
class Options:
    """What the operator may choose.

    Args:
        port: the API's port, or None for the one used before, else the first free one.
        workers: processes that answer requests.
        load: whether to run the load and record a baseline.
        profile: the load's profile.
    """

    port: int | None = None
    workers: int = 2
    load: bool = True
    profile: str = "quick"


def up(layout: Layout, options: Options, steps: Steps) -> dict[str, Any]:
    """Bring the environment to the source's release and measure it.

    Returns:
        The outcome, as it stands in the record, with the addresses to go to.

    Raises:
        LockedError: another verb is at work.
        CheckFailedError: a step failed; what served before still serves, and the record says what failed.
    """
    layout.create()
    with lock.held(layout, "up"):
        return Deploy(layout, options, steps).run()


class Deploy(Deployment):
    """One release entering this machine; its methods are the steps, in order."""

    def __init__(self, layout: Layout, options: Options, steps: Steps) -> None:
        super().__init__(layout, steps)
        self.options = options
        self.api = Api(layout)
        self.database = Database(layout)
        self.cache = Cache(layout)
        self.undo = contextlib.ExitStack()
        self.address = ""

    def run(self) -> dict[str, Any]:
        """All steps, and the outcome into the record, whatever happens."""
        with self.step("release") as step:
            self.release = release.build(self.layout)
            step.say(f"{self.release.name}, schema {self.release.manifest['schema']['head']}")
        self.begin(self.release.name)
        self.record.write("release.json", self.release.manifest)
        self.recorded(self._deploy)
        outcome = self.end("passed", None) | {"url": f"http://{self.address}"}
        return outcome | {"report": self.report() if self.options.load else None}

    def _deploy(self) -> None:
        with self.undo:
            self._bring_up()
            # From here on the environment serves: what follows only measures it.
            self.undo.pop_all()
        if self.options.load:
            self._measure()

    def _bring_up(self) -> None:
        with self.step("provision") as step:
            self.provision(step)
        with self.step("migrate") as step:
            self.migrate(step)
        with self.step("serve") as step:
            self.serve(step)
        with self.step("smoke", spin=False) as step:
            with client(self.address) as http:
                count = self.smoke(http, "smoke.json", self.release.name, show=True)
            step.say(f"{count} checks passed")

    def _measure(self) -> None:
        with self.step("dataset", spin=False):
            load.load_dataset(self.layout)
        with self.step("load", spin=False):
            load.run_load(self.layout, self.record, self._conditions(), f"http://{self.address}", self.options.profile)

    def provision(self, step: Step) -> None:
        """Secrets, PostgreSQL and Valkey; what runs is left as it is."""
        if not self.database.data.exists():
            load.check_disk(self.layout)
        secrets.ensure(self.layout)
        # What we start is stopped again when nothing comes of it, but never under an API that serves.
        serving = bool(self.api.masters())
        database_started = self.database.start()
        if database_started and not serving:
            self.undo.callback(self.database.stop)
        cache_started = self.cache.start()
        if cache_started and not serving:
            self.undo.callback(self.cache.stop)
        step.say(f"PostgreSQL {_word(started=database_started)}, Valkey {_word(started=cache_started)}")

    def migrate(self, step: Step) -> None:
        """The migration job, from the release's own snapshot."""
        job = Migration(self.layout, self.release.snapshot)
        job.bootstrap()
        job.upgrade(self.record.folder / "migration.json")
        report = self.record.read("migration.json")
        applied = [revision["revision"] for revision in report["applied"]]
        step.say(f"schema {report['to']}" + (f", applied {', '.join(applied)}" if applied else ", nothing to apply"))

    def serve(self, step: Step) -> None:
        """Put the release on the port: beside the old one first, then in its place."""
        Api(self.layout, "candidate").stop()
        self.api.settle()
        current = self._current()
        if current is None:
            self.undo.callback(self.api.stop)
            self._start_on_a_free_port()
            step.say(f"{self.options.workers} workers on {self.address}")
            return
        self.address = current.address
        if self.api.serves(self._plan()):
            step.say(f"unchanged on {self.address}")
            return
        self._prove_beside()
        self.api.take_over(self._plan())
        step.say(f"{self.options.workers} workers on {self.address}, taken over from {current.snapshot.name}")

    def _conditions(self) -> dict[str, Any]:
        return {
            "release": self.release.name,
            "environment": self.layout.environment,
            "target": "embedded",
            "workers": self.options.workers,
            "password_hash": LIGHT_HASH,
            "postgres": self.database.version(),
        }

    def _plan(self) -> Plan:
        return Plan(self.release.snapshot, self.address, self.options.workers)

    def _current(self) -> Plan | None:
        """What is served now, unless it must move to another port first."""
        current = self.api.serving()
        if current is None:
            self.api.stop()
            return None
        if self.options.port not in {None, port_of(current.address)}:
            free_port(self.options.port)
            self.steps.line(f"moving from {current.address} to port {self.options.port}: the API stops for a moment")
            self.api.stop()
            return None
        return current

    def _start_on_a_free_port(self) -> None:
        """Start from nothing; when another program takes the port between our look and our start, look again."""
        while True:
            port = free_port(self.options.port, self._remembered_port())
            self.address = local_address(port)
            try:
                self.api.start(self._plan())
            except ProcessError:
                if self.options.port is not None or is_free(port):
                    raise
            else:
                return

    def _remembered_port(self) -> int | None:
        address = self.api.remembered().get("address")
        return port_of(address) if address else None

    def _prove_beside(self) -> None:
        """Smoke checks against the new release on a private socket, while the old one serves."""
        candidate = Api(self.layout, "candidate")
        try:
            candidate.start(Plan(self.release.snapshot, candidate.socket_address, workers=1))
            with client(candidate.socket_address) as http:
                self.smoke(http, "smoke-candidate.json", self.release.name, show=False)
        finally:
            candidate.stop()


def _word(*, started: bool) -> str:
    return "started" if started else "was running"

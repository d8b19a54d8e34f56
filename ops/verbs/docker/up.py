"""`slipway up` for an environment in Docker: one deploy, from the checks beforehand to the report.

check → deploy (Pulumi: networks, secrets, database, migration, API, edge, uptime checks) → smoke → dataset → load →
report. Where Swarm found a new release healthy and the smoke checks do not, the API goes back to the one before. All of
it can be interrupted anywhere and run again: what the engine began and did not end is begun anew.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from infra.contract import VERSION_PATH
from infra.embedded.layout import Layout
from infra.stack import Stack
from ops import edge, lock, release, rollback, stack
from ops.deployment import Deployment
from ops.docker_host import open_host
from ops.errors import CheckFailedError, SlipwayError
from ops.probe import Probe
from ops.pulumi_engine.access import prepare
from ops.pulumi_engine.engine import Engine
from ops.pulumi_engine.progress import Progress, as_changes
from ops.steps import Step, Steps
from ops.verbs.docker import doctor, measure

DIGEST_LETTERS = 12


@dataclass(frozen=True)
class Options:
    """What the operator may choose.

    Args:
        load: whether to run the load and record a baseline; None: where the environment can take it.
        profile: the load's profile.
        probe: whether somebody goes on asking while the release is rolled out, and counts failures; None: but in
            production.
    """

    load: bool | None = None
    profile: str = "quick"
    probe: bool | None = None


def up(layout: Layout, options: Options, steps: Steps) -> dict[str, Any]:
    """Bring the environment to what its stack says, and check it from outside.

    Returns:
        The outcome, as it stands in the record, with the addresses to go to.

    Raises:
        UsageError: the configuration is wrong, or the stack is not there.
        UnreachableError: Docker or the state's backend does not answer.
        LockedError: somebody else is at work.
        CheckFailedError: a step failed; what served before still serves, and the record says what failed.
    """
    found = stack.read(layout)
    if options.load:
        measure.require_load(found)
    prepare(layout)
    layout.records.mkdir(mode=0o700, exist_ok=True)
    with lock.held(layout, "up"):
        return Deploy(layout, found, options, steps).run()


class Deploy(Deployment):
    """One release entering one environment in Docker; its methods are the steps, in order."""

    def __init__(self, layout: Layout, found: Stack, options: Options, steps: Steps) -> None:
        super().__init__(layout, steps)
        self.stack = found
        self.options = options
        self.url = found.public_url
        self.measured = False

    def run(self) -> dict[str, Any]:
        """All steps, and the outcome into the record, whatever happens."""
        with self.step("check") as step:
            doctor.quick(self.layout)
            step.say("Docker, swarm and disk are fit")
        self.begin(self._name_of_the_release())
        self.recorded(self._deploy)
        outcome = self.end("passed", None) | {"url": self.url, "docs": not self.stack.production}
        return outcome | {"report": self.report() if self.measured else None}

    def _deploy(self) -> None:
        with open_host(self.layout) as host:
            before = rollback.served(host)
        with self.step("deploy") as step:
            progress = self.deploy(step)
        with self.step("smoke", spin=False) as step:
            authority = self._authority()
            if self.stack.edge.tls == "automatic":
                edge.wait_for_certificate(self.url)  # its lack is no fault of the release
            try:
                count = self._check(authority)
            except CheckFailedError as error:
                raise CheckFailedError(f"{error}; {self._go_back(before, authority)}") from error
            told = {name: progress.outputs.get(name) for name in ("image", "schema")}
            self.record.write("release.json", {"release": self.release_name, **told})
            step.say(f"{count} checks passed at {self.url}")
        if measure.can_take_load(self.stack) if self.options.load is None else self.options.load:
            self._measure(authority)

    def _check(self, authority: Path | None) -> int:
        """Ask from outside; how many checks passed. What a promoted image's release is called, only it can tell."""
        expected = self.release_name if self.stack.image is None else None
        with edge.client(self.url, authority) as http:
            count = self.smoke(http, "smoke.json", expected, show=True)
            self.release_name = str(http.get(VERSION_PATH).json()["release"])
        return count

    def _go_back(self, before: rollback.Served, authority: Path | None) -> str:
        """Have what served before serve again, where the API was changed; what became of that."""
        try:
            with open_host(self.layout) as host:
                if not rollback.roll_back(host, before):
                    return "the API was not changed by this deploy"
            with edge.client(self.url, authority) as http:
                return f"the API was taken back to {http.get(VERSION_PATH).json()['release']}, which serves"
        except (SlipwayError, httpx.HTTPError) as error:
            return f"and it could not be taken back: {error}"

    def _measure(self, authority: Path | None) -> None:
        with self.step("dataset", spin=False):
            measure.load_dataset(self.layout, self.stack)
        with self.step("load", spin=False):
            profile = self.options.profile
            measure.run_load(self.layout, self.stack, self.record, self.release_name, authority, profile)
        self.measured = True

    def deploy(self, step: Step) -> Progress:
        """Have the engine do it, while the probe goes on asking what serves already."""
        engine = Engine(self.layout)
        with self._probing() as probe:
            begin = probe.begin if probe is not None else None
            progress = engine.up(self.steps, step, f"slipway up {self.layout.environment}", on_change=begin)
        self.record.write("changes.json", as_changes(progress))
        if probe is not None and probe.result:
            self.record.write("probe.json", probe.result)
            step.say(f"{progress.summary}; {probe.summary}")
        return progress

    @contextlib.contextmanager
    def _probing(self) -> Iterator[Probe | None]:
        """Somebody who goes on asking; nobody, where nothing serves yet or it is not wanted."""
        wanted = not self.stack.production if self.options.probe is None else self.options.probe
        authority = edge.authority_of(self.layout) if self.stack.edge.tls == "internal" else None
        if not wanted or not edge.serves(self.url, authority):
            yield None
            return
        probe = Probe(self.layout, self.url, authority, self.record.folder)
        try:
            with probe:
                yield probe
        finally:
            if probe.result:
                self.record.write("probe.json", probe.result)

    def _authority(self) -> Path | None:
        with open_host(self.layout) as host:
            return edge.fetch_authority(self.layout, self.stack, host)

    def _name_of_the_release(self) -> str:
        """What the record is called: the source's name where it is built here, else the image's digest."""
        if self.stack.image is None:
            return release.identity(self.layout.project)["release"]
        _, found, digest = self.stack.image.rpartition("sha256:")
        return digest[:DIGEST_LETTERS] if found else re.sub(r"[^\w.-]", "-", self.stack.image)

"""An operator at a terminal: a project folder of its own, the real command line, real processes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import pytest

from infra.embedded.api import Api
from infra.embedded.cache import Cache
from infra.embedded.database import Database
from infra.embedded.layout import Layout
from infra.embedded.network import client
from infra.embedded.processes import stop
from tests.environments import copy_source

END_SECONDS = 500
"""A verb that has not ended by then hangs."""
SLIPWAY = Path(sys.executable).with_name("slipway")
# The same, measured itself, but none of its children: they run snapshots, of which no report of coverage knows.
LONELY = """
import os
for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
    del os.environ[name]
from ops.console import main
main()
"""


@dataclass
class Operator:
    """What a platform engineer does with one project."""

    layout: Layout
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def project(self) -> Path:
        return self.layout.project

    def start(self, verb: str, *words: str, **variables: str) -> subprocess.Popen[str]:
        """A verb in the background, with its output in one pipe and more variables in its environment."""
        command = (sys.executable, "-c", LONELY, verb, "local", "--project", str(self.project), *words)
        child = subprocess.Popen(
            command,
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.children.append(child)
        return child

    def run(self, verb: str, *words: str, **variables: str) -> tuple[int, str]:
        """A verb to its end: exit code and everything it printed."""
        child = self.start(verb, *words, **variables)
        output, _ = child.communicate(timeout=END_SECONDS)
        return child.returncode, output

    def up(self, *words: str) -> str:
        """A deploy without its load, which must pass."""
        code, output = self.run("up", "--no-load", *words)
        assert code == 0, output
        return output

    def status(self) -> dict[str, Any]:
        child = self.start("status", "--json")
        output, _ = child.communicate(timeout=60)
        state: dict[str, Any] = json.loads(output[: output.rindex("}") + 1])
        return state

    def change(self, file: str = "service/__init__.py", text: str = "") -> None:
        """A changed source: another release, never seen before."""
        with (self.project / file).open("a") as source:
            source.write(text or f"# changed at {time.time_ns()}\n")

    def replace(self, file: str, old: str, new: str) -> None:
        path = self.project / file
        source = path.read_text()
        assert old in source
        path.write_text(source.replace(old, new))

    def outcome(self) -> dict[str, Any]:
        """The newest record's outcome."""
        newest = max(self.layout.records.iterdir())
        content: dict[str, Any] = json.loads((newest / "outcome.json").read_text())
        return content

    def processes(self) -> list[psutil.Process]:
        """Every process whose command line names this project."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                mine = any(str(self.project) in word for word in process.cmdline())
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def stop_everything(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
        # At once: nobody waits for an answer any more. PostgreSQL must still tidy its shared memory up.
        api = [*Api(self.layout, "candidate").processes(), *Api(self.layout).processes()]
        cache, database = Cache(self.layout).process(), Database(self.layout).process()
        stop([*api, *([cache] if cache else [])], timeout_seconds=10, ask=signal.SIGKILL)
        stop([database] if database else [], timeout_seconds=30, ask=signal.SIGQUIT)


@contextlib.contextmanager
def an_operator() -> Iterator[Operator]:
    with tempfile.TemporaryDirectory(prefix="slipway-test-", ignore_cleanup_errors=True) as folder:
        operator = Operator(Layout(Path(folder)))
        copy_source(operator.project)
        try:
            yield operator
        finally:
            operator.stop_everything()


@pytest.fixture
def operator() -> Iterator[Operator]:
    """An operator who has not done anything yet."""
    with an_operator() as one:
        yield one


@pytest.fixture(scope="session")
def shared() -> Iterator[Operator]:
    """An environment for the tests that leave it serving, whichever release that is."""
    with an_operator() as one:
        yield one


@pytest.fixture
def running(shared: Operator) -> Iterator[Operator]:
    """An operator whose environment serves; the source is as it was again after the test."""
    served = Api(shared.layout).serving()
    if served is None or not Api(shared.layout).ready(served.address):
        shared.up()
    yield shared
    copy_source(shared.project)


class Visitors:
    """People who use the service all the while, on kept-alive and on new connections; every failure is kept."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers = 0
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._visit, kwargs={"keep_alive": keep}) for keep in (True, True, False, False)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _visit(self, *, keep_alive: bool) -> None:
        http = self._client()
        while not self._stop.is_set():
            try:
                answer = http.get("/version")
                if answer.status_code != 200:
                    self.failures.append(f"{answer.status_code} {answer.text}")
            except httpx.HTTPError as error:
                self.failures.append(f"{'kept' if keep_alive else 'new'}: {error!r}")
            self.answers += 1
            if not keep_alive:
                http.close()
                http = self._client()
            time.sleep(0.03)
        http.close()

    def _client(self) -> httpx.Client:
        return client(self.url.removeprefix("http://"))


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def signal_at(child: subprocess.Popen[str], step: str, number: signal.Signals) -> str:
    """Send a signal once the step before has told its closing line, and read the rest."""
    assert child.stdout is not None
    read = ""
    while step != "start" and f" {step} " not in read:
        line = child.stdout.readline()
        assert line, f"it ended before {step}: {read}"
        read += line
    time.sleep(0.05)
    os.kill(child.pid, number)
    rest, _ = child.communicate(timeout=60)
    return read + rest

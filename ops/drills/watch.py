"""The steady reader beside a drill: somebody who goes on asking, and remembers what became of every request."""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from infra.contract import API_PREFIX
from infra.embedded.become import following
from infra.embedded.layout import write_atomically
from infra.embedded.processes import end_child, environment
from loadtests.recorder import Samples, SamplesError, read_samples
from loadtests.steady import SAMPLES
from ops import commands
from ops.drills.ground import Ground
from ops.errors import CheckFailedError

READERS = 4
START_SECONDS = 15
END_SECONDS = 15
"""Longer than a request of the reader may take."""


class Watch:
    """A steady reader at work.

    Args:
        folder: where it leaves its samples.
        child: its process.
    """

    def __init__(self, folder: Path, child: "subprocess.Popen[bytes]") -> None:
        self._folder = folder
        self._child = child
        self._began_at = self._wait_for_begin()

    def now_us(self) -> int:
        """This moment, on the clock of its samples."""
        return int((time.monotonic() - self._began_at) * 1e6)

    def end(self) -> Samples:
        """Let it finish; what it saw.

        Raises:
            CheckFailedError: it did not come to its end.
        """
        end_child(self._child, patience_seconds=END_SECONDS)
        samples = read_samples(self._folder / SAMPLES)
        if samples.done is None:
            raise CheckFailedError(f"the reader of the drill ended with exit code {self._child.returncode}")
        return samples

    def _wait_for_begin(self) -> float:
        deadline = time.monotonic() + START_SECONDS
        while self._child.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(SamplesError):
                samples = read_samples(self._folder / SAMPLES)
                if len(samples):
                    return float(samples.head["began_at"])
            time.sleep(0.05)
        raise CheckFailedError(f"the reader of the drill did not begin (exit code {self._child.poll()})")


@contextlib.contextmanager
def watching(ground: Ground, rate: float) -> Iterator[Watch]:
    """Have somebody read lists and single tasks of several accounts, `rate` times a second."""
    folder = ground.layout.home / "reader"
    folder.mkdir(exist_ok=True)
    (folder / SAMPLES).unlink(missing_ok=True)
    write_atomically(folder / "requests.json", json.dumps(_requests(ground)), mode=0o600)
    command = commands.steady_reader(host=ground.server, requests=folder / "requests.json", record=folder, rate=rate)
    with subprocess.Popen(
        [*following(), *command],
        env=environment(),
        start_new_session=True,  # Ctrl-C reaches us alone, and we end it
    ) as child:
        try:
            yield Watch(folder, child)
        finally:
            end_child(child, patience_seconds=END_SECONDS)


def _requests(ground: Ground) -> list[dict[str, str]]:
    requests = []
    for email in ground.emails[-READERS:]:
        token = ground.log_in(email)
        tasks = f"{API_PREFIX}/tasks"
        for kind, path in (("list_20", f"{tasks}?limit=20"), ("get_one", f"{tasks}/{ground.newest_task(token)}")):
            requests.append({"kind": kind, "path": path, "token": token})
    return requests

"""Load beside a proof: the product's own probe, from before a change until after its last consequence."""

import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from loadtests.recorder import Samples, read_samples
from loadtests.steady import SAMPLES
from ops.probe import Probe, counted
from tests.deploy.docker.ground import Environment

BEFORE_SECONDS: Final = 2
AFTER_SECONDS: Final = 10
"""Longer than a replaced replica goes on draining what is idle."""
SETTLING_SECONDS: Final = 10
"""So long after a part is whole again requests may still fail; how long they did stands in the figures. Whoever holds
somebody to it goes on asking for longer."""


class Load:
    """A hundred requests a second through the edge while the block lasts: reads and writes, kept and new connections.

    Args:
        environment: which one.
        folder: for its samples.
        after_seconds: how long it goes on behind the block.
    """

    def __init__(self, environment: Environment, folder: Path, *, after_seconds: float = AFTER_SECONDS) -> None:
        self._probe = Probe(environment.layout, environment.url, environment.authority, folder)
        self._after_seconds = after_seconds
        self.result: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._probe.__enter__()
        self._probe.begin()
        assert self._probe.result == {}, self._probe.result
        time.sleep(BEFORE_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            time.sleep(self._after_seconds)
        self._probe.__exit__(kind, error, traceback)
        self.result = self._probe.result

    @property
    def samples(self) -> Samples:
        """Every request."""
        return read_samples(self._probe.samples / SAMPLES)

    def since(self, moment: float) -> dict[str, Any]:
        """What became of the requests after a fault.

        Args:
            moment: of the fault, on the clock of time.monotonic().

        Returns:
            failed and failures as the probe counts them; first_failure_seconds and recovered_seconds after the fault (0
            without any): when the first failed request was meant to start, and when the last one did; slowest_ms.
        """
        samples = self.samples
        fault_us = int((moment - float(samples.head["began_at"])) * 1e6)
        bad = samples.columns["start_us"][samples.columns["error"] > 0]
        result = counted(samples)
        return {
            "failed": result["failed"],
            "failures": result["failures"],
            "requests": result["requests"],
            "first_failure_seconds": round((int(bad.min()) - fault_us) / 1e6, 2) if len(bad) else 0.0,
            "recovered_seconds": round(max(0, int(bad.max()) - fault_us) / 1e6, 2) if len(bad) else 0.0,
            "slowest_ms": result["slowest_ms"],
        }

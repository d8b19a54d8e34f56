"""Fuzz the API with schemathesis: the whole document, logged in, against a real server.

`python -m tests.service.contract.fuzz` does it for long, on every core, each with seeds of its own.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from infra.embedded.cache import Cache
from infra.embedded.database import Database
from tests.environments import ROOT, fresh_layout, untraced
from tests.ports import unused_port
from tests.service.conftest import CHEAP_PASSWORDS, WIDE_LIMITS, Host, furnish
from tests.service.processes import Api

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
REPORT = ROOT / ".slipway" / "fuzz.json"
# Fuzzing is no load test: its attempts are no attack, and its hashes cost next to nothing.
OPEN_DOORS = {f"SLIPWAY_{name.upper()}": str(value) for name, value in (CHEAP_PASSWORDS | WIDE_LIMITS).items()}


@dataclass(frozen=True)
class Outcome:
    """What one run of schemathesis found.

    Args:
        failed: whether a check failed, or schemathesis itself.
        text: its own report, with a curl command for each failure.
        counts: how often each operation (`GET /path`) gave each status.
    """

    failed: bool
    text: str
    counts: dict[str, dict[str, int]]

    @property
    def requests(self) -> int:
        """How many requests were made."""
        return sum(sum(statuses.values()) for statuses in self.counts.values())


@dataclass(frozen=True)
class Target:
    """An API that is being fuzzed."""

    address: str
    api: Api

    @property
    def crashes(self) -> dict[str, int]:
        """What nobody foresaw, as the log has it: the last line of each trace, and how often."""
        errors = [line for line in self.api.lines() if line.get("level") in {"error", "critical"}]
        return dict(Counter(str(line.get("exception") or line["event"]).splitlines()[-1] for line in errors))


@contextmanager
def served(host: Host, database: str, folder: Path) -> Iterator[Target]:
    """The API with two workers on a port of this machine."""
    address = f"127.0.0.1:{unused_port()}"
    variables = untraced(host.environment("api", database, **OPEN_DOORS))
    api = Api(folder, ROOT, variables, listen_also=[address])
    api.start()
    try:
        api.ready()
        yield Target(f"http://{address}", api)
    finally:
        api.stop()


def fuzz(address: str, *arguments: str) -> Outcome:
    """Run schemathesis against an address with more arguments of its command line."""
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts.json"
        done = subprocess.run(
            [*_command(), "--config-file", str(CONFIGURATION), "run", f"{address}/openapi.json", *arguments],
            cwd=folder,
            env={**untraced(os.environ), "PYTHONPATH": str(ROOT), "FUZZ_ADDRESS": address, "FUZZ_COUNTS": str(counts)},
            capture_output=True,
            text=True,
            check=False,
        )
        found = json.loads(counts.read_text(encoding="utf-8")) if counts.exists() else {}
    return Outcome(done.returncode != 0, done.stdout + done.stderr, found)


def _command() -> Sequence[str]:
    return (sys.executable, "-m", "schemathesis.cli")


@contextmanager
def _servers() -> Iterator[tuple[Host, Path]]:
    """PostgreSQL, Valkey and a folder, for as long as it takes."""
    with fresh_layout() as layout, tempfile.TemporaryDirectory(prefix="slipway-fuzz-") as folder:
        database, cache = Database(layout), Cache(layout)
        database.start()
        cache.start()
        try:
            yield furnish(Path(folder), database, cache), Path(folder)
        finally:
            cache.stop()
            database.stop()


def _added(outcomes: Sequence[Outcome]) -> dict[str, dict[str, int]]:
    total: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        for label, statuses in outcome.counts.items():
            total[label].update(statuses)
    return {label: dict(sorted(total[label].items())) for label in sorted(total)}


def main(arguments: list[str] | None = None) -> int:
    """Fuzz for some time, print and write what was found; 1 if anything was."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--seconds", type=int, default=600, help="how long")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many at once")
    asked = parser.parse_args(arguments)
    with _servers() as (host, folder):
        asyncio.run(host.execute("CREATE DATABASE fuzz OWNER slipway_migrator TEMPLATE pattern"))
        with served(host, "fuzz", folder) as target, ThreadPoolExecutor(asked.processes) as threads:
            one = partial(fuzz, target.address, "--max-time", str(asked.seconds))
            outcomes = [*threads.map(lambda _: one(), range(asked.processes))]
            crashes = target.crashes
    counts = _added(outcomes)
    for label, statuses in counts.items():
        print(f"{sum(statuses.values()):8}  {label:50}  {' '.join(f'{key}:{many}' for key, many in statuses.items())}")
    for outcome in outcomes:
        if outcome.failed:
            print(outcome.text)
    for crash, times in crashes.items():
        print(f"{times:8}  {crash}")
    failed = sum(outcome.failed for outcome in outcomes)
    requests = sum(outcome.requests for outcome in outcomes)
    print(f"{requests} requests in {asked.seconds} s; {failed} of {len(outcomes)} runs found something")
    report = {
        "seconds": asked.seconds,
        "requests": requests,
        "runs": len(outcomes),
        "failed": failed,
        "crashes": crashes,
        "counts": counts,
    }
    REPORT.parent.mkdir(mode=0o700, exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 1 if failed or crashes else 0


if __name__ == "__main__":
    sys.exit(main())

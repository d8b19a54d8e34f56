"""`slipway bench`: our API against the ceiling, in one run, as a ratio; and against itself, where its data grows.

Each server runs with one worker on one core, the load and PostgreSQL on another; rounds of the two alternate,
so that a machine that drifts drifts for both.
"""

import contextlib
import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psutil

from infra.contract import APP_ROLE, READY_PATH
from infra.embedded import secrets
from infra.embedded.api import Api, Plan
from infra.embedded.become import following
from infra.embedded.database import Database
from infra.embedded.layout import Layout, write_atomically
from infra.embedded.network import client, free_port, local_address
from infra.embedded.processes import end_child, environment, wait_until
from loadtests.bench import against_ceiling, against_itself
from loadtests.closed_loop import ClosedLoopError
from loadtests.conditions import observed_conditions
from loadtests.credentials import read_credentials
from loadtests.targets import judged
from ops import commands, load
from ops.bench_requests import Visits
from ops.errors import CheckFailedError, UsageError
from ops.steps import Steps
from ops.verbs.up import Options, up

STARTS = 5
"""So many starts of the API are timed at most, each beside the bare imports."""
LASTING_TOKENS = (("SLIPWAY_TOKEN_LIFETIME_SECONDS", "86400"),)
"""A measurement may take longer than a quarter of an hour."""
COMPARED_SHARE = 0.3
"""A latency needs so much of the time that a rate needs to be known as well."""


def bench(layout: Layout, rounds: int, seconds: float, steps: Steps) -> tuple[dict[str, Any], list[str]]:
    """Measure, and write `.slipway/bench.json`.

    Returns:
        The content of that file: `measured_at`, `release`, `conditions`, and `measures` as `loadtests.targets.judged`
        makes them; and the lines that tell them.

    Raises:
        UsageError: this machine has one core only.
        CheckFailedError: a server gave another answer than expected.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise UsageError("a benchmark needs two cores: one for the server, one for the load")
    outcome = up(layout, Options(load=False), steps)
    with steps.step("dataset", spin=False):
        load.load_dataset(layout)
    release = json.loads((layout.records / outcome["deploy"] / "release.json").read_text())["release"]
    api = Api(layout, "bench")
    measures: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_database_on(Database(layout), cores[1]))
        address = local_address(free_port(None, 8100))
        plan = Plan(layout.releases / release, address, workers=1, core=cores[0], recycle=False, changes=LASTING_TOKENS)
        stack.callback(api.stop)
        with steps.step("start-up", spin=False) as step:
            measures["start_up"] = start = _start_up(api, replace(plan, core=None), min(STARTS, rounds))
            step.say(
                f"first 200 on {READY_PATH} after {start['ready_seconds']:.2f} s, "
                f"of which bare imports {start['imports_seconds']:.2f} s"
            )
        with steps.step("servers") as step:
            api.start(plan)
            ceiling = stack.enter_context(_ceiling(layout, cores[0]))
            step.say(f"ours on {plan.address}, the ceiling on {ceiling}")
        with steps.step("rounds", spin=False):
            measures |= _measured(layout, {"ours": plan.address, "ceiling": ceiling}, rounds, seconds, cores[1])
        measures["memory"] = _memory(api)
    result = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "release": release,
        "conditions": observed_conditions(read_credentials(load.credentials_of(layout)))
        | {"postgres": Database(layout).version(), "rounds": rounds, "seconds": seconds},
        "measures": judged(measures),
    }
    write_atomically(layout.state / "bench.json", json.dumps(result, indent=2) + "\n")
    return result, lines(result)


def failing(result: dict[str, Any]) -> list[str]:
    """The measures that miss even what is required of them."""
    return [name for name, measure in result["measures"].items() if not measure["holds"]]


def lines(result: dict[str, Any]) -> list[str]:
    """A line for each measure: what it is, what it should be, whether it is."""
    return [_line(name, measure) for name, measure in result["measures"].items()]


def _line(name: str, measure: dict[str, Any]) -> str:
    spread = f" ({measure['low']:.3g} to {measure['high']:.3g})" if "low" in measure else ""
    bound = f"{'at least' if measure['at_least'] else 'at most'} {measure['wanted']:g}"
    verdict = "met" if measure["met"] else "MISSED"
    details = [
        f"; {measure[one]:,.5g} against {measure[other]:,.5g} {unit}"
        for one, other, unit in (
            ("ours_rps", "ceiling_rps", "requests a second"),
            ("measured_ms", "reference_ms", "ms"),
        )
        if one in measure
    ]
    return f"{name:<11}{measure['value']:>7.3g}{spread} {measure['unit']}; {bound}: {verdict}{''.join(details)}"


def _measured(
    layout: Layout, addresses: dict[str, str], rounds: int, seconds: float, core: int
) -> dict[str, dict[str, Any]]:
    servers = {name: f"http://{address}" for name, address in addresses.items()}
    with client(addresses["ours"]) as http:
        visits = Visits(http, json.loads(load.credentials_of(layout).read_text()))
        compared = visits.comparisons()
        try:
            with visits.newcomers() as newcomers:
                rates = against_ceiling(servers, visits.rates(newcomers), rounds=rounds, seconds=seconds, core=core)
            latencies = against_itself(
                servers["ours"], compared, rounds=rounds, seconds=seconds * COMPARED_SHARE, core=core
            )
        except ClosedLoopError as error:
            raise CheckFailedError(str(error)) from error
    return rates | latencies


def _memory(api: Api) -> dict[str, Any]:
    """What a worker holds after all these requests, in MB; shared pages count in full."""
    masters = {process.pid for process in api.masters()}
    [worker] = [process for process in api.processes() if process.pid not in masters]
    return {"value": round(worker.memory_info().rss / 1e6, 1)}


def _start_up(api: Api, plan: Plan, starts: int) -> dict[str, float]:
    """Median seconds from process start to ready, and of the bare imports that nobody can avoid, in pairs."""
    ready, imports = [], []
    for _ in range(starts):
        began = time.perf_counter()
        subprocess.run(commands.bare_imports(), check=True)
        imports.append(time.perf_counter() - began)
        began = time.perf_counter()
        api.start(plan)
        ready.append(time.perf_counter() - began)
        api.stop()
    excess = [one - other for one, other in zip(ready, imports, strict=True)]
    return {
        "value": round(statistics.median(excess), 3),
        "low": round(min(excess), 3),
        "high": round(max(excess), 3),
        "ready_seconds": round(statistics.median(ready), 3),
        "imports_seconds": round(statistics.median(imports), 3),
    }


@contextlib.contextmanager
def _ceiling(layout: Layout, core: int) -> Iterator[str]:
    """The ceiling's server on its own port, pinned; its address."""
    address = local_address(free_port(None, 8200))
    log = layout.logs / "ceiling.log"
    command = commands.ceiling(
        port=int(address.rpartition(":")[2]),
        database_url=Database(layout).url(APP_ROLE),
        password_file=secrets.path_of(layout, "app_password"),
        token_keys=secrets.path_of(layout, "token_keys"),
    )
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*following(), *commands.pinned(core, command)],
            env=environment(),
            stdout=output,
            stderr=output,
        ) as server,
    ):
        try:
            wait_until(lambda: _answers(address), process=server, log=log, what="the ceiling", timeout_seconds=30)
            yield address
        finally:
            end_child(server)


def _answers(address: str) -> bool:
    with client(address, timeout_seconds=2) as http:
        try:
            return http.get("/health/live").is_success
        except Exception:  # noqa: BLE001 - anything but an answer means not yet
            return False


@contextlib.contextmanager
def _database_on(database: Database, core: int) -> Iterator[None]:
    """PostgreSQL with its backends on one core, as long as the measurement lasts."""
    before = sorted(os.sched_getaffinity(0))
    _pin(database, [core])
    try:
        yield
    finally:
        _pin(database, before)


def _pin(database: Database, cores: list[int]) -> None:
    for process in database.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.cpu_affinity(cores)

"""`slipway bench`: our API against the ceiling, in one run, as a ratio.

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
from typing import Any

import psutil

from infra.contract import API_PREFIX, APP_ROLE, READY_PATH
from infra.embedded import secrets
from infra.embedded.api import Api, Plan
from infra.embedded.database import Database
from infra.embedded.layout import Layout, write_atomically
from infra.embedded.network import client, free_port, local_address
from infra.embedded.processes import end_child, environment, follow_parent, wait_until
from ops import commands, load
from ops.errors import CheckFailedError, UsageError
from ops.steps import Steps
from ops.verbs.up import Options, up

ROWS = 200
"""The account that is read has at least so many tasks."""
STARTS = 5
"""Starts of the API that are timed, each beside the bare imports."""


def bench(layout: Layout, rounds: int, seconds: float, steps: Steps) -> tuple[dict[str, Any], list[str]]:
    """Measure list-20 and get-one, write `.slipway/bench.json`.

    Returns:
        The ratios with their interval, and the lines that tell them.

    Raises:
        UsageError: this machine has one core only.
        CheckFailedError: a server answered anything but 200.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise UsageError("a benchmark needs two cores: one for the server, one for the load")
    outcome = up(layout, Options(load=False), steps)
    with steps.step("dataset", spin=False):
        load.load_dataset(layout)
    release = json.loads((layout.records / outcome["deploy"] / "release.json").read_text())["release"]
    api = Api(layout, "bench")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_database_on(Database(layout), cores[1]))
        plan = Plan(layout.releases / release, local_address(free_port(None, 8100)), workers=1, core=cores[0])
        stack.callback(api.stop)
        with steps.step("start-up", spin=False) as step:
            start = _start_up(api, replace(plan, core=None))
            write_atomically(layout.state / "start-up.json", json.dumps(start, indent=2) + "\n")
            step.say(
                f"first 200 on {READY_PATH} after {start['ready_seconds']:.2f} s, "
                f"of which bare imports {start['imports_seconds']:.2f} s"
            )
        with steps.step("servers") as step:
            api.start(plan)
            ceiling = stack.enter_context(_ceiling(layout, cores[0]))
            step.say(f"ours on {plan.address}, the ceiling on {ceiling}")
        token, task_id = _visitor(layout, plan.address)
        with steps.step("rounds", spin=False):
            result = _measure(
                {"ours": f"http://{plan.address}", "ceiling": f"http://{ceiling}"},
                token,
                task_id,
                rounds,
                seconds,
                cores[1],
            )
    write_atomically(layout.state / "bench.json", json.dumps(result, indent=2) + "\n")
    return result, [
        f"{kind:<10}{one['ratio']:.3f} of the ceiling ({one['low']:.3f} to {one['high']:.3f}); "
        f"{one['ours_rps']:,.0f} against {one['ceiling_rps']:,.0f} requests a second"
        for kind, one in result.items()
    ]


def _start_up(api: Api, plan: Plan) -> dict[str, float]:
    """Median seconds from process start to ready, and of the bare imports that nobody can avoid, in pairs."""
    ready, imports = [], []
    for _ in range(STARTS):
        began = time.perf_counter()
        subprocess.run(commands.bare_imports(), check=True)
        imports.append(time.perf_counter() - began)
        began = time.perf_counter()
        api.start(plan)
        ready.append(time.perf_counter() - began)
        api.stop()
    excess = statistics.median(one - other for one, other in zip(ready, imports, strict=True))
    return {
        "ready_seconds": round(statistics.median(ready), 3),
        "imports_seconds": round(statistics.median(imports), 3),
        "excess_seconds": round(excess, 3),
    }


def _measure(
    servers: dict[str, str], token: str, task_id: str, rounds: int, seconds: float, core: int
) -> dict[str, Any]:
    from loadtests import bench as rounds_of  # noqa: PLC0415 - numpy and uvloop, for this verb only

    try:
        result: dict[str, Any] = rounds_of.measure(
            servers, token=token, task_id=task_id, rounds=rounds, seconds=seconds, core=core
        )
    except rounds_of.BenchError as error:
        raise CheckFailedError(str(error)) from error
    return result


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
            commands.pinned(core, command),
            env=environment(),
            stdout=output,
            stderr=output,
            preexec_fn=follow_parent,  # noqa: PLW1509
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
    server = database.process()
    assert server is not None
    before = server.cpu_affinity()
    _pin(server, [core])
    try:
        yield
    finally:
        _pin(server, before)


def _pin(server: psutil.Process, cores: list[int]) -> None:
    for process in (server, *server.children()):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.cpu_affinity(cores)


def _visitor(layout: Layout, address: str) -> tuple[str, str]:
    """A token of an account with enough rows, and the id of one of its tasks."""
    credentials = json.loads(load.credentials_of(layout).read_text())
    email = next(one["email"] for one in credentials["emails"] if one["tasks"] >= ROWS)
    with client(address) as http:
        form = {"username": email, "password": credentials["password"]}
        token = http.post(f"{API_PREFIX}/auth/login", data=form).raise_for_status().json()["access_token"]
        tasks = http.get(f"{API_PREFIX}/tasks", headers={"Authorization": f"Bearer {token}"}).raise_for_status().json()
    return token, tasks["items"][0]["id"]

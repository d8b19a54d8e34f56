"""The faults that drills make: each breaks something, lets time pass, mends it, and tells what else it saw."""

import asyncio
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import psutil

from infra.contract import API_PREFIX, APP_ROLE
from infra.embedded.processes import wait_for_end
from loadtests import journeys
from loadtests.closed_loop import answers
from loadtests.journeys import Request
from loadtests.stress import flood, locked_task, slow_clients
from ops.drills.background import in_background
from ops.drills.ground import Ground
from ops.errors import CheckFailedError

SLOW_CLIENTS = 300
FLOODING_CLIENTS = 40
CHANGING_CLIENTS = 40
SETTLED_SHARE = 0.1
"""After so much of the requests memory is compared with what it is after all of them."""
LIFE_SECONDS = 15


@dataclass(frozen=True)
class Extent:
    """How long or how often something goes wrong.

    Args:
        seconds: how long it stays broken.
        restarts: how often the API is restarted.
        requests: how many are sent before memory is looked at for the last time.
    """

    seconds: float = 5.0
    restarts: int = 20
    requests: int = 100_000


Told: TypeAlias = Mapping[str, float]
Fault: TypeAlias = Callable[[Ground, Extent], Told]


def database_stopped(ground: Ground, extent: Extent) -> Told:
    """PostgreSQL is shut down and started again."""
    ground.database.stop()
    try:
        time.sleep(extent.seconds)
    finally:
        ground.database.start()
    return {}


def database_paused(ground: Ground, extent: Extent) -> Told:
    """PostgreSQL stands still: it neither answers nor closes anything."""
    _pause(ground.database.processes(), extent.seconds)
    return {}


def cache_killed(ground: Ground, extent: Extent) -> Told:
    """Valkey is killed and started again."""
    for process in _existing(ground.cache.process()):
        process.kill()
        wait_for_end([process], timeout_seconds=5)
    try:
        time.sleep(extent.seconds)
    finally:
        ground.cache.start()
    return {}


def cache_paused(ground: Ground, extent: Extent) -> Told:
    """Valkey stands still."""
    _pause(_existing(ground.cache.process()), extent.seconds)
    return {}


def pool_exhausted(ground: Ground, extent: Extent) -> Told:
    """Another session has locked a task that many want to change: they hold every connection while they wait."""
    token = ground.log_in(ground.emails[0])
    task_id = ground.newest_task(token)
    change = Request("change", "PATCH", f"{API_PREFIX}/tasks/{task_id}", token=token, body='{"title": "Mine"}')
    url = ground.database.url(APP_ROLE)
    with (
        in_background(locked_task(url, ground.database_password, task_id)),
        in_background(flood(ground.server, [change] * CHANGING_CLIENTS)) as tally,
    ):
        time.sleep(extent.seconds)
    return {f"changes: {what}": times for what, times in tally.items()}


def clients_slow(ground: Ground, extent: Extent) -> Told:
    """Many clients send a byte of their request a second."""
    with in_background(slow_clients(ground.server, SLOW_CLIENTS)) as tally:
        time.sleep(extent.seconds)
    return {f"slow connections {what}": times for what, times in tally.items()}


def login_flood(ground: Ground, extent: Extent) -> Told:
    """Many clients try passwords as fast as they are answered."""
    logins = [journeys.login(email, "wrong") for email in ground.emails[:FLOODING_CLIENTS]]
    with in_background(flood(ground.server, logins)) as tally:
        time.sleep(extent.seconds)
    return {f"logins: {what}": times for what, times in tally.items()}


def worker_killed(ground: Ground, extent: Extent) -> Told:
    """One of the workers gets SIGKILL; its master puts another in its place."""
    workers = ground.workers()
    workers[0].kill()
    time.sleep(extent.seconds)
    _wait_for_workers(ground, len(workers))
    return {}


def restarts(ground: Ground, extent: Extent) -> Told:
    """The API is replaced as in a deploy, again and again: new processes take over, the old ones get SIGTERM."""
    for _ in range(extent.restarts):
        ground.api.take_over(ground.plan)
    return {"restarts": extent.restarts}


def many_requests(ground: Ground, extent: Extent) -> Told:
    """So many requests that whatever is kept by mistake would show."""
    requests, settled = _mixed_requests(ground), int(extent.requests * SETTLED_SHARE)
    before = {process.pid for process in ground.workers()}
    asyncio.run(answers(ground.server, requests, settled))
    early = _resident_mb(ground)
    asyncio.run(answers(ground.server, requests, extent.requests - settled))
    late = _resident_mb(ground)
    if {process.pid for process in ground.workers()} != before:
        raise CheckFailedError("a worker ended meanwhile: its memory cannot be compared")
    return {
        f"MB after {settled:,}": round(early, 1),
        f"MB after {extent.requests:,}": round(late, 1),
        "growth in %": round((late / early - 1) * 100, 2),
    }


def _mixed_requests(ground: Ground) -> list[Request]:
    """Reads, writes and refusals of several accounts: one for each connection, which repeats it."""
    requests = []
    for email in ground.emails[-2:]:
        token = ground.log_in(email)
        tasks = f"{API_PREFIX}/tasks"
        one = f"{tasks}/{ground.newest_task(token)}"
        requests += [
            Request("list_20", "GET", f"{tasks}?limit=20", token=token),
            Request("get_one", "GET", one, token=token),
            Request("search", "GET", f"{tasks}?q=report&limit=20", token=token),
            Request("change", "PATCH", one, token=token, body='{"priority": "high"}'),
            Request("bad_body", "POST", tasks, 422, token, '{"title": null}'),
            Request("absent", "GET", f"{API_PREFIX}/nothing/here", 404, token),
            Request("nobody", "GET", tasks, 401),
        ]
    return requests


def _resident_mb(ground: Ground) -> float:
    return float(sum(process.memory_info().rss for process in ground.workers())) / 1e6


def _pause(processes: Sequence[psutil.Process], seconds: float) -> None:
    try:
        for process in processes:
            process.suspend()
        time.sleep(seconds)
    finally:
        for process in processes:
            if process.is_running():
                process.send_signal(signal.SIGCONT)


def _existing(process: psutil.Process | None) -> list[psutil.Process]:
    return [process] if process else []


def _wait_for_workers(ground: Ground, count: int) -> None:
    deadline = time.monotonic() + LIFE_SECONDS
    while len(ground.workers()) < count:
        if time.monotonic() > deadline:
            raise CheckFailedError(f"no worker came in the place of the killed one within {LIFE_SECONDS} s")
        time.sleep(0.05)

"""Measures several copies of a service at the same time, request by request: `python -m loadtests.side_by_side`.

Open loop: a clock ticks at the rate asked for; at each tick one request goes out, whatever became of those before, and
its latency counts from the tick. Journeys come as twins: two visitors with the same account and the same choices, one
to either release, right after one another and in random order. What the requests ask for, and what the machine is at
meanwhile, is therefore the same for both; only the release differs.

Leaves `samples.bin`, in which `release` is the place of the service in HEAD's `services`. Runs until its time is up, or
until SIGTERM, then waits for the last answers.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import random
import signal
import ssl
import sys
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import uvloop

from loadtests.comparisons import CANDIDATE, CURRENT
from loadtests.connection import request_bytes
from loadtests.credentials import CredentialsError, read_credentials
from loadtests.exchange import Exchanges
from loadtests.journeys import JOURNEYS, Journey, JourneyKind, Reply, Request, Visitor, login, register
from loadtests.processor_time import ProcessorTime, machine_busy_ns
from loadtests.recorder import Recorder
from loadtests.ticks import Ticks

__all__ = ["SAMPLES", "MeasureError", "Service", "main"]

SAMPLES = "samples.bin"
UNDER_WAY = 8
"""So many journeys share the ticks; a service that answers late meets more."""
TIMEOUT_SECONDS = 10.0
FLUSH_SECONDS = 0.5
USAGE_SECONDS = 1.0
START_DELAY_SECONDS = 0.2
CONNECTIONS = 4
OWN_ACCOUNTS = 8
INTERRUPTED = 130


class MeasureError(Exception):
    """The measurement cannot begin; the message says why in one line."""


@dataclass(frozen=True)
class Service:
    """One running copy of a release.

    Args:
        release: CURRENT or CANDIDATE.
        url: without path.
        pid: of the process whose tree it is, if it runs on this machine.
    """

    release: str
    url: str
    pid: int | None = None


@dataclass
class Target:
    """A service, with what it takes to ask it."""

    number: int
    exchanges: Exchanges
    tokens: list[str] = field(default_factory=list)
    time: ProcessorTime | None = None


@dataclass
class Traveller:
    """Somebody on a journey: what is asked next, of whom."""

    target: Target
    steps: Journey
    request: Request


class Measurement:
    """One run.

    Args:
        services: at least one of either release.
        recorder: keeps the samples.
        seed: of all choices.
    """

    def __init__(
        self, services: Sequence[Service], recorder: Recorder, seed: int, trust: ssl.SSLContext | None = None
    ) -> None:
        self._recorder = recorder
        self._random = random.Random(seed)
        self._word = uuid.uuid4().hex[:12]
        self._targets: dict[str, list[Target]] = {CURRENT: [], CANDIDATE: []}
        for number, service in enumerate(services):
            time = ProcessorTime(service.pid) if service.pid else None
            self._targets[service.release].append(Target(number, Exchanges(service.url, trust), time=time))
        self._all = sorted(itertools.chain(*self._targets.values()), key=lambda target: target.number)
        self._ready: deque[Traveller] = deque()
        self._coming = _by_weight()
        self._tasks: set[asyncio.Task[None]] = set()
        self._measured_from = 0.0
        self.asked = self.answered = 0

    async def prepare(self, logins: Sequence[Request]) -> None:
        """Log in everywhere, and open connections.

        Raises:
            MeasureError: somebody cannot log in, or nothing answers.
        """
        for target in self._all:
            try:
                await target.exchanges.open(CONNECTIONS)
            except OSError as error:
                raise MeasureError(f"{target.exchanges.netloc} takes no connections: {error}") from error
            requests = logins or [await self._registered(target, index) for index in range(OWN_ACCOUNTS)]
            for request in requests:
                target.tokens.append(json.loads(await self._expected(target, request))["access_token"])

    async def run(self, rate: float, warm_up_seconds: float, seconds: float, stop: asyncio.Event) -> None:
        """Ask at this rate until the time is up or the event comes, then wait for the last answers."""
        first = perf_counter() + START_DELAY_SECONDS
        self._measured_from = first + warm_up_seconds
        watching = asyncio.create_task(self._watch())
        ticks = Ticks(first, rate, self._tick)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), self._measured_from + seconds - perf_counter())
        ticks.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_answered(), TIMEOUT_SECONDS + 1)
        watching.cancel()

    async def _all_answered(self) -> None:
        while self.answered < self.asked:  # noqa: ASYNC110 - an event set by each answer would cost each answer
            await asyncio.sleep(0.01)

    def close(self) -> None:
        """Let go of all connections."""
        for target in self._all:
            target.exchanges.close()

    def _tick(self, intended: float) -> None:
        if len(self._ready) <= UNDER_WAY:
            self._begin_twins()
        traveller = self._ready.popleft()
        self.asked += 1
        began = perf_counter()
        content = request_bytes(traveller.request, traveller.target.exchanges.netloc)
        done = partial(self._answered, traveller, intended, began)
        if not traveller.target.exchanges.try_ask(content, done):
            task = asyncio.create_task(traveller.target.exchanges.ask(content, done))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _begin_twins(self) -> None:
        kind, seed = next(self._coming), self._random.random()
        pair = [self._random.choice(targets) for targets in self._targets.values()]
        place = self._random.random()
        self._random.shuffle(pair)
        for target in pair:
            tokens = kind.visitors(target.tokens)
            visitor = Visitor(tokens[int(place * len(tokens))], self._word, random.Random(seed))
            steps = kind.steps(visitor)
            self._ready.append(Traveller(target, steps, next(steps)))

    def _answered(
        self, traveller: Traveller, intended: float, began: float, status: int, body: bytes, ended: float, error: str
    ) -> None:
        self.answered += 1
        request, following = traveller.request, None
        if not error and status != request.expects:
            error = f"status {status}"
        if not error:
            try:
                following = traveller.steps.send(Reply(body))
            except StopIteration:
                pass
            except (ValueError, KeyError, TypeError) as unusable:
                error = f"unusable answer ({type(unusable).__name__})"
        self._recorder.add(
            start_us=round((intended - self._measured_from) * 1e6),
            latency_us=round((ended - intended) * 1e6),
            lag_us=max(1, math.ceil((began - intended) * 1e6)),
            bytes_=len(body),
            status=status,
            kind=request.kind,
            error=error,
            release=traveller.target.number,
        )
        if following is not None:
            traveller.request = following
            self._ready.append(traveller)

    async def _watch(self) -> None:
        """Flush, note what processors did, and give up what does not come."""
        for number in itertools.count():
            if number % round(USAGE_SECONDS / FLUSH_SECONDS) == 0:
                used = [target.time.total_ns() if target.time else None for target in self._all]
                at_us = round((perf_counter() - self._measured_from) * 1e6)
                self._recorder.add_usage(at_us, used, machine_busy_ns())
            for target in self._all:
                target.exchanges.expire(perf_counter() - TIMEOUT_SECONDS)
            self._recorder.flush()
            await asyncio.sleep(FLUSH_SECONDS)

    async def _registered(self, target: Target, index: int) -> Request:
        registration, request = register(f"{self._word}-{target.number}-{index}")
        await self._expected(target, registration)
        return request

    async def _expected(self, target: Target, request: Request) -> bytes:
        answer: asyncio.Future[tuple[int, bytes, float, str]] = asyncio.get_running_loop().create_future()
        content = request_bytes(request, target.exchanges.netloc)
        await target.exchanges.ask(content, lambda *told: answer.set_result(told))
        status, body, _, error = await answer
        if status != request.expects:
            raise MeasureError(f"{target.exchanges.netloc}: no {request.kind}: {error or f'status {status}'}")
        return body


def _by_weight() -> Iterator[JourneyKind]:
    """Kinds of journey for ever, each as often as its weight says, spread evenly."""
    largest = max(journey.weight for journey in JOURNEYS)
    credit = dict.fromkeys(range(len(JOURNEYS)), 0.0)
    while True:
        for number, journey in enumerate(JOURNEYS):
            credit[number] += journey.weight / largest
            if credit[number] >= 1:
                credit[number] -= 1
                yield journey


async def _measure(options: argparse.Namespace) -> None:
    services = [Service(**json.loads(text)) for text in options.service]
    secure = any(service.url.startswith("https:") for service in services)
    trust = ssl.create_default_context(cafile=options.ca_file) if secure else None
    credentials = read_credentials(options.credentials) if options.credentials else None
    logins = [login(one.email, credentials.password) for one in credentials.emails] if credentials else []
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    head: dict[str, Any] = {
        "started_at": datetime.now(UTC).isoformat(),
        "services": [asdict(service) for service in services],
        "rate": options.rate,
        "warm_up_seconds": options.warm_up_seconds,
        "measure_seconds": options.seconds,
        "seed": options.seed,
    }
    recorder = Recorder(options.record / SAMPLES, head)
    measurement = Measurement(services, recorder, options.seed, trust)
    failure = ""
    try:
        await measurement.prepare(logins)
        await measurement.run(options.rate, options.warm_up_seconds, options.seconds, stop)
    except (MeasureError, CredentialsError, OSError) as error:
        failure = str(error)
    measurement.close()
    ended_at = datetime.now(UTC).isoformat()
    unanswered = measurement.asked - measurement.answered
    recorder.close({"failure": failure, "ended_at": ended_at, "arrivals": measurement.asked, "unanswered": unanswered})
    if failure:
        raise MeasureError(failure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.side_by_side", description=__doc__)
    parser.add_argument("--service", action="append", required=True, help='JSON: {"release", "url", "pid"}; each copy')
    parser.add_argument("--record", required=True, type=Path, help="folder to leave the samples in")
    parser.add_argument("--credentials", type=Path, help="of the dataset; without: new accounts")
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second, over all services")
    parser.add_argument("--warm-up-seconds", type=float, default=3.0)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ca-file", type=Path, help="PEM: whom to trust besides the system's authorities")
    options = parser.parse_args(arguments)
    try:
        uvloop.run(_measure(options))
    except (MeasureError, CredentialsError, OSError) as error:
        sys.stderr.write(f"measurement failed: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Locust's entry: `locust -f loadtests/locustfile.py --host http://127.0.0.1:8000`, web UI included.

Open loop: a Locust user is not a person but a source of one journey a second, so that "number of users" reads "journeys
a second", in the web UI, with --users and in a load shape alike. Sources keep to a clock, never to the service: each
arrival runs in a greenlet of its own, and the latency of its first request counts from the moment that it was due. A
slow service therefore meets as many arrivals as a fast one and cannot hide the time that they wait (coordinated
omission).
"""

import ctypes
import gc
import logging
import math
import os
import random
import signal
import time
import uuid
from argparse import Namespace
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import gevent  # type: ignore[import-untyped]
from gevent.pool import Group, Pool  # type: ignore[import-untyped]
from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.contrib.fasthttp import FastHttpSession, FastResponse
from locust.env import Environment
from locust.event import EventHook
from locust.runners import MasterRunner

from loadtests.credentials import read_credentials
from loadtests.journeys import JOURNEYS, JourneyKind, Reply, Request, Visitor, login, register
from loadtests.logins import Logins
from loadtests.recorder import Recorder

logger = logging.getLogger("loadtests")

REQUEST_TIMEOUT_SECONDS = 10.0
START_DELAY_SECONDS = 0.5  # between the last login and the first arrival, while Locust starts its users
FLUSH_SECONDS = 0.5
TIMER_SECONDS = 0.0015  # a timer of the event loop may be late by so much; the rest is waited for awake
OWN_ACCOUNTS = 8  # registered when there is no dataset
PR_SET_PDEATHSIG = 1  # prctl(2)
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
BY_NAME = {journey.name: journey for journey in JOURNEYS}


class Run:
    """One run in this process: its clock, the logins of the accounts that visit, and the recording."""

    def __init__(self, environment: Environment, options: Namespace) -> None:
        self.environment = environment
        self.options = options
        self.word = uuid.uuid4().hex[:12]
        self.logins = Logins((), self._ask)
        self.arrivals = self.unfinished = 0
        self.first_arrival = self.measured_from = self.cpu_before = 0.0
        self.recorder: Recorder | None = None
        if options.record:
            head = {
                "started_at": datetime.now(UTC).isoformat(),
                "host": environment.host,
                "warm_up_seconds": options.warm_up_seconds,
                "measure_seconds": options.measure_seconds,
            }
            self.recorder = Recorder(Path(options.record) / "samples.bin", head)
        self._greenlets = Group()
        limits: dict[str, Any] = dict.fromkeys(("network_timeout", "connection_timeout"), REQUEST_TIMEOUT_SECONDS)
        uncounted = EventHook()  # type: ignore[no-untyped-call]
        self._client = FastHttpSession(environment.host, uncounted, None, **limits)

    def start(self) -> None:
        """Log in, then set the clock going."""
        self.logins = Logins(self._login_requests(), self._ask)
        # Two at a time: the service may bound how many passwords it hashes at once.
        self.logins.begin(Pool(2).imap)
        gc.collect()
        gc.freeze()  # what is loaded by now stays: collections during the run have less to walk through
        self.first_arrival = time.perf_counter() + START_DELAY_SECONDS
        self.measured_from = self.first_arrival + self.options.warm_up_seconds
        self.cpu_before = time.process_time()
        self._greenlets.spawn(self.logins.keep_good, gevent.sleep)
        if self.recorder:
            self._greenlets.spawn(self._keep_flushing, self.recorder)
        if self.options.measure_seconds:
            until_end = self.measured_from + self.options.measure_seconds - time.perf_counter()
            assert self.environment.runner
            gevent.spawn_later(until_end, self.environment.runner.quit)

    def end(self, failure: str = "") -> None:
        """Close the recording. The sources have stopped, and their journeys have had time to end."""
        self._greenlets.kill()
        if self.recorder:
            elapsed = time.perf_counter() - self.first_arrival
            self.recorder.close(
                {
                    "failure": failure,
                    "ended_at": datetime.now(UTC).isoformat(),
                    "arrivals": self.arrivals,
                    "unfinished_journeys": self.unfinished,
                    "generator_cpu_share": round((time.process_time() - self.cpu_before) / elapsed, 4),
                }
            )
            self.recorder = None

    def record(self, request: Request, response: FastResponse, times: tuple[float, float, float], error: str) -> None:
        """Keep one request.

        Args:
            request: what was asked.
            response: what came.
            times: when it was meant to start, when it did, and when the answer was there, on the performance counter.
            error: "" for none.
        """
        intended, began, ended = times
        if self.recorder:
            self.recorder.add(
                start_us=round((intended - self.measured_from) * 1e6),
                latency_us=round((ended - intended) * 1e6),
                lag_us=math.ceil((began - intended) * 1e6),
                bytes_=len(response.content or b""),
                status=response.status_code,
                kind=request.kind,
                error=error,
            )

    def _keep_flushing(self, recorder: Recorder) -> None:
        while True:
            gevent.sleep(FLUSH_SECONDS)
            recorder.flush()

    def _login_requests(self) -> list[Request]:
        if self.options.credentials:
            credentials = read_credentials(Path(self.options.credentials))
            return [login(account.email, credentials.password) for account in credentials.emails]
        return [self._registered(index) for index in range(OWN_ACCOUNTS)]

    def _registered(self, index: int) -> Request:
        registration, request = register(f"{self.word}-own-{index}")
        self._ask(registration)
        return request

    def _ask(self, request: Request) -> Reply:
        """Send a request that is counted nowhere."""
        response = self._client.request(
            request.method, request.path, data=request.body, headers=request.headers, name=request.kind
        )
        if error := _failure(request, response):
            raise ValueError(f"no {request.kind}: {error}")
        return Reply(response.content or b"")


def _follow(parent: int) -> None:
    """Let the kernel end us when the process that started us ends, in whatever way (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise ProcessLookupError("the process that started it is gone")


def _failure(request: Request, response: FastResponse) -> str:
    """What is wrong with an answer, in few distinct words; "" for nothing."""
    if not response.status_code:
        return type(getattr(response, "error", None)).__name__
    return "" if response.status_code == request.expects else f"status {response.status_code}"


class Source(FastHttpUser):
    """Lets one journey a second begin."""

    abstract = True
    journey: ClassVar[JourneyKind]
    indices: ClassVar[Iterator[int]]
    network_timeout = connection_timeout = REQUEST_TIMEOUT_SECONDS
    concurrency = 1_000  # connections; an open loop must never wait for one

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.run_state: Run = environment.slipway_run  # type: ignore[attr-defined]
        index = next(self.indices) * len(JOURNEYS) + JOURNEYS.index(self.journey)
        # Multiples of the golden ratio spread any number of sources about evenly over the second (Weyl, 1916).
        worker: int = getattr(environment.runner, "worker_index", 0)
        phase = (index * GOLDEN_RATIO + worker * math.sqrt(2)) % 1.0
        now = time.perf_counter()
        self.intended: float = self.run_state.first_arrival + phase
        self.intended += max(0, math.ceil(now - self.intended))
        self.generator = random.Random(f"{self.run_state.options.seed} {worker} {index}")
        self.journeys = Group()

    def wait_time(self) -> float:
        """Seconds to sleep until shortly before the next arrival is due, however long the last one took."""
        return max(0.0, self.intended - TIMER_SECONDS - time.perf_counter())

    def on_start(self) -> None:
        """Wait for the first arrival."""
        gevent.sleep(self.wait_time())

    @task
    def arrive(self) -> None:
        """Begin a journey, and do not wait for it."""
        while time.perf_counter() < self.intended:
            gevent.sleep(0)  # lets whatever is ready run
        self.run_state.arrivals += 1
        self.journeys.spawn(self._travel, self.intended)
        self.intended += 1.0

    def on_stop(self) -> None:
        """Let the journeys under way end, within reason."""
        self.journeys.join(timeout=REQUEST_TIMEOUT_SECONDS + 1)
        self.run_state.unfinished += len(self.journeys)
        self.journeys.kill()

    def _travel(self, intended: float) -> None:
        token = self.generator.choice(self.journey.visitors(self.run_state.logins.tokens))
        steps = self.journey.steps(Visitor(token, self.run_state.word, self.generator))
        request: Request | None = next(steps)
        began = time.perf_counter()
        while request is not None:
            with self.client.request(
                request.method,
                request.path,
                name=request.kind,
                data=request.body,
                headers=request.headers,
                catch_response=True,
            ) as response:
                ended = time.perf_counter()
                response.request_meta["response_time"] = (ended - intended) * 1e3
                error, following = _failure(request, response), None
                if not error:
                    try:
                        with suppress(StopIteration):
                            following = steps.send(Reply(response.content or b""))
                    except (ValueError, KeyError, TypeError) as unusable:
                        error = f"unusable answer ({type(unusable).__name__})"
                if error:
                    response.failure(error)
                self.run_state.record(request, response, (intended, began, ended), error)
            request, intended = following, time.perf_counter()
            began = intended  # people go on when they have the answer: only a journey's start is due at a time


class Reader(Source):
    """People who look."""

    journey = BY_NAME["reader"]
    weight = journey.weight


class Searcher(Source):
    """People who look for something."""

    journey = BY_NAME["searcher"]
    weight = journey.weight


class Editor(Source):
    """People who write."""

    journey = BY_NAME["editor"]
    weight = journey.weight


class Newcomer(Source):
    """People who come for the first time."""

    journey = BY_NAME["newcomer"]
    weight = journey.weight


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: LocustArgumentParser, **_: Any) -> None:
    """What a run can be told besides Locust's own options."""
    parser.add_argument(
        "--credentials", default="", include_in_web_ui=False, help="of the dataset; without: new accounts"
    )
    parser.add_argument("--record", default="", include_in_web_ui=False, help="folder for samples.bin")
    parser.add_argument("--warm-up-seconds", type=float, default=0.0, include_in_web_ui=False)
    parser.add_argument(
        "--measure-seconds", type=float, default=0.0, include_in_web_ui=False, help="0: until it is stopped"
    )
    parser.add_argument("--follow", type=int, default=0, include_in_web_ui=False, help="end when this parent does")
    parser.add_argument("--seed", type=int, default=1, include_in_web_ui=False, help="of the journeys' choices")


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def begin(environment: Environment, **_: Any) -> None:
    """Prepare a run; when that fails, the test ends before its first request."""
    if isinstance(environment.runner, MasterRunner):
        return
    for source in (Reader, Searcher, Editor, Newcomer):
        source.indices = count()
    assert environment.parsed_options
    run = Run(environment, environment.parsed_options)
    environment.slipway_run = run  # type: ignore[attr-defined]
    try:
        if parent := environment.parsed_options.follow:
            _follow(parent)
        run.start()
    except Exception as error:
        failure = f"the run did not begin: {error}"
        logger.error(failure)  # noqa: TRY400 - one line, not a traceback
        run.end(failure)
        environment.process_exit_code = 1
        if runner := environment.runner:
            # Elsewhere, because it ends the greenlet that we are in. The web interface stays for another try.
            gevent.spawn(runner.stop if environment.web_ui else runner.quit)
        raise gevent.GreenletExit from error  # ends the start of the users, without a traceback


@events.test_stop.add_listener  # type: ignore[untyped-decorator]
def finish(environment: Environment, **_: Any) -> None:
    """Close the recording."""
    if run := getattr(environment, "slipway_run", None):
        run.end()

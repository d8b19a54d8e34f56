"""A client that asks at a constant rate whatever happens to the service: `python -m loadtests.steady`.

Open loop: requests keep to a clock and never wait for one another, so an outage is seen by as many requests as it
lasts, each with the time that it really waited. Most go over kept connections, which take turns; every tenth opens one.
Runs until SIGTERM, and leaves `samples.bin`, whose times count from the `began_at` in its head (CLOCK_MONOTONIC, which
other processes of this machine can read too).
"""

import argparse
import asyncio
import contextlib
import json
import math
import signal
import ssl
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

import uvloop

from loadtests.connection import Answer, Connection
from loadtests.journeys import Request
from loadtests.recorder import Recorder

__all__ = ["SAMPLES", "main"]

SAMPLES = "samples.bin"
TIMEOUT_SECONDS = 10.0
FLUSH_SECONDS = 0.25
NEW_CONNECTION_EVERY = 10
KEPT_CONNECTIONS = 6


class SteadyReader:
    """Sends requests in turn at `rate` a second and records what became of each."""

    def __init__(
        self,
        server: str,
        requests: Sequence[Request],
        rate: float,
        recorder: Recorder,
        began_at: float,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._server, self._requests, self._rate = server, requests, rate
        self._recorder, self._began_at, self._trust = recorder, began_at, trust
        self._idle: deque[Connection] = deque()
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, until: asyncio.Event) -> int:
        """Ask until the event comes, then wait for the last answers; returns how many requests were sent."""
        number = 0
        flushing = asyncio.create_task(self._keep_flushing())
        while not until.is_set():
            intended = self._began_at + number / self._rate
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), max(0.0, intended - monotonic()))
                break
            task = asyncio.create_task(self._visit(number, intended))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            number += 1
        if self._under_way:
            await asyncio.wait(self._under_way)
        flushing.cancel()
        for connection in self._idle:
            connection.close()
        return number

    async def _visit(self, number: int, intended: float) -> None:
        request = self._requests[number % len(self._requests)]
        began = monotonic()
        status, error, size = 0, "", 0
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = await self._ask(request, fresh=number % NEW_CONNECTION_EVERY == 0)
            status, error, size = answer.status, _fault(answer, request), len(answer.body)
        except (OSError, EOFError, ValueError) as failure:  # TimeoutError is an OSError
            error = type(failure).__name__
        self._recorder.add(
            start_us=round((intended - self._began_at) * 1e6),
            latency_us=round((monotonic() - intended) * 1e6),
            lag_us=math.ceil((began - intended) * 1e6),
            bytes_=size,
            status=status,
            kind=request.kind,
            error=error,
        )

    async def _ask(self, request: Request, *, fresh: bool) -> Answer:
        connection = None if fresh else self._kept()
        connection = connection or await Connection.open(self._server, self._trust)
        try:
            answer = await connection.ask(request)
        except BaseException:
            connection.close()
            raise
        if connection.usable and len(self._idle) < KEPT_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def _kept(self) -> Connection | None:
        """The connection that has waited longest; one that the server closed meanwhile is no failure."""
        while self._idle:
            connection = self._idle.popleft()
            if connection.usable:
                return connection
            connection.close()
        return None

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self._recorder.flush()


def _fault(answer: Answer, request: Request) -> str:
    """What is wrong with an answer; an honest 503 says when to come back, and so does a 429."""
    if answer.status == request.expects:
        return ""
    if answer.status in {429, 503} and not answer.headers.get("retry-after", "").isdigit():
        return f"status {answer.status} without Retry-After"
    if answer.headers.get("content-type") != "application/problem+json":
        return f"status {answer.status} without problem+json"
    return f"status {answer.status}"


async def _read(
    server: str, requests: Sequence[Request], rate: float, record: Path, trust: ssl.SSLContext | None
) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    began_at = monotonic()
    recorder = Recorder(record / SAMPLES, {"began_at": began_at, "host": server})
    sent = await SteadyReader(server, requests, rate, recorder, began_at, trust).run(ended)
    recorder.close({"failure": "", "arrivals": sent})


def main(arguments: Sequence[str] | None = None) -> None:
    """Read until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.steady", description=__doc__)
    parser.add_argument("--host", required=True, help="URL of the service, without path")
    parser.add_argument("--requests", required=True, type=Path, help="JSON: fields of Request, method GET if left out")
    parser.add_argument("--record", required=True, type=Path, help="folder to leave the samples in")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--ca-file", type=Path, help="PEM: whom to trust besides the system's authorities")
    options = parser.parse_args(arguments)
    entries = json.loads(options.requests.read_bytes())
    requests = [Request(**{"method": "GET"} | entry) for entry in entries]
    trust = ssl.create_default_context(cafile=options.ca_file) if options.host.startswith("https:") else None
    uvloop.run(_read(options.host, requests, options.rate, options.record, trust))


if __name__ == "__main__":
    main()

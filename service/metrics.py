"""What Prometheus is told (https://prometheus.io/docs/instrumenting/exposition_formats/).

Under gunicorn every worker keeps its figures in memory-mapped files named after its slot (service/slots.py), and
whichever worker is asked adds them all up: counters go on over recycled workers and new masters, and no file is left
behind by a worker that is gone. Without a slot, as in tests, the figures stay in the process.

Counters count where things happen; gauges are read (`watching`) once a second and whenever somebody asks.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPMethod
from pathlib import Path
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, values
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service.slots import Slot

UNMATCHED = "unmatched"
"""The route of a request that belongs to none: a path is the client's word, and label values must be few."""

_OPENMETRICS = "application/openmetrics-text"
_REGISTRY = CollectorRegistry()
_METHODS = frozenset(method.value for method in HTTPMethod)
_BUCKETS_SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
"""Fine where the objectives lie, coarse where all that is left to say is how much too slow."""

# All have labels: a metric without any opens its file when it is made, which is before the fork.
_REQUESTS = Counter("slipway_http_requests", "Requests answered.", ("method", "route", "status"), registry=_REGISTRY)
_DURATIONS = Histogram(
    "slipway_http_request_duration_seconds",
    "From a request's headers to the end of its answer.",
    ("method", "route"),
    registry=_REGISTRY,
    buckets=_BUCKETS_SECONDS,
)
_STARTS = Counter("slipway_worker_starts", "Workers started, the first ones too.", ("slot",), registry=_REGISTRY)
RATE_LIMIT_DECISIONS = Counter(
    "slipway_rate_limit_decisions", "Decisions: allowed or limited.", ("limit", "decision"), registry=_REGISTRY
)
PASSWORDS = Counter("slipway_passwords", "Passwords to hash: accepted or rejected.", ("outcome",), registry=_REGISTRY)
MAILS = Counter("slipway_mails", "Mails: queued, sent or failed (and tried again).", ("outcome",), registry=_REGISTRY)


def _gauge(name: str, meaning: str, *labels: str) -> Gauge:
    return Gauge(f"slipway_{name}", meaning, labels, registry=_REGISTRY, multiprocess_mode="livesum")


RELEASE = _gauge("release_workers", "Workers, by the release they run.", "release")
REQUESTS_IN_FLIGHT = _gauge("http_requests_in_flight", "Requests being answered.", "slot")
RESIDENT_MEMORY = _gauge("worker_resident_memory_bytes", "Resident memory of a worker.", "slot")
CONNECTIONS = _gauge("database_connections", "Connections of all pools: in_use or idle.", "state")
WAITING = _gauge(
    "waiting", "Requests that wait for a connection (database), a hash (passwords) or their turn (bulk).", "queue"
)
BREAKERS_OPEN = _gauge("breakers_open", "Workers that do not ask a dependency because it failed.", "dependency")

Gauges: TypeAlias = Mapping[Gauge, Callable[[], float]]
"""Gauges with their labels, and what reads each."""

_slot: Slot | None = None
_watched: dict[Gauge, Callable[[], float]] = {}
_increments: dict[tuple[Counter, tuple[str, ...]], Callable[[], None]] = {}
_observers: dict[tuple[str, str | None, int], tuple[Callable[[], None], Callable[[float], None]]] = {}


def join(slot: Slot) -> None:
    """Keep this worker's figures with those of the others; to be called before anything is counted."""
    global _slot  # noqa: PLW0603 - a process has one slot, and prometheus-client one way to keep values
    _slot = slot
    values.ValueClass = values.MultiProcessValue(lambda: slot.number)  # type: ignore[no-untyped-call]
    count(_STARTS, str(slot.number))


def slot_name() -> str:
    """The label of this worker."""
    return str(_slot.number) if _slot else "0"


def observe(method: str, route: str | None, status: int, seconds: float) -> None:
    """Count a request that was answered, and its time; costs some 2.5 microseconds."""
    try:
        counted, timed = _observers[method, route, status]
    except KeyError:
        method_label, route_label = method if method in _METHODS else "other", route or UNMATCHED
        counted = _REQUESTS.labels(method_label, route_label, str(status)).inc
        timed = _DURATIONS.labels(method_label, route_label).observe
        _observers[method, route, status] = counted, timed
    counted()
    timed(seconds)


def count(counter: Counter, *labels: str) -> None:
    """Count one; the labels' values must be few."""
    try:
        increment = _increments[counter, labels]
    except KeyError:
        increment = _increments[counter, labels] = counter.labels(*labels).inc
    increment()


@contextmanager
def watching(gauges: Gauges) -> Iterator[None]:
    """Have gauges, with their labels, read now and then for as long as the block lasts."""
    _watched.update(gauges)
    try:
        yield
    finally:
        for gauge in gauges:
            _watched.pop(gauge, None)


def publish() -> None:
    """Read every gauge that is watched."""
    for gauge, read in list(_watched.items()):
        gauge.set(read())


def resident_bytes() -> int:
    """The resident memory of this process (proc_pid_statm(5))."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def exposition(accept: str) -> tuple[bytes, str]:
    """Write down all figures of all workers, as text or OpenMetrics, whichever an Accept header asks for.

    Reads the files of every worker, some milliseconds of work: call it in a thread, after `publish`.

    Returns:
        The content and its type.
    """
    # Of a client's header no more than this: the library reads versions in it, and stumbles over what is none.
    encode, content_type = choose_encoder(_OPENMETRICS if _OPENMETRICS in accept else "")
    if _slot is None:
        return encode(_REGISTRY), content_type
    registry = CollectorRegistry()
    registry.register(_AllWorkers(_slot))
    return encode(registry), content_type


class _AllWorkers(Collector):
    """The figures of all slots: what was counted for ever, what is measured only while its worker lives."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    def collect(self) -> Iterable[Metric]:
        living = self._slot.living()
        files = [
            str(file)
            for file in self._slot.folder.glob("*.db")
            if not file.name.startswith("gauge_") or int(file.stem.rpartition("_")[2]) in living
        ]
        return MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call, no-any-return]

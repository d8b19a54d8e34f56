"""The drills by name, and what each promises to whoever goes on using the service meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.drills import faults
from ops.drills.faults import Fault, Told

__all__ = ["DRILLS", "Drill", "Promise"]

ANSWER_MS = 2_000.0
"""Within so long there is an answer, if only that there is none."""
SLACK_MS = 250.0
"""What the machine and the network may add to it."""
UNAVAILABLE = frozenset({"status 503"})
CUT_OFF = frozenset({"ConnectionResetError", "IncompleteReadError"})


@dataclass(frozen=True)
class Promise:
    """What a reader may see at the worst.

    Args:
        errors: kinds of errors that are honest here; none by default.
        most_errors: how many of them there may be.
        max_ms: longest wait for an answer, of whatever kind.
        p95_ms: of the requests during the fault.
        recovery_seconds: how long after the fault all is well again.
        told: most of what the fault itself tells, by name.
    """

    errors: frozenset[str] = frozenset()
    most_errors: float = float("inf")
    max_ms: float = ANSWER_MS + SLACK_MS
    p95_ms: float = float("inf")
    recovery_seconds: float = 2.0
    told: Mapping[str, float] = field(default_factory=dict)

    def broken(self, phases: Mapping[str, Mapping[str, Any]], recovery_seconds: float, told: Told) -> list[str]:
        """How the reader saw it broken, a few words each; empty where it was kept."""
        found = []
        for name, phase in phases.items():
            dishonest = {what: times for what, times in phase["errors"].items() if what not in self.errors}
            found += [f"{times} x {what} {name} it" for what, times in dishonest.items()]
            if (phase["max_ms"] or 0) > self.max_ms:
                found.append(f"an answer took {phase['max_ms']:,.0f} ms {name} it (at most {self.max_ms:,.0f})")
        if (errors := sum(sum(phase["errors"].values()) for phase in phases.values())) > self.most_errors:
            found.append(f"{errors} errors (at most {self.most_errors:g})")
        if (phases["during"]["p95_ms"] or 0) > self.p95_ms:
            found.append(f"p95 {phases['during']['p95_ms']:,.0f} ms during it (at most {self.p95_ms:,.0f})")
        if recovery_seconds > self.recovery_seconds:
            found.append(f"well again after {recovery_seconds:.1f} s (at most {self.recovery_seconds:g})")
        found += [f"{name}: {told[name]:g} (at most {most:g})" for name, most in self.told.items() if told[name] > most]
        return found


@dataclass(frozen=True)
class Drill:
    """One drill: what breaks, and what is promised."""

    fault: Fault
    promise: Promise


OUTAGE = Promise(errors=UNAVAILABLE)
UNNOTICED = Promise(p95_ms=100)

DRILLS: Mapping[str, Drill] = {
    "database-stopped": Drill(faults.database_stopped, OUTAGE),
    "database-paused": Drill(faults.database_paused, OUTAGE),
    "valkey-killed": Drill(faults.cache_killed, UNNOTICED),
    "valkey-paused": Drill(faults.cache_paused, UNNOTICED),
    "pool-exhausted": Drill(faults.pool_exhausted, OUTAGE),
    "slow-clients": Drill(faults.clients_slow, UNNOTICED),
    "login-flood": Drill(faults.login_flood, Promise(p95_ms=250)),
    "worker-killed": Drill(faults.worker_killed, Promise(errors=CUT_OFF, most_errors=2)),
    "restarts": Drill(faults.restarts, Promise()),
    "memory": Drill(faults.many_requests, Promise(told={"growth in %": 5})),
}

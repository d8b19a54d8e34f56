"""How much processor time a tree of processes has used: Linux's per-process clocks, exact to the nanosecond."""

import contextlib
import time
from pathlib import Path

__all__ = ["ProcessorTime", "machine_busy_ns"]

CPUCLOCK_SCHED = 2  # clock_getcpuclockid(3): the id of a process's clock is ~pid << 3 | 2
TICK_NS = 10_000_000  # proc_stat(5): USER_HZ is 100


class ProcessorTime:
    """Of a process and all that descend from it.

    Args:
        pid: of the process.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._last_ns: dict[int, int] = {}

    def total_ns(self) -> int:
        """Used so far; what has ended meanwhile counts with what it had used when it was last seen."""
        for pid in _tree(self._pid):
            with contextlib.suppress(OSError):
                self._last_ns[pid] = time.clock_gettime_ns((~pid << 3) | CPUCLOCK_SCHED)
        return sum(self._last_ns.values())


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            found += map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
    return found


def machine_busy_ns() -> int:
    """What all processors of this machine have worked since it started, time stolen by others included."""
    user, nice, system, _idle, _wait, irq, soft_irq, steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + soft_irq + steal) * TICK_NS

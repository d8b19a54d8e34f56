"""How many database connections an environment needs at its worst moment: in the middle of a rollout."""

import math
from dataclasses import dataclass
from typing import Final

from infra.docker.rollout_times import DELAY_SECONDS, STOP_SECONDS
from infra.stack_keys import Stack

LEAVING: Final = math.ceil(STOP_SECONDS / DELAY_SECONDS)
"""Old replicas that may drain at once: each turn of a rollout starts a new one and leaves an old one to end."""
JOBS: Final = 3
"""Connections of one-off jobs: the bootstrap's two, or the migration's two and a backup's one."""
EXPORTER: Final = 2
"""Connections of Prometheus' exporter."""


@dataclass(frozen=True)
class Budget:
    """Connections needed and available.

    Args:
        needed: at most, at once.
        available: that PostgreSQL gives to us.
        sum_text: the sum in words and figures, with both sides.
    """

    needed: int
    available: int
    sum_text: str

    @property
    def fits(self) -> bool:
        """Whether there are enough."""
        return self.needed <= self.available


def connection_budget(stack: Stack) -> Budget:
    """Add up the connections of a rollout: (old + new replicas) x workers x pool + jobs + exporter."""
    api, database = stack.api, stack.database
    exporter = EXPORTER if stack.uptime.enabled else 0
    leaving = min(api.replicas, LEAVING)
    needed = (api.replicas + leaving) * api.workers * api.pool_size + JOBS + exporter
    available = database.max_connections - database.reserved_connections
    text = (
        f"({api.replicas} new replicas + {leaving} old) x {api.workers} workers x {api.pool_size} connections "
        f"+ {JOBS} jobs + {exporter} exporter = {needed}, and {database.max_connections} connections - "
        f"{database.reserved_connections} reserved = {available}"
    )
    return Budget(needed=needed, available=available, sum_text=text)

"""How long a rollout of the API takes for what, and why; its connections follow from it, too (stack_budget.py)."""

from typing import Final

from infra.contract import DRAIN_SECONDS

LAME_DUCK_SECONDS: Final = 0.25
"""How long a stopping replica still accepts, and then still answers on kept-alive connections. Swarm takes it out of
the DNS answers two seconds before, and the edge asks for them twice a second."""
STOP_SECONDS: Final = DRAIN_SECONDS + 10
"""Longer than lame duck and drain, so that what is in flight ends before the kill."""
DELAY_SECONDS: Final = 7.5
"""From a replica's readiness to the next one's turn, and again after the last. One that turns unready in the first
three seconds has ended four seconds later (one until its check fails, two in which Swarm tells the edges, one in which
it leaves): then Swarm goes back while the other old replicas serve. While the last one has its turn, Swarm looks at no
failure, so that what comes later costs a gap."""
MONITOR_SECONDS: Final = DELAY_SECONDS + 0.5
"""How old a replica's readiness may be when Swarm looks at its failure, for it to go back: more than the delay."""

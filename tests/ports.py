"""Ports for servers that tests start side by side."""

import random

from infra.embedded.network import is_free

PORTS = range(10_000, 30_000)
"""Below those that the kernel gives to outgoing connections, above those that our verbs look through."""


def unused_port() -> int:
    """A port of this machine that nobody listens on, and that no neighbour is likely to choose before we do."""
    return next(port for port in random.sample(PORTS, 100) if is_free(port))

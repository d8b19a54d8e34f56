"""Trouble that goes on: one line in the log when it begins and one when it ends, however often it is met in between."""

import time

from service.logs import log


class Outage:
    """A dependency that is now there and now away.

    Args:
        dependency: its name in the log.
    """

    def __init__(self, dependency: str) -> None:
        self._dependency = dependency
        self._since: float | None = None

    def met(self, cause: str) -> None:
        """Say that it is away, unless that has been said."""
        if self._since is None:
            self._since = time.monotonic()
            log.warning("dependency is away", dependency=self._dependency, cause=cause)

    def ended(self) -> None:
        """Say that it is back, if it was away."""
        if self._since is not None:
            away_seconds = round(time.monotonic() - self._since, 1)
            self._since = None
            log.info("dependency is back", dependency=self._dependency, away_seconds=away_seconds)

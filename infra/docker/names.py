"""What everything of an environment is called in Docker, and the labels by which it is found again."""

from dataclasses import dataclass
from typing import Final

ENVIRONMENT_LABEL: Final = "slipway.environment"
PART_LABEL: Final = "slipway.part"
TASK_VARIABLE: Final = "ROLLOUT_TASK"
"""In each container: a digest of what it was made from. No label, because pulumi-docker replaces a whole service, with
a gap, where a label of its containers changes."""
SPEC_LABEL: Final = "slipway.spec"
"""On the service: a digest of all of it. After a rollback the old one stands there again."""


@dataclass(frozen=True)
class Names:
    """The names of one environment.

    Args:
        environment: the stack's name.
    """

    environment: str

    def of(self, part: str) -> str:
        """The name of a service, network or volume; of a service it is its DNS name, too."""
        return f"slipway-{self.environment}-{part}"

    def labels(self, part: str) -> dict[str, str]:
        """What each object carries."""
        return {ENVIRONMENT_LABEL: self.environment, PART_LABEL: part}

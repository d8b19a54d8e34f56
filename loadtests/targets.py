"""What `make bench` holds the service to, and how near it came."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["TARGETS", "Target", "judged"]


@dataclass(frozen=True, slots=True)
class Target:
    """The goal of one measure.

    Args:
        wanted: the value that it should reach.
        required: the value without which it fails; often the same.
        at_least: whether more is better.
        unit: what the value counts, as it is said after it.
    """

    wanted: float
    required: float
    at_least: bool
    unit: str

    def reached(self, value: float, bound: float) -> bool:
        """Whether `value` is on the good side of `bound`."""
        return value >= bound if self.at_least else value <= bound


TARGETS: Mapping[str, Target] = {
    "list_20": Target(0.40, 0.33, at_least=True, unit="of the ceiling"),
    "get_one": Target(0.40, 0.33, at_least=True, unit="of the ceiling"),
    "create": Target(0.33, 0.33, at_least=True, unit="of the ceiling"),
    "search": Target(3, 3, at_least=False, unit="x p95, 20,000 tasks against 20"),
    "statistics": Target(3, 3, at_least=False, unit="x p95, 20,000 tasks against 20"),
    "page_1000": Target(1.25, 1.25, at_least=False, unit="x p50, page 1,000 against page 1"),
    "memory": Target(120, 120, at_least=False, unit="MB resident in a worker"),
    "start_up": Target(0.5, 0.5, at_least=False, unit="s from start to ready beyond the imports"),
}


def judged(measures: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each measure's content with its target, and `met` (it is as wanted) and `holds` (as required)."""
    result = {}
    for name, measure in measures.items():
        target = TARGETS[name]
        result[name] = dict(measure) | {
            "unit": target.unit,
            "at_least": target.at_least,
            "wanted": target.wanted,
            "required": target.required,
            "met": target.reached(measure["value"], target.wanted),
            "holds": target.reached(measure["value"], target.required),
        }
    return result

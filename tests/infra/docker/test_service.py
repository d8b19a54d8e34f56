from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.docker.names import Names
from infra.docker.service import Health, Limits, ServiceArgs, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.5, "500ms"), (2.5, "2.5s"), (60, "1m"), (90, "1m30s"), (120, "2m"), (3600, "1h"), (5400, "1h30m")],
)
def test_durations_are_written_as_the_engine_reads_them_back(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.integers(0, 100_000))
def test_a_duration_says_all_its_seconds(seconds: int) -> None:
    units = {"h": 3600, "m": 60, "s": 1}
    total, number = 0, ""
    for letter in duration(seconds):
        if letter in units:
            total, number = total + int(number) * units[letter], ""
        else:
            number += letter
    assert total == seconds


def test_nothing_runs_as_root() -> None:
    told: dict[str, Any] = {"names": Names("dev"), "part": "x", "image": "x", "networks": []}
    told |= {"limits": Limits(cpus=1, memory_mib=64), "health": Health(command=["CMD", "true"])}
    with pytest.raises(ValueError, match="x: no container runs as root"):
        ServiceArgs(**told, uid=0)

from typing import Any

import pytest

from ops.drills.promises import DRILLS, Promise


def seen(**changes: Any) -> Any:
    calm = {"requests": 100, "errors": {}, "p95_ms": 5.0, "max_ms": 20.0}
    return {name: calm | changes.get(name, {}) for name in ("before", "during", "after")}


def outage(what: str, max_ms: float = 1_900.0) -> Any:
    return seen(during={"errors": {what: 90}, "max_ms": max_ms, "p95_ms": max_ms})


@pytest.mark.parametrize("name", DRILLS)
def test_calm_is_always_as_promised(name: str) -> None:
    assert DRILLS[name].promise.broken(seen(), 0.0, {"growth in %": 1.0}) == []


@pytest.mark.parametrize(
    ("name", "phases", "recovery_seconds", "told", "words"),
    [
        ("database-paused", outage("status 503"), 1.9, {}, []),
        ("database-paused", outage("status 503", 2_300.0), 0.0, {}, ["an answer took 2,300 ms during it"]),
        ("database-stopped", outage("status 500"), 0.0, {}, ["90 x status 500 during it"]),
        (
            "database-stopped",
            outage("TimeoutError", 10_000),
            3.0,
            {},
            ["90 x TimeoutError", "10,000 ms", "after 3.0 s"],
        ),
        ("valkey-paused", outage("status 503"), 0.0, {}, ["90 x status 503", "p95 1,900 ms"]),
        ("worker-killed", seen(during={"errors": {"ConnectionResetError": 2}}), 0.0, {}, []),
        ("worker-killed", seen(after={"errors": {"ConnectionResetError": 3}}), 0.0, {}, ["3 errors (at most 2)"]),
        ("restarts", seen(after={"errors": {"IncompleteReadError": 1}}), 0.0, {}, ["1 x IncompleteReadError after it"]),
        ("memory", seen(), 0.0, {"growth in %": 5.1}, ["growth in %: 5.1 (at most 5)"]),
    ],
)
def test_what_is_broken_is_told(
    name: str, phases: Any, recovery_seconds: float, told: dict[str, float], words: list[str]
) -> None:
    found = DRILLS[name].promise.broken(phases, recovery_seconds, told)
    assert len(found) == len(words)
    assert all(word in told for word, told in zip(words, found, strict=True)), found


def test_a_phase_without_requests_breaks_nothing() -> None:
    nothing = {"requests": 0, "errors": {}, "p95_ms": None, "max_ms": None}
    assert Promise(p95_ms=1).broken(seen(during=nothing, after=nothing, before=nothing), 0.0, {}) == []

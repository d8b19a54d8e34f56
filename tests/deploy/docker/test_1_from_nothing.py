"""Proof 1: from nothing to serving over HTTPS; then nothing changes any more, whoever asks."""

import json
import re

from tests.deploy.docker.figures import keep
from tests.deploy.docker.ground import Environment, Up

FROM_NOTHING_SECONDS = 60
UNCHANGED_SECONDS = 8


def test_from_nothing_to_serving_and_then_no_change(first: tuple[Environment, Up]) -> None:
    environment, up = first
    assert all(check["passed"] for check in up.smoke)
    assert environment.version()["release"] == up.outcome["release"]
    state = environment.status()
    assert state["serving"] is True
    again = environment.up()
    assert again.changed == {}, again.said.text
    refreshed = environment.pulumi("preview", "--refresh", "--expect-no-changes")
    assert refreshed.code == 0, refreshed.text
    looked = environment.pulumi("refresh", "--yes", "--skip-preview", "--json")
    summary = _summary(looked.good().output)
    plain = environment.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
    assert plain.code == 0, plain.text
    keep(
        "1 from nothing",
        {
            "up_seconds": round(up.said.seconds, 1),
            "up_limit_seconds": FROM_NOTHING_SECONDS,
            "slowest_seconds": up.slowest,
            "resources_created": up.changed.get("create"),
            "smoke_checks": len(up.smoke),
            "unchanged_up_seconds": round(again.said.seconds, 1),
            "unchanged_up_limit_seconds": UNCHANGED_SECONDS,
            "unchanged_up_changes": sum(again.changed.values()),
            "refresh_seconds": round(looked.seconds, 1),
            "refresh_changes": summary,
            "plain_up_seconds": round(plain.seconds, 1),
        },
    )
    assert set(summary) <= {"same"}, looked.text


def _summary(output: str) -> dict[str, int]:
    """What the engine's closing event counts."""
    found = re.findall(r'"changeSummary":\s*(\{[^}]*\})|"resourceChanges":\s*(\{[^}]*\})', output)
    return dict(json.loads(next(filter(None, found[-1])))) if found else {}

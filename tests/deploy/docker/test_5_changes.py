"""Proof 5: a changed secret, number or setting, or a dependency that restarts: who has to change changes, unnoticed."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from infra import generate
from tests.deploy.docker.figures import keep
from tests.deploy.docker.ground import Environment, Up, wait_for
from tests.deploy.docker.load import SETTLING_SECONDS, Load


def change(environment: Environment, folder: Path) -> tuple[Up, dict[str, Any]]:
    """Deploy what was configured, under load, and see that nobody noticed."""
    with Load(environment, folder) as load:
        up = environment.up("--no-probe")
    again = environment.up("--no-probe")
    figures = {"up_seconds": round(up.said.seconds, 1), "changed": up.resources, "changes": up.changed, **load.result}
    assert again.changed == {}, again.said.text
    return up, figures


def parts_of(up: Up) -> set[str]:
    """The services that were changed."""
    return {one.rpartition(" ")[2] for one in up.resources if " service " in one}


def test_a_replica_more_and_a_replica_less(environment: Environment, tmp_path: Path) -> None:
    found = {}
    for replicas in (3, 2):
        environment.configure(api={"replicas": replicas})
        (tmp_path / str(replicas)).mkdir()
        before = {one.id for one in environment.containers("api")}
        up, found[f"to {replicas}"] = change(environment, tmp_path / str(replicas))
        after = {one.id for one in environment.containers("api")}
        found[f"to {replicas}"]["replicas_kept"] = len(before & after)
        assert len(after) == replicas
        keep("5 replicas", found)
        assert parts_of(up) <= {"api", "prometheus"}
    assert sum(one["failed"] for one in found.values()) == 0, found
    assert [one["replicas_kept"] for one in found.values()] == [2, 2], "who need not change stays"


def test_a_setting_of_the_service(environment: Environment, tmp_path: Path) -> None:
    environment.configure(api={"settings": {"SLIPWAY_LIMIT_RESET_ADDRESS": f"{time.time_ns() % 1000 + 20}/hour"}})
    up, figures = change(environment, tmp_path)
    keep("5 setting", figures)
    assert parts_of(up) == {"api"}
    assert figures["failed"] == 0, figures


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        ("tokenKeys", {"api"}),
        ("appPassword", {"api"}),
        ("cachePassword", {"api", "cache"}),
        ("monitorPassword", {"postgres-exporter", "backup"}),
    ],
)
def test_a_secret(key: str, changed: set[str], environment: Environment, tmp_path: Path) -> None:
    value = generate.password()
    if key == "tokenKeys":  # tokens that are out stay good: the old key goes on beside the new one
        ring = json.loads(environment.pulumi("config", "get", f"slipway:{key}").good().output)
        new = json.loads(generate.token_keys())
        value = json.dumps({"signing": new["signing"], "keys": new["keys"] + ring["keys"]})
    environment.pulumi("config", "set", "--secret", f"slipway:{key}", value).good()
    up, figures = change(environment, tmp_path)
    keep(f"5 secret {key}", figures)
    assert value not in up.said.text
    assert parts_of(up) == changed
    assert figures["failed"] == 0, figures


@pytest.mark.parametrize(("part", "noticed"), [("cache", False), ("database", True)])
def test_a_dependency_restarts(part: str, noticed: bool, environment: Environment, tmp_path: Path) -> None:  # noqa: FBT001
    [container] = environment.containers(part)
    with Load(environment, tmp_path, after_seconds=2 * SETTLING_SECONDS) as load:
        began = time.monotonic()
        container.stop()
        wait_for(lambda: environment.is_complete(part), 120)
        back_seconds = time.monotonic() - began
    figures = {"back_seconds": round(back_seconds, 1), **load.since(began)}
    keep(f"5 {part} restarted", figures)
    assert noticed or figures["failed"] == 0, figures
    assert figures["recovered_seconds"] <= back_seconds + SETTLING_SECONDS, figures

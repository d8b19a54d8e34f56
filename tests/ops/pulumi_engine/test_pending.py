from pathlib import Path
from typing import Any

import pytest
from pulumi.automation import Deployment

from ops.pulumi_engine.pending import clear_remains, known_names, nothing_pending, pending, without_pending

SERVICE, SECRET = "docker:index/service:Service", "docker:index/secret:Secret"
NETWORK, VOLUME = "docker:index/network:Network", "docker:index/volume:Volume"


def resource(kind: str, name: str) -> dict[str, Any]:
    return {"urn": f"urn:pulumi:dev::slipway::{kind}::{name}", "type": kind, "inputs": {"name": name}}


def state(*operations: tuple[str, str, str], known: tuple[str, str] | None = None) -> Deployment:
    return Deployment(
        version=3,
        deployment={
            "resources": [resource(*known)] if known else [],
            "pending_operations": [{"type": op, "resource": resource(kind, name)} for op, kind, name in operations],
        },
    )


def removed(deployment: Deployment) -> list[tuple[str, str]]:
    asked: list[tuple[str, str]] = []

    def remove(kind: str, name: str) -> bool:
        asked.append((kind, name))
        return True

    assert clear_remains(pending(deployment), known_names(deployment), remove) == len(asked)
    return asked


def test_what_was_being_created_is_removed_services_first() -> None:
    begun = state(("creating", NETWORK, "slipway-dev-edge"), ("creating", SERVICE, "slipway-dev-api"))
    assert removed(begun) == [("service", "slipway-dev-api"), ("network", "slipway-dev-edge")]


def test_data_changes_and_what_the_state_knows_stay() -> None:
    begun = state(
        ("creating", VOLUME, "slipway-dev-database"),
        ("updating", SERVICE, "slipway-dev-api"),
        ("deleting", SECRET, "slipway-dev-x"),
        ("creating", SERVICE, "slipway-dev-edge"),
        ("creating", "pulumi-python:dynamic/slipway:Job", "slipway-dev-migration"),
        known=(SERVICE, "slipway-dev-edge"),
    )
    assert removed(begun) == []


NOTHING = ('{"checkpoint": {"latest": {}}}', '{"checkpoint": {"latest": null}}')


@pytest.mark.parametrize(
    "text", [*NOTHING, '{"checkpoint": {"latest": {"pending_operations": [{}]}}}', "{", "[]", None]
)
def test_a_file_is_asked_first_and_a_doubtful_one_is_no_answer(tmp_path: Path, text: str | None) -> None:
    folder = tmp_path / "stacks" / "slipway"
    folder.mkdir(parents=True)
    if text is not None:
        (folder / "dev.json").write_text(text)
    assert nothing_pending(tmp_path, "slipway", "dev") is (text in NOTHING)


def test_the_state_goes_on_without_them() -> None:
    begun = state(("creating", NETWORK, "n"), known=(SERVICE, "s"))
    cleared = without_pending(begun)
    assert pending(cleared) == []
    assert cleared.version == 3
    assert cleared.deployment == {"resources": [resource(SERVICE, "s")]}
    assert [one.label for one in pending(begun)] == ["creating n"]
    assert pending(Deployment(version=3, deployment=None)) == []

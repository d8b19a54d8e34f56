"""Schemathesis over the whole document: bounded here, one run for each tag; long as `make fuzz`."""

from collections.abc import Iterator

import pytest

from tests.service.conftest import Host
from tests.service.contract.calls import OPERATIONS
from tests.service.contract.fuzz import Outcome, Target, fuzz, served

TAGS = sorted({operation.described["tags"][0] for operation in OPERATIONS.values()})


@pytest.fixture(scope="module")
def target(host: Host, shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with served(host, shared_database, tmp_path_factory.mktemp("fuzz")) as found:
        yield found


@pytest.mark.parametrize("tag", TAGS)
def test_operations_one_by_one(target: Target, tag: str) -> None:
    phases = "examples,coverage,fuzzing"
    outcome = fuzz(target.address, "--include-tag", tag, "--phases", phases, "--max-examples", "20")
    assert_held(outcome, target)
    asked = {label for label, statuses in outcome.counts.items() if statuses}
    assert asked == {f"{o.method} {o.path}" for o in OPERATIONS.values() if o.described["tags"] == [tag]}


def test_operations_after_one_another(target: Target) -> None:
    outcome = fuzz(target.address, "--phases", "stateful", "--max-examples", "20")
    assert_held(outcome, target)
    assert len(outcome.counts) > 10


def assert_held(outcome: Outcome, target: Target) -> None:
    assert not outcome.failed, outcome.text
    assert not any(int(status) >= 500 for statuses in outcome.counts.values() for status in statuses), outcome.counts
    assert not target.crashes

"""Proof 4: a release that does not work is taken back, and the old one serves on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.docker import sources
from tests.deploy.docker.figures import keep
from tests.deploy.docker.ground import Environment, Ground
from tests.deploy.docker.load import Load

IN_FLIGHT = 8


@pytest.mark.parametrize(
    ("name", "change", "check", "line"),
    [
        ("crashes at the start", sources.crashing, "exit code", "planted: crashes at the start"),
        ("never gets ready", sources.never_ready, "health check", "never ready"),
        ("gets ready then turns unready", sources.turning_unready, "health check", "not ready any more"),
        ("gets ready then ends", sources.dying, "exit code", "planted: ends after it was ready"),
    ],
)
def test_a_bad_image_is_taken_back(
    name: str,
    change: Callable[[Path], None],
    check: str,
    line: str,
    environment: Environment,
    ground: Ground,
    tmp_path: Path,
) -> None:
    before = environment.version()
    good = environment.setting("image")
    environment.configure(image=ground.releases.reference(name, change))
    with Load(environment, tmp_path) as load:
        failed = environment.verb("up", "--no-load", "--no-probe")
    serving = environment.version()["release"]
    environment.configure(image=good)
    mended = environment.up("--no-probe")
    keep(
        f"4 {name}",
        {
            "failed_up_seconds": round(failed.seconds, 1),
            "said": failed.errors.strip().splitlines()[-1:],
            "diagnostics": failed.text.splitlines(),
            **load.result,
            "mended_up_seconds": round(mended.said.seconds, 1),
            "mended_changes": mended.resources,
        },
    )
    assert failed.code == 1, failed.text
    assert serving == before["release"]
    assert check in failed.text
    assert line in failed.text
    # Whatever ends by itself takes along what it was at; reads are asked again, writes must not be.
    in_flight = load.result["failures"].get("update: status 502", 0) if change is sources.dying else 0
    assert load.result["failed"] == in_flight <= IN_FLIGHT, load.result


def test_a_release_that_fails_from_outside_only_is_taken_back(
    environment: Environment, ground: Ground, tmp_path: Path
) -> None:
    before = environment.version()
    environment.configure(image=ground.releases.reference("fails a smoke check", sources.failing_a_smoke_check))
    with Load(environment, tmp_path) as load:
        failed = environment.verb("up", "--no-load", "--no-probe")
    serving = environment.version()["release"]
    keep(
        "4 fails a smoke check",
        {
            "failed_up_seconds": round(failed.seconds, 1),
            "said": failed.errors.strip().splitlines()[-1:],
            "diagnostics": failed.text.splitlines(),
            **load.result,
        },
    )
    assert failed.code == 1, failed.text
    assert "smoke check failed: refresh the token" in failed.errors
    assert f"the API was taken back to {before['release']}, which serves" in failed.errors
    assert serving == before["release"]
    assert load.result["failed"] == 0, load.result

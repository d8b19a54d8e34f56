"""Proof 2: a new release takes over under load, and nobody notices."""

from pathlib import Path

from tests.deploy.docker.figures import keep
from tests.deploy.docker.ground import Environment, Ground
from tests.deploy.docker.load import Load

RELEASE_SECONDS = 40


def test_a_new_release_takes_over_without_a_failed_request(
    environment: Environment, ground: Ground, rounds: int, tmp_path: Path
) -> None:
    names = ("second", "first")
    references = {name: ground.releases.reference(name) for name in names}
    done = []
    for number in range(rounds):
        name = names[number % 2]
        environment.configure(image=references[name])
        folder = tmp_path / str(number)
        folder.mkdir()
        with Load(environment, folder) as load:
            up = environment.up("--no-probe")
        assert environment.version()["release"] == ground.releases.name_of(name)
        done.append({"up_seconds": round(up.said.seconds, 1), "slowest_seconds": up.slowest, **load.result})
    failed = sum(one["failed"] for one in done)
    keep(
        "2 new release",
        {
            "rounds": rounds,
            "requests": sum(one["requests"] for one in done),
            "new_connections": sum(one["new_connections"] for one in done),
            "failed": failed,
            "up_limit_seconds": RELEASE_SECONDS,
            "slowest_up_seconds": max(one["up_seconds"] for one in done),
            "each": done,
        },
    )
    assert failed == 0, [one["failures"] for one in done]


def test_up_counts_by_itself_and_keeps_it_in_the_record(environment: Environment, ground: Ground) -> None:
    environment.configure(image=ground.releases.reference("second"))
    up = environment.up()
    assert up.probe is not None
    keep("2 probe of the record", up.probe)
    assert up.probe["failed"] == 0
    assert up.probe["requests"] > 500

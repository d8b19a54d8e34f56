"""Proof 3: a migration that fails leaves schema and release as they were; the corrected one goes through."""

from pathlib import Path

from tests.deploy.docker import sources
from tests.deploy.docker.figures import keep
from tests.deploy.docker.ground import Environment, Ground
from tests.deploy.docker.load import Load


def test_a_failing_migration_leaves_the_old_release_serving(
    environment: Environment, ground: Ground, tmp_path: Path
) -> None:
    before = environment.version()
    environment.configure(image=ground.releases.reference("failing revision", sources.failing_revision))
    (tmp_path / "failing").mkdir()
    with Load(environment, tmp_path / "failing") as load:
        failed = environment.verb("up", "--no-load", "--no-probe")
        again = environment.verb("up", "--no-load", "--no-probe")
    after = environment.version()
    half_made = environment.query("SELECT count(*) FROM pg_tables WHERE tablename = 'half_made'")
    state = environment.status()
    environment.configure(image=ground.releases.reference("good revision", sources.good_revision))
    (tmp_path / "fixed").mkdir()
    with Load(environment, tmp_path / "fixed") as fixed_load:
        fixed = environment.up("--no-probe")
    keep(
        "3 failing migration",
        {
            "failed_up_seconds": round(failed.seconds, 1),
            "said": failed.errors.strip().splitlines()[-1],
            "diagnostics": failed.text.splitlines(),
            "failed_requests": load.result["failed"],
            "requests": load.result["requests"],
            "half_made_tables": int(half_made),
            "fixed_up_seconds": round(fixed.said.seconds, 1),
            "fixed_failed_requests": fixed_load.result["failed"],
            "fixed_requests": fixed_load.result["requests"],
        },
    )
    for said in (failed, again):
        assert said.code == 1, said.text
        assert "migration" in said.errors.splitlines()[-1]
        assert "division by zero" in said.text
        assert "9001" in said.text
        assert "Traceback" not in said.text
    assert load.result["failed"] == 0, load.result
    assert (after["release"], after["schema"]) == (before["release"], before["schema"])
    assert half_made == "0"
    assert state["serving"] is True
    assert state["last_deploy"]["outcome"] == "failed"
    assert environment.version()["schema"]["database"] == "9001"
    assert environment.version()["release"] == ground.releases.name_of("good revision")
    assert fixed_load.result["failed"] == 0, fixed_load.result

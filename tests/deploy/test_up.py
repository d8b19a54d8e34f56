"""`slipway up` and its sisters, from outside: what they leave behind when all goes well and when it does not."""

import json
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.embedded.api import Api, Plan
from infra.embedded.cache import Cache
from infra.embedded.database import Database
from infra.embedded.processes import ProcessError
from tests.deploy.conftest import Operator, Visitors, signal_at, wait_for
from tests.ports import unused_port

FAILING_REVISION = '''"""A migration that fails half-way."""

from alembic import op

revision = "9001"
down_revision = "{head}"
accepts_from = "{head}"


def upgrade() -> None:
    """Half of it works."""
    op.execute("CREATE TABLE half_made (id integer)")
    op.execute("SELECT 1 / 0")
'''


def add_failing_revision(operator: Operator) -> Path:
    versions = operator.project / "service" / "migrations" / "versions"
    head = max(path.name[:4] for path in versions.glob("[0-9]*.py"))
    path = versions / "9001_fails.py"
    path.write_text(FAILING_REVISION.format(head=head))
    return path


# What steers libpq, asyncpg, gunicorn, the service and httpx, when they are asked.
STEERING = {
    "PGSERVICE": "nosuch",
    "PGSSLMODE": "require",
    "PGTARGETSESSIONATTRS": "standby",
    "PGPORT": "6666",
    "PGUSER": "nobody",
    "GUNICORN_CMD_ARGS": "--bind 127.0.0.1:9 --workers 7",
    "SLIPWAY_DATABASE_URL": "nonsense",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
}


def test_a_first_deploy_in_a_shell_that_would_steer_it_serves_and_clean_removes_everything(operator: Operator) -> None:
    code, output = operator.run("up", "--no-load", **STEERING)
    assert code == 0, output
    state = operator.status()
    assert state["serving"] is True
    assert state["workers"] == 2
    assert {part["state"] for part in state["parts"].values()} == {"ready"}
    assert state["url"] in output
    assert f"{state['url']}/docs" in output
    outcome = operator.outcome()
    assert outcome["outcome"] == "passed"
    assert outcome["release"] == state["release"]
    assert [step["name"] for step in outcome["steps"]] == ["release", "provision", "migrate", "serve", "smoke"]
    record = Path(state["last_deploy"]["record"])
    assert all(check["passed"] for check in json.loads((record / "smoke.json").read_text()))
    assert json.loads((record / "migration.json").read_text())["to"] == state["schema"]
    assert json.loads((record / "release.json").read_text())["release"] == state["release"]
    assert operator.run("clean", "--yes")[0] == 0
    assert operator.processes() == []
    assert not operator.layout.home.exists()


def test_a_second_deploy_of_the_same_source_changes_nothing(running: Operator) -> None:
    running.up()
    before = running.status()
    assert "nothing to apply" in (output := running.up())
    assert "unchanged on" in output
    after = running.status()
    assert after["parts"] == before["parts"]
    assert after["release"] == before["release"]


def test_down_loses_nothing_and_up_brings_it_back(running: Operator) -> None:
    running.run("down")
    running.up("--port", str(unused_port()))  # which no neighbour in these tests takes in between
    url = running.status()["url"]
    body = {"email": "keeper@example.com", "password": "a long enough password"}
    assert httpx.post(f"{url}/api/v1/auth/register", json=body).status_code == 201
    assert running.run("down")[0] == 0
    assert running.processes() == []
    running.up()
    state = running.status()
    assert state["url"] == url
    form = {"username": body["email"], "password": body["password"]}
    assert httpx.post(f"{state['url']}/api/v1/auth/login", data=form).status_code == 200


def test_a_new_release_takes_over_without_a_failed_request(running: Operator) -> None:
    before = running.status()
    with Visitors(before["url"]) as visitors:
        for _ in range(2):
            running.change()
            running.up()
    after = running.status()
    assert visitors.failures == []
    assert visitors.answers > 100
    assert after["release"] != before["release"]
    assert after["url"] == before["url"]
    assert len(Api(running.layout).masters()) == 1


def test_a_failing_migration_leaves_the_old_release_serving(operator: Operator) -> None:
    running = operator
    running.up()
    before = running.status()
    revision = add_failing_revision(running)
    with Visitors(before["url"]) as visitors:
        code, output = running.run("up", "--no-load")
    assert code == 1
    assert "slipway: migrate failed:" in output
    assert "division by zero" in output
    assert visitors.failures == []
    assert running.outcome()["outcome"] == "failed"
    assert running.outcome()["failed_step"] == "migrate"
    assert "division by zero" in running.outcome()["reason"]
    after = running.status()
    assert after["parts"] == before["parts"]
    assert after["schema"] == before["schema"], "nothing half-applied"
    assert after["last_deploy"]["outcome"] == "failed"
    revision.write_text(revision.read_text().replace("SELECT 1 / 0", "SELECT 1"))
    running.up()
    assert running.status()["schema"] == "9001"


def test_a_failing_smoke_check_leaves_the_old_release_serving(running: Operator) -> None:
    before = running.status()
    # Readiness still passes: only a visitor would notice.
    running.replace("service/tasks/routes.py", "status_code=204", "status_code=202")
    with Visitors(before["url"]) as visitors:
        code, output = running.run("up", "--no-load")
    assert code == 1
    assert "smoke check failed: delete it" in output
    assert visitors.failures == []
    assert running.outcome()["outcome"] == "failed"
    assert "delete it" in running.outcome()["reason"]
    assert running.status()["parts"] == before["parts"]
    assert Api(running.layout, "candidate").processes() == []


def test_a_release_that_cannot_start_leaves_the_old_one_serving(running: Operator) -> None:
    before = running.status()
    running.change("service/main.py", '\nraise RuntimeError("broken at import")\n')
    code, output = running.run("up", "--no-load")
    assert code == 1
    assert "the API did not start" in output
    assert "broken at import" in output
    assert running.status()["parts"] == before["parts"]


def test_what_up_repaired_stays_when_the_new_release_fails(running: Operator) -> None:
    database, cache = Database(running.layout), Cache(running.layout)
    for process in (database.process(), cache.process()):
        assert process is not None
        process.kill()
    running.change("service/main.py", '\nraise RuntimeError("broken at import")\n')
    code, _ = running.run("up", "--no-load")
    assert code == 1
    state = running.status()
    assert state["serving"] is True
    assert {part["state"] for part in state["parts"].values()} == {"ready"}


def test_a_lost_snapshot_does_not_keep_the_next_release_from_taking_over(running: Operator) -> None:
    url = running.status()["url"]
    running.change()
    shutil.rmtree(running.layout.releases)
    with Visitors(url) as visitors:
        running.up()
    assert visitors.failures == []


def test_a_first_deploy_that_fails_leaves_nothing_running(operator: Operator) -> None:
    add_failing_revision(operator)
    code, _ = operator.run("up", "--no-load")
    assert code == 1
    assert operator.processes() == []
    assert operator.outcome()["failed_step"] == "migrate"


@pytest.mark.parametrize("part", ["postgres", "master", "worker", "everything"])
def test_after_kill_9_of_a_process_up_repairs_it(running: Operator, part: str) -> None:
    database, cache, api = Database(running.layout), Cache(running.layout), Api(running.layout)
    victims: dict[str, list[Any]] = {
        "postgres": [database.process()],
        "master": [*api.masters()],
        "worker": [*(set(api.processes()) - set(api.masters()))][:1],
        "everything": [database.process(), cache.process(), *api.processes()],
    }
    for process in victims[part]:
        if process is not None:
            process.kill()
    running.up()
    state = running.status()
    assert state["serving"] is True
    assert {one["state"] for one in state["parts"].values()} == {"ready"}
    assert len(api.masters()) == 1


@pytest.mark.parametrize("step", ["provision", "migrate", "serve"])
def test_kill_9_of_a_first_up_after_any_step_and_up_again(operator: Operator, step: str) -> None:
    child = operator.start("up", "--no-load")
    signal_at(child, step, signal.SIGKILL)
    operator.up()
    state = operator.status()
    assert state["serving"] is True, state
    assert len(Api(operator.layout).masters()) == 1


@pytest.mark.parametrize("moment", ["a candidate is proved beside", "two masters serve"])
def test_kill_9_of_an_up_that_replaces_a_release(running: Operator, moment: str) -> None:
    url = running.status()["url"]
    api, candidate = Api(running.layout), Api(running.layout, "candidate")
    running.change()
    child = running.start("up", "--no-load")
    with Visitors(url) as visitors:
        wait_for(lambda: bool(candidate.masters() if "beside" in moment else api.masters()[1:]))
        child.kill()
        child.communicate()
        running.up()
    assert visitors.failures == []
    assert len(api.masters()) == 1
    assert candidate.processes() == []


@pytest.mark.parametrize("step", ["provision", "migrate"])
def test_ctrl_c_during_a_first_up_leaves_nothing_running(operator: Operator, step: str) -> None:
    child = operator.start("up", "--no-load")
    output = signal_at(child, step, signal.SIGINT)
    assert child.returncode == 130, output
    assert "interrupted; run it again to go on" in output
    assert "Traceback" not in output
    wait_for(lambda: operator.processes() == [])


def test_sigterm_is_143_and_the_old_release_serves_on(running: Operator) -> None:
    before = running.status()
    running.change()
    child = running.start("up", "--no-load")
    output = signal_at(child, "migrate", signal.SIGTERM)
    assert child.returncode == 143, output
    assert running.status()["parts"] == before["parts"]
    assert Api(running.layout, "candidate").processes() == []
    assert running.outcome()["outcome"] == "interrupted"


def test_two_at_once_the_second_is_refused_and_told_of_the_first(running: Operator) -> None:
    running.change()
    first = running.start("up", "--no-load")
    assert first.stdout is not None
    first.stdout.readline()
    code, output = running.run("up", "--no-load")
    assert code == 1
    assert f"`slipway up` (pid {first.pid}" in output
    first.communicate(timeout=60)
    assert first.returncode == 0


def test_a_taken_port_is_told_and_another_one_costs_a_moment(running: Operator) -> None:
    assert running.run("down")[0] == 0
    port, other = unused_port(), unused_port()
    with socket.create_server(("127.0.0.1", port)):
        code, output = running.run("up", "--no-load", "--port", str(port))
        assert code == 1
        assert f"port {port} is taken by another program" in output
    running.up("--port", str(port))
    assert running.status()["url"].endswith(f":{port}")
    # Moving to another port is a moment without service, and it says so.
    assert "the API stops for a moment" in running.up("--port", str(other))
    assert running.status()["url"].endswith(f":{other}")


def test_a_port_that_another_service_has_is_never_taken_for_ours(running: Operator) -> None:
    """Two environments may look for a free port at the same time; the other's answers must not pass for ours."""
    taken = running.status()["url"].removeprefix("http://")
    second = Api(running.layout, "second")
    snapshot = running.layout.releases / running.status()["release"]
    with pytest.raises(ProcessError, match="did not start"):
        second.start(Plan(snapshot, taken, workers=1))
    assert second.processes() == []
    assert running.status()["serving"] is True


def test_a_changed_number_of_workers_changes_just_that(running: Operator) -> None:
    before = running.status()
    with Visitors(before["url"]) as visitors:
        running.up("--workers", "3")
    after = running.status()
    assert visitors.failures == []
    assert after["workers"] == 3
    assert after["parts"]["database"] == before["parts"]["database"]


def test_a_folder_that_cannot_be_written_is_told(operator: Operator) -> None:
    (operator.project / ".slipway").write_text("in the way")
    code, output = operator.run("up", "--no-load")
    assert code == 2
    assert output.count("\n") == 1
    assert ".slipway" in output


def test_no_secret_is_in_any_log_record_or_output(running: Operator) -> None:
    running.change()
    output = running.up()
    values = [path.read_text() for path in (running.layout.home / "secrets" / "values").iterdir()]
    values.append(json.loads(next(value for value in values if value.startswith("{")))["keys"][0]["key"])
    places = [output, subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout]
    for folder in (running.layout.logs, running.layout.records):
        places += [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]
    assert not [place for place in places if any(value in place for value in values)]

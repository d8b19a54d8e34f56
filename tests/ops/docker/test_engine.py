"""Runs of a real engine on a real state: what a second operator, a kill and a failing program leave."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from ops import cli
from ops.errors import CheckFailedError, UsageError
from ops.lock import LockedError
from ops.pulumi_engine.engine import Engine
from ops.pulumi_engine.pending import nothing_pending
from ops.pulumi_engine.progress import Progress
from ops.steps import Steps
from ops.verbs.docker.init import init
from tests.ops.pulumi_projects import PulumiProject, needs_pulumi

pytestmark = [needs_pulumi, pytest.mark.timeout(180)]
UP = """
import sys; from pathlib import Path; from rich.console import Console
from infra.embedded.layout import Layout; from ops.steps import Steps; from ops.pulumi_engine.engine import Engine
steps = Steps(Console())
with steps.step('deploy') as step:
    Engine(Layout(Path(sys.argv[1]), 'dev')).up(steps, step, 'test')
"""


@pytest.fixture
def ready(pulumi_project: PulumiProject) -> PulumiProject:
    init(pulumi_project.layout, Steps(Console(file=io.StringIO())))
    return pulumi_project


def up(project: PulumiProject) -> tuple[Progress, str]:
    output = io.StringIO()
    steps = Steps(Console(file=output, width=200))
    with steps.step("deploy") as step:
        progress = Engine(project.layout).up(steps, step, "test")
    return progress, output.getvalue()


@contextlib.contextmanager
def up_under_way(project: PulumiProject) -> Iterator[tuple["subprocess.Popen[bytes]", psutil.Process]]:
    """An `up` of another process, in the midst of its job; and the CLI that it runs."""
    with subprocess.Popen(
        [sys.executable, "-c", UP, str(project.layout.project)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as child:
        try:
            engine = Engine(project.layout)
            folder = engine.access.folder
            assert folder is not None
            deadline = time.monotonic() + 60
            while not engine.holders() or nothing_pending(folder, "slipway", "dev"):  # until the job has begun
                assert child.poll() is None, child.stdout.read().decode() if child.stdout else ""
                assert time.monotonic() < deadline
                time.sleep(0.1)
            holder = (engine.holders() or [])[0]
            yield child, psutil.Process(holder.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


def test_an_up_shows_its_changes_and_a_second_one_has_none(ready: PulumiProject) -> None:
    progress, told = up(ready)
    assert "  + job" in told
    assert progress.outputs == {"release": "1-abc"}  # and not the password
    assert progress.change_count > 0
    progress, told = up(ready)
    assert progress.change_count == 0
    assert "deploy" in told.splitlines()[0]  # its closing line, and no other
    assert (ready.layout.home / "passphrase").exists()


def test_what_fails_tells_its_last_lines_and_the_next_up_tries_again(ready: PulumiProject) -> None:
    ready.behave(fails=True)
    output = io.StringIO()
    steps = Steps(Console(file=output, width=200))
    for _ in range(2):
        with (
            pytest.raises(CheckFailedError, match=r"^job: the migration job failed") as raised,
            steps.step("x") as step,
        ):
            Engine(ready.layout).up(steps, step, "test")
        assert str(raised.value).endswith("its last lines: no such column")
        assert "\n" not in str(raised.value)
    assert "ALTER TABLE task" in output.getvalue()
    assert "Traceback" not in output.getvalue()
    assert "KeyboardInterrupt" not in output.getvalue()
    ready.behave()
    assert up(ready)[0].change_count > 0


def test_a_refused_configuration_is_wrong_usage(ready: PulumiProject) -> None:
    ready.behave(refuses="slipway:api.replicas: too many")
    with pytest.raises(UsageError, match=r"^slipway:api\.replicas: too many$"):
        up(ready)


def test_a_stack_that_nobody_made_is_told(pulumi_project: PulumiProject) -> None:
    from ops.pulumi_engine.access import prepare

    prepare(pulumi_project.layout)
    with pytest.raises(UsageError, match=r"there is no stack dev in file://.*slipway init dev"):
        up(pulumi_project)


def test_the_second_operator_is_told_who_is_first_and_cannot_take_his_lock(
    ready: PulumiProject, capsys: pytest.CaptureFixture[str]
) -> None:
    ready.behave(seconds=15)
    with up_under_way(ready) as (_, engine):
        told = rf"^dev is being changed by \S+@\S+ \(pid {engine.pid}, since 20\S+Z\): wait"
        with pytest.raises(LockedError, match=told):
            up(ready)
        assert cli.run(["unlock", "dev", "--yes", "--project", str(ready.layout.project)]) == 1
        assert f"pid {engine.pid}" in capsys.readouterr().err
        engine.kill()


def test_after_a_kill_of_everything_the_next_up_goes_on(ready: PulumiProject) -> None:
    ready.behave(seconds=30)
    with up_under_way(ready) as (child, engine):
        os.killpg(child.pid, signal.SIGKILL)
        engine.kill()
        engine.wait(10)
    ready.behave()
    _, told = up(ready)
    assert "is stale, since that died: cleared" in told
    assert "an up was killed in the midst of creating job: begun anew" in told
    assert up(ready)[0].change_count == 0


def test_after_a_kill_a_stale_lock_can_be_cleared_by_hand(
    ready: PulumiProject, capsys: pytest.CaptureFixture[str]
) -> None:
    ready.behave(seconds=30)
    with up_under_way(ready) as (child, engine):
        os.killpg(child.pid, signal.SIGKILL)
        engine.kill()
        engine.wait(10)
    project = str(ready.layout.project)
    assert cli.run(["unlock", "dev", "--project", project]) == 0
    assert f"(pid {engine.pid}, since" in capsys.readouterr().out
    assert cli.run(["unlock", "dev", "--project", project]) == 0
    assert capsys.readouterr().out == "dev is not locked\n"


def test_when_we_are_killed_the_engine_ends_too_and_lets_go_of_its_lock(ready: PulumiProject) -> None:
    ready.behave(seconds=5)
    with up_under_way(ready) as (child, engine):
        child.kill()
        engine.wait(30)
    assert Engine(ready.layout).holders() == []
    ready.behave()
    _, told = up(ready)
    assert "stale" not in told
    assert up(ready)[0].change_count == 0


def test_a_lock_of_another_machine_needs_a_word(ready: PulumiProject, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(Engine(ready.layout).access.folder or "") / "locks" / "organization" / "slipway" / "dev"
    folder.mkdir(parents=True, exist_ok=True)
    content = {"pid": 1, "username": "anna", "hostname": "away.invalid", "timestamp": "2026-11-21T08:31:40Z"}
    (folder / "5f2b1a6e-0000-4000-8000-000000000000.json").write_text(json.dumps(content))
    project = str(ready.layout.project)
    with pytest.raises(LockedError, match=r"anna@away\.invalid"):
        up(ready)
    assert cli.run(["unlock", "dev", "--project", project]) == 1
    assert "anna@away.invalid" in capsys.readouterr().err
    assert cli.run(["unlock", "dev", "--yes", "--project", project]) == 0
    assert up(ready)[0].change_count > 0


def test_down_removes_everything_and_asks_first(ready: PulumiProject, capsys: pytest.CaptureFixture[str]) -> None:
    up(ready)
    project = str(ready.layout.project)
    assert cli.run(["down", "dev", "--project", project]) == 2
    assert "--yes" in capsys.readouterr().err
    assert cli.run(["down", "dev", "--yes", "--project", project]) == 0
    assert "resources removed" in capsys.readouterr().out
    assert cli.run(["down", "dev", "--yes", "--project", project]) == 0
    assert "dev was not up" in capsys.readouterr().out
    assert up(ready)[0].change_count > 0


def test_production_goes_down_by_its_name_only(ready: PulumiProject, capsys: pytest.CaptureFixture[str]) -> None:
    ready.stack_file.write_text(ready.stack_file.read_text().replace("config:", "config:\n  slipway:kind: production"))
    up(ready)
    project = str(ready.layout.project)
    assert cli.run(["down", "dev", "--yes", "--project", project]) == 2
    assert cli.run(["down", "dev", "--confirm", "prod", "--project", project]) == 2
    assert "that is not its name" in capsys.readouterr().err
    assert cli.run(["down", "dev", "--confirm", "dev", "--project", project]) == 0


def test_a_preview_changes_nothing(ready: PulumiProject, capsys: pytest.CaptureFixture[str]) -> None:
    project = str(ready.layout.project)
    for _ in range(2):
        assert cli.run(["preview", "dev", "--json", "--project", project]) == 0
        told = json.loads(capsys.readouterr().out)
        assert [entry["resource"] for entry in told["resources"]] == ["job"]
    up(ready)
    assert cli.run(["preview", "dev", "--project", project]) == 0
    assert capsys.readouterr().out.endswith("no changes\n")

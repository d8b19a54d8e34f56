from datetime import UTC, datetime

import pytest

from ops import cli
from ops.errors import UsageError
from ops.verbs.docker.logs import labelled, moment
from tests.ops.docker.engines import engine, service
from tests.ops.docker.test_doctor import STACK
from tests.ops.pulumi_projects import PulumiProject

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DETAILS = "com.docker.swarm.node.id=n1,com.docker.swarm.service.id=s1,com.docker.swarm.task.id=t1"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("10m", "2026-11-21T11:50:00+00:00"),
        ("2h", "2026-11-21T10:00:00+00:00"),
        ("3d", "2026-11-18T12:00:00+00:00"),
        ("30s", "2026-11-21T11:59:30+00:00"),
        ("2026-11-21T08:00:00Z", "2026-11-21T08:00:00+00:00"),
        ("2026-11-21T08:00:00", "2026-11-21T08:00:00+00:00"),
        ("2026-11-21T08:00:00+02:00", "2026-11-21T08:00:00+02:00"),
    ],
)
def test_times_are_read(text: str, meant: str) -> None:
    assert moment(text, NOW).isoformat() == meant


@pytest.mark.parametrize("text", ["soon", "10", "m", "-5m"])
def test_no_time_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="give one such as 10m"):
        moment(text, NOW)


def test_a_line_names_its_replica() -> None:
    assert labelled(f"{DETAILS} hello world", {"t1": "api.2"}, "api") == "api.2 | hello world"
    assert labelled(f"{DETAILS} hello", {}, "api") == "api | hello"
    assert labelled("no details", {}, "api") == "api | no details"


def test_a_part_that_is_not_there_tells_which_are(
    pulumi_project: PulumiProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pulumi_project.stack_file.write_text(STACK)
    with engine({"/services": [service("api", 1), service("edge", 1)]}) as (address, _):
        monkeypatch.setenv("DOCKER_HOST", address)
        assert cli.run(["logs", "dev", "apy", "--project", str(pulumi_project.layout.project)]) == 2
    assert capsys.readouterr().err == "slipway: dev has no part 'apy' running: there is api, edge\n"

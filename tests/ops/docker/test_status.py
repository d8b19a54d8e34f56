import json
from collections.abc import Iterator
from typing import Any

import pytest

from ops import cli
from ops.lines import docker_status_lines
from ops.verbs.docker.status import status
from tests.ops.docker.engines import Engine, engine, node, service, task
from tests.ops.docker.test_doctor import STACK
from tests.ops.pulumi_projects import PulumiProject

ROLLED_BACK = {"State": "rollback_completed", "Message": "rollback completed"}


@pytest.fixture
def swarm(pulumi_project: PulumiProject, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Two machines; of three replicas one could not be placed, and the last update of the cache was rolled back."""
    pulumi_project.stack_file.write_text(STACK + "  slipway:edge:\n    domain: localhost\n    httpsPort: 9\n")
    tasks = [
        task("api", 1, "n1"),
        task("api", 2, "n2"),
        task("api", 2, "n1", "shutdown", "shutdown"),
        task("api", 3, "", "pending", error="no suitable node (insufficient resources on 2 nodes)"),
        task("cache", 1, "n1"),
    ]
    services = [service("api", 3), service("cache", 1, UpdateStatus=ROLLED_BACK)]
    answers: dict[str, Any] = {"/services": services, "/tasks": tasks, "/nodes": [node("n1"), node("n2", "worker")]}
    answers |= {"/services/api": services[0], "/services/cache": services[1]}
    with engine(answers) as (address, told):
        monkeypatch.setenv("DOCKER_HOST", address)
        yield told


def test_replicas_wanted_running_and_where(swarm: Engine, pulumi_project: PulumiProject) -> None:
    state = status(pulumi_project.layout)
    api = state["parts"]["api"]
    assert (api["wanted"], api["running"], api["nodes"]) == (3, 2, ["n1", "n2"])
    assert api["since"] == "2026-11-21T08:00:00Z"
    assert api["trouble"] == "no suitable node (insufficient resources on 2 nodes)"
    assert state["parts"]["cache"]["trouble"] == "rollback completed: rollback completed"
    assert state["nodes"] == {"n1": "manager ready", "n2": "worker ready"}
    assert state["uptime"] is None
    lines = docker_status_lines(state)
    assert "  api               2 of 3 running on n1, n2, since 2026-11-21T08:00:00Z" in lines
    assert "  nodes: n1 (manager ready), n2 (worker ready)" in lines


def test_what_does_not_serve_is_4(
    swarm: Engine, pulumi_project: PulumiProject, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["status", "dev", "--project", str(pulumi_project.layout.project)]
    assert cli.run([*words, "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["serving"] is False
    swarm.answers["/services"] = []
    assert cli.run(words) == 4
    assert "nothing runs" in capsys.readouterr().out


def test_without_docker_it_is_4(
    pulumi_project: PulumiProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pulumi_project.stack_file.write_text(STACK)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    assert cli.run(["status", "dev", "--project", str(pulumi_project.layout.project)]) == 4
    assert capsys.readouterr().err.startswith("slipway: Docker does not answer at tcp://127.0.0.1:9 (nothing listens")


def state(**changes: Any) -> dict[str, Any]:
    uptime = {
        "ready_share": {"day": 0.99987, "week": 1.0},
        "observed_seconds": {"day": 86_400.0, "week": 200_000.0},
        "failed_share": {},
        "budget_share": 0.001,
        "certificate_seconds": 5 * 86_400.0,
        "replicas": 2,
        "releases": {},
        "latency_p95_seconds": 0.01,
        "backup_age_seconds": 7_300.0,
        "alerts": (),
        "budget_left": 0.87,
    }
    return {
        "environment": "staging",
        "target": "docker",
        "release": "1-abc",
        "schema": "0002",
        "url": "https://x",
        "parts": {},
        "nodes": {"n1": "manager ready"},
        "uptime": uptime | changes,
        "last_deploy": {"outcome": "failed", "reason": "smoke", "record": "/r"},
    }


def test_uptime_alerts_and_certificate_are_told() -> None:
    lines = docker_status_lines(state())
    assert lines[0] == "staging (docker): release 1-abc, schema 0002, https://x"
    assert "  uptime day 99.987% (of 24 hours), week 100.000% (of 2 days)" in lines
    assert "  87% of the month's error budget is left" in lines
    assert "  certificate valid for 5.0 more days" in lines
    assert "  last good backup 2 hours ago" in lines
    assert "  no open alerts" in lines
    assert lines[-1] == "  last deploy failed: smoke (/r)"
    since = "2026-11-21T09:23:57.765324443Z"
    alert = {"name": "A", "severity": "page", "state": "firing", "since": since, "summary": "down", "remedy": "see"}
    lines = docker_status_lines(state(alerts=(alert,)))
    assert "  firing alert A since 2026-11-21T09:23:57Z: down" in lines
    assert "    → see" in lines
    assert "  no open alerts" not in lines


def test_an_overspent_budget_is_told() -> None:
    lines = docker_status_lines(state(budget_left=-1.5))
    assert "  the month's error budget is overspent: 2.5 times what the objective allows" in lines


def test_a_prometheus_without_figures_or_answer_is_told() -> None:
    nothing = dict.fromkeys(("certificate_seconds", "backup_age_seconds", "budget_left"))
    assert "  uptime: no measurement yet" in docker_status_lines(state(ready_share={}, **nothing))
    assert "  uptime unknown: gone" in docker_status_lines(state(problem="gone"))

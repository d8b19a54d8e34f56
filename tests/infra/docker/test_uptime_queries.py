"""What `slipway status` asks Prometheus, and what it makes of the answer."""

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest
import yaml

from infra.docker.uptime_queries import WINDOWS, AnswerError, command, queries, query, read


def answer(data: Any, status: str = "success") -> str:
    return json.dumps({"status": status, "data": data})


def figures(**values: float) -> str:
    result = [
        {"metric": {"figure": name.replace("__", " ")}, "value": [1, str(value)]} for name, value in values.items()
    ]
    return answer({"resultType": "vector", "result": result})


ALERTS = answer(
    {
        "alerts": [
            {
                "labels": {"alertname": name, "severity": severity},
                "annotations": {"summary": "what", "remedy": "do"},
                "state": state,
                "activeAt": "2026-11-21T09:00:00Z",
                "value": "1",
            }
            for name, severity, state in (
                ("Slow", "ticket", "firing"),
                ("Soon", "page", "pending"),
                ("Down", "page", "firing"),
            )
        ]
    }
)


def test_reads_what_wget_prints_of_two_answers() -> None:
    found = read(
        figures(
            ready_share__day=0.999, observed_seconds__day=86400, failed_share__day=0.0005,
            budget_share=0.001, certificate_seconds=864000, replicas=2, backup_age_seconds=60,
        )
        + ALERTS
    )  # fmt: skip
    assert found.ready_share == {"day": 0.999}
    assert found.observed_seconds == {"day": 86400}
    assert found.certificate_seconds == 864000
    assert found.replicas == 2
    assert found.latency_p95_seconds is None
    assert [alert.name for alert in found.alerts] == ["Down", "Slow", "Soon"]
    assert found.alerts[0].since == "2026-11-21T09:00:00Z"


def test_the_budget_is_spent_by_whatever_is_worse() -> None:
    spent = figures(ready_share__month=0.9995, failed_share__month=0.0002, budget_share=0.001)
    assert read(spent + ALERTS).budget_left() == pytest.approx(0.5)
    overspent = figures(ready_share__month=1, failed_share__month=0.002, budget_share=0.001)
    assert read(overspent + ALERTS).budget_left() == pytest.approx(-1)
    assert read(figures(budget_share=0.001) + ALERTS).budget_left() is None


def test_prometheus_that_knows_nothing_yet() -> None:
    found = read(figures() + "\n" + answer({"alerts": []}) + "\n")
    assert found.ready_share == {}
    assert found.replicas is None
    assert found.releases == {}
    assert found.alerts == ()


@pytest.mark.parametrize(
    "output",
    ["", "wget: server returned error: HTTP/1.1 503", figures(), "{}{}", answer({}, "error") + ALERTS, "[]" + ALERTS],
)
def test_what_is_no_answer(output: str) -> None:
    with pytest.raises(AnswerError) as error:
        read(output)
    assert "\n" not in str(error.value)


def test_the_command_asks_on_loopback_for_figures_and_alerts() -> None:
    program, *_, first, second = command()
    assert program == "wget"
    assert parse_qs(urlsplit(first).query) == {"query": [query()]}
    assert second == "http://127.0.0.1:9090/api/v1/alerts"


def test_a_figure_for_each_window() -> None:
    assert {
        f"{name} {window}" for name in ("ready_share", "observed_seconds") for window in WINDOWS
    } <= queries().keys()


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus, of Debian's package prometheus")
def test_a_real_prometheus_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    record = [
        {"record": "probe_success", "labels": {"job": "probe", "check": "ready"}, "expr": "vector(1)"},
        {"record": "slipway_release_workers", "labels": {"job": "api", "release": "1.2"}, "expr": "vector(4)"},
        {
            "alert": "Always",
            "expr": "vector(1)",
            "labels": {"severity": "page"},
            "annotations": {"summary": "what", "remedy": "do"},
        },
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "x", "rules": record}]}))
    (tmp_path / "prometheus.yml").write_text("global: {evaluation_interval: 1s}\nrule_files: [rules.yml]\n")
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                said = "".join(
                    urlopen(url.replace(":9090/", f":{port}/"), timeout=5).read().decode() for url in command()[-2:]
                )
                found = read(said)
            except OSError:
                found = None
            if found is not None and found.alerts and found.ready_share:
                break
            assert time.monotonic() < deadline
            time.sleep(0.3)
    finally:
        process.terminate()
        process.wait()
    assert found.ready_share == {"day": 1, "week": 1, "month": 1}
    assert found.releases == {"1.2": 4}
    assert found.alerts[0].name == "Always"
    assert found.failed_share == {}

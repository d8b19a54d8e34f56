"""The dashboard asks for what there is, in words that Prometheus understands."""

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml
from prometheus_client import Counter, Histogram

from infra.docker.uptime_dashboard import dashboard, expressions
from infra.docker.uptime_queries import queries
from infra.docker.uptime_rules import Objectives, Watched, rules
from service import metrics

BOARD = dashboard("staging")
OF_THE_EXPORTERS = {
    *("up", "ALERTS"),
    *("probe_success", "probe_ssl_earliest_cert_expiry", "probe_http_duration_seconds"),
    *("pg_up", "pg_stat_database_numbackends", "pg_settings_max_connections", "pg_database_size_bytes"),
    "pg_stat_archiver_failed_count",
    "alertmanager_notifications_failed_total",
}
OF_THE_BACKUP = set(
    re.findall(r"figure (\w+) ", (Path(__file__).parents[3] / "infra/docker/files/backup.sh").read_text())
)
WORDS = {
    *("sum", "min", "max", "avg", "count", "rate", "increase", "by", "on", "or", "and", "unless", "offset", "time"),
    *("histogram_quantile", "clamp_min", "avg_over_time", "sum_over_time", "count_over_time", "vector", "absent"),
    *("group_left", "label_replace"),
}


@cache
def known() -> set[str]:
    """Every series that the API, its exporters, the backup and our own rules make."""
    found = OF_THE_EXPORTERS | {f"slipway_backup_{name}" for name in OF_THE_BACKUP}
    for collector in set(metrics._REGISTRY._collector_to_names):
        name = collector._name  # type: ignore[attr-defined]
        if isinstance(collector, Counter):
            found.add(f"{name}_total")
        elif isinstance(collector, Histogram):
            found |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"}
        else:
            found.add(name)
    groups = yaml.safe_load(rules(Watched(Objectives(), 2, backup_hours=6)))["groups"]
    return found | {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}


def named(expression: str) -> set[str]:
    """The series that an expression names."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\b(by|on|without)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    return {
        word
        for word in re.findall(r"[a-zA-Z_][\w:]*", bare)
        if word not in WORDS and not re.fullmatch(r"\d*[smhdw]", word)
    }


def test_every_series_of_the_dashboard_exists() -> None:
    for expression in expressions(BOARD):
        assert named(expression), expression
        assert named(expression) <= known(), expression


def test_every_series_that_status_asks_for_exists() -> None:
    for expression in queries().values():
        assert named(expression) <= known(), expression


def test_every_series_of_the_rules_exists() -> None:
    groups = yaml.safe_load(rules(Watched(Objectives(), 2, backup_hours=6)))["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        assert named(rule["expr"]) <= known(), rule["expr"]


def test_a_series_that_does_not_exist_is_noticed() -> None:
    assert named('sum by (route) (rate(slipway_http_request_total{job="api"}[5m])) or vector(0)') == {
        "slipway_http_request_total"
    }
    assert not named("slipway_http_request_total") <= known()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus")
def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    asked = [expression.replace("$__rate_interval", "5m") for expression in expressions(BOARD)]
    group = [{"record": f"dashboard:{number}", "expr": expression} for number, expression in enumerate(asked)]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": group}]}))
    done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_fill_the_rows_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(BOARD)["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_it_shows_what_an_operator_looks_for() -> None:
    board = json.loads(BOARD)
    titles = " ".join(panel["title"] for panel in board["panels"])
    for word in ("Availability", "Burn rate", "Latency", "p95 by route", "errors", "Waiting", "Certificate", "backup"):
        assert word in titles
    assert [annotation["name"] for annotation in board["annotations"]["list"]] == ["Deploys"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])

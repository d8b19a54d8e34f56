"""The Grafana dashboard of an environment, composed: availability, burn rate, latency, errors, saturation, deploys."""

import json
from typing import Any, Final

from infra.docker.uptime_rules import BURNS

UID: Final = "slipway"
_SOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
_API: Final = 'job="api",route=~"/api/.*"'
_RATE: Final = "$__rate_interval"
_DURATIONS: Final = "slipway_http_request_duration_seconds_bucket"
_COLUMNS: Final = 24

Panel = dict[str, Any]


def dashboard(environment: str) -> str:
    """Compose the dashboard's JSON."""
    rows = (_overview(), _objectives(), _latency(), _traffic(), _saturation(), _outside())
    panels: list[Panel] = []
    top = 0
    for height, row in rows:
        width = _COLUMNS // len(row)
        for column, panel in enumerate(row):
            position = {"x": column * width, "y": top, "w": width, "h": height}
            panels.append({"id": len(panels) + 1, "gridPos": position, "datasource": _SOURCE, **panel})
        top += height
    content = {
        "uid": UID,
        "title": f"Slipway {environment}",
        "tags": ["slipway", environment],
        "timezone": "utc",
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,  # one crosshair through all panels: what happened when a deploy came
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "annotations": {"list": [_deploys()]},
        "panels": panels,
    }
    return json.dumps(content, indent=1)


def expressions(content: str) -> list[str]:
    """Every PromQL expression of a dashboard's JSON."""
    board = json.loads(content)
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]] + [
        annotation["expr"] for annotation in board["annotations"]["list"]
    ]


def _deploys() -> dict[str, Any]:
    """A mark where a release appears that was not there a minute before."""
    serving = 'count by (release) (slipway_release_workers{job="api"} > 0)'
    before = 'count by (release) (slipway_release_workers{job="api"} offset 1m > 0)'
    return {
        "name": "Deploys",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "purple",
        "expr": f"{serving} unless {before}",
        "step": "30s",
        "titleFormat": "{{release}}",
    }


def _overview() -> tuple[int, list[Panel]]:
    ready = 'probe_success{job="probe",check="ready"}'
    return 4, [
        *(
            _figure(f"Ready, last {name}", "percentunit", [("", f"avg(avg_over_time({ready}[{window}]))")], decimals=3)
            for name, window in (("day", "1d"), ("week", "7d"), ("month", "30d"))
        ),
        _figure("Alerts", "short", [("", 'count(ALERTS{alertstate="firing"}) or vector(0)')], bad_above=0),
        _figure(
            "Certificate ends in", "s", [("", 'min(probe_ssl_earliest_cert_expiry{job="probe"}) - time()')], decimals=1
        ),
        _figure("Replicas", "short", [("", 'count(up{job="api"} == 1) or vector(0)')]),
    ]


def _objectives() -> tuple[int, list[Panel]]:
    burn = "slipway:bad_share:{window} / on (objective) group_left () slipway:budget:share"
    limits = [(burn.factor, "orange" if burn.severity == "ticket" else "red") for burn in BURNS]
    return 8, [
        _graph(
            "Availability",
            "percentunit",
            [
                (f"{{{{source}}}}, {window}", f'1 - slipway:bad_share:{window}{{objective="availability"}}')
                for window in ("5m", "1h", "1d")
            ],
        ),
        _graph(
            "Burn rate (1: the budget lasts exactly as long as the objective says)",
            "short",
            [
                (f"{{{{objective}}}} by {{{{source}}}}, {window}", burn.format(window=window))
                for window in ("1h", "6h", "1d", "3d")
            ],
            limits=limits,
        ),
    ]


def _latency() -> tuple[int, list[Panel]]:
    def quantile(share: float, by: str = "le") -> str:
        return f"histogram_quantile({share}, sum by ({by}) (rate({_DURATIONS}{{{_API}}}[{_RATE}])))"

    return 9, [
        _graph("Latency", "s", [(f"p{share * 100:g}", quantile(share)) for share in (0.5, 0.95, 0.99)]),
        _graph("p95 by route", "s", [("{{method}} {{route}}", quantile(0.95, "le, method, route"))]),
        _graph("p50 by route", "s", [("{{method}} {{route}}", quantile(0.5, "le, method, route"))]),
    ]


def _traffic() -> tuple[int, list[Panel]]:
    requests = "rate(slipway_http_requests_total"
    return 9, [
        _graph(
            "Requests by route",
            "reqps",
            [("{{method}} {{route}}", f"sum by (method, route) ({requests}{{{_API}}}[{_RATE}]))")],
        ),
        _graph(
            "Server errors by route",
            "reqps",
            [("{{status}} {{route}}", f'sum by (status, route) ({requests}{{job="api",status=~"5.."}}[{_RATE}]))')],
        ),
        _graph(
            "Refused",
            "reqps",
            [
                ("{{status}}", f'sum by (status) ({requests}{{job="api",status=~"4.."}}[{_RATE}]))'),
                (
                    "limited: {{limit}}",
                    f'sum by (limit) (rate(slipway_rate_limit_decisions_total{{decision="limited"}}[{_RATE}]))',
                ),
                ("passwords rejected", f'sum(rate(slipway_passwords_total{{outcome="rejected"}}[{_RATE}]))'),
            ],
        ),
    ]


def _saturation() -> tuple[int, list[Panel]]:
    return 9, [
        _graph(
            "Waiting and in flight",
            "short",
            [
                ("in flight", "sum(slipway_http_requests_in_flight)"),
                ("waiting: {{queue}}", "sum by (queue) (slipway_waiting)"),
                ("without {{dependency}}", "sum by (dependency) (slipway_breakers_open)"),
            ],
        ),
        _graph(
            "Connections to the database",
            "short",
            [
                ("pools, {{state}}", "sum by (state) (slipway_database_connections)"),
                ("PostgreSQL, all", 'sum(pg_stat_database_numbackends{job="database"})'),
                ("PostgreSQL, most", 'max(pg_settings_max_connections{job="database"})'),
            ],
        ),
        _graph("Memory of a worker", "bytes", [("{{instance}} {{slot}}", "slipway_worker_resident_memory_bytes")]),
        _graph(
            "Workers started, mail",
            "short",
            [
                ("workers started", "sum(increase(slipway_worker_starts_total[5m]))"),
                ("mail: {{outcome}}", "sum by (outcome) (increase(slipway_mails_total[5m]))"),
            ],
        ),
    ]


def _outside() -> tuple[int, list[Panel]]:
    return 8, [
        _graph(
            "Seen from outside: phases of a probe",
            "s",
            [("{{phase}}", 'sum by (phase) (probe_http_duration_seconds{job="probe",check="ready"})')],
        ),
        _graph(
            "Age of the last good backup",
            "s",
            [("age", 'time() - max(slipway_backup_last_success_timestamp_seconds{job="backup"})')],
        ),
        _graph("Size of the database", "bytes", [("{{datname}}", 'pg_database_size_bytes{job="database"}')]),
    ]


def _figure(
    title: str, unit: str, targets: list[tuple[str, str]], *, decimals: int = 0, bad_above: float | None = None
) -> Panel:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if bad_above is not None:
        steps.append({"color": "red", "value": bad_above + 1})
    return {
        "type": "stat",
        "title": title,
        "targets": [target | {"instant": True} for target in _targets(targets)],  # a month is read once, not per pixel
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "none"},
        "fieldConfig": {
            "defaults": {"unit": unit, "decimals": decimals, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
    }


def _graph(
    title: str, unit: str, targets: list[tuple[str, str]], *, limits: list[tuple[float, str]] | None = None
) -> Panel:
    defaults: dict[str, Any] = {"unit": unit, "min": None, "custom": {"lineWidth": 1, "fillOpacity": 5}}
    if limits:
        steps = [{"color": "green", "value": None}, *({"color": colour, "value": at} for at, colour in sorted(limits))]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        defaults["custom"]["thresholdsStyle"] = {"mode": "dashed"}
    return {
        "type": "timeseries",
        "title": title,
        "targets": _targets(targets),
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }


def _targets(targets: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [
        {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
        for number, (legend, expression) in enumerate(targets)
    ]

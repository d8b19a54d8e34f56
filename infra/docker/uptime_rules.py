"""The objectives of an environment, and the Prometheus rules that watch over them: pure, for promtool to test.

How an objective becomes alerts is chapter 5 of Google's SRE workbook (https://sre.google/workbook/alerting-on-slos/):
for each pair of windows, how many times faster than allowed the error budget burns. The long window says that it
matters, the short one that it still goes on.

An objective has up to two sources. `requests` is what the API's replicas counted: every request, but none while no
replica could be reached. `probes` is what the blackbox exporter saw from outside: that outage above all.
"""

from dataclasses import dataclass
from typing import Final, Literal

import yaml

from infra.docker import uptime_alerts
from infra.docker.uptime_alerts import READY, Rule, alert

LATENCY_BUCKETS_MILLISECONDS: Final = (1, 2, 3, 5, 7.5, 10, 15, 25, 50, 100, 250, 500, 1000, 2000, 5000)
"""Where the API's histogram can tell fast from slow; the other side stands in `service/metrics.py`, and a test holds
the two together."""

LOWEST_PERCENT: Final = 95.0
"""Below it, 14.4 times the budget is more than all requests: the fastest alert could never fire."""
HIGHEST_PERCENT: Final = 99.999

QUIET_REQUESTS_PER_SECOND: Final = 0.1
"""Shares are of at least so much traffic: one failed request in a quiet hour is no burning budget. An outage in a quiet
hour is found by the probes."""

SCRAPE_SECONDS: Final = 15
"""How often everything is scraped and probed, and how often the rules are evaluated."""


@dataclass(frozen=True)
class Burn:
    """One pair of windows and how many times the allowed speed is too fast for it."""

    long: str
    short: str
    factor: float
    severity: Literal["page", "ticket"]


OBJECTIVES: Final = ("availability", "latency")
BURNS: Final = (
    Burn("1h", "5m", 14.4, "page"),
    Burn("6h", "30m", 6, "page"),
    Burn("1d", "2h", 3, "ticket"),
    Burn("3d", "6h", 1, "ticket"),
)
WINDOWS: Final = {"5m": 300, "30m": 1800, "1h": 3600, "2h": 7200, "6h": 21600, "1d": 86400, "3d": 259200}
"""PromQL's word for each window, and its seconds."""


class ObjectiveError(ValueError):
    """An objective that cannot be watched; the message is one line for the operator."""


@dataclass(frozen=True)
class Objectives:
    """What an environment promises.

    Args:
        availability_percent: requests and probes that are answered without a server error, of all.
        latency_milliseconds: how long a request may take to count as fast; a boundary of the API's histogram.
        latency_percent: requests that are fast, of all.

    Raises:
        ObjectiveError: out of range, or no boundary of the histogram.
    """

    availability_percent: float = 99.9
    latency_milliseconds: float = 250
    latency_percent: float = 99.0

    def __post_init__(self) -> None:
        for name in ("availability_percent", "latency_percent"):
            if not LOWEST_PERCENT <= getattr(self, name) <= HIGHEST_PERCENT:
                raise ObjectiveError(
                    f"{name} is {getattr(self, name)}: choose one from {LOWEST_PERCENT} to {HIGHEST_PERCENT}"
                )
        if self.latency_milliseconds not in LATENCY_BUCKETS_MILLISECONDS:
            choices = ", ".join(f"{milliseconds:g}" for milliseconds in LATENCY_BUCKETS_MILLISECONDS)
            raise ObjectiveError(
                f"latency_milliseconds is {self.latency_milliseconds:g}: the API's histogram can tell {choices}"
            )

    def budget(self, objective: str) -> float:
        """The share that may fail, 0.001 for 99.9 %, of the objective `availability` or `latency`."""
        percent = self.availability_percent if objective == "availability" else self.latency_percent
        return round(1 - percent / 100, 9)


@dataclass(frozen=True)
class Watched:
    """What of an environment the alerts depend on.

    Args:
        objectives: what it promises.
        api_replicas: how many replicas there should be.
        certificate_warn_seconds: a certificate that ends sooner should have been renewed.
        certificate_page_seconds: a certificate that ends sooner is about to lock clients out.
        backup_hours: how often a backup is made; None: there are none.
        step_seconds: how often everything is scraped and probed, and the rules evaluated.
    """

    objectives: Objectives
    api_replicas: int
    certificate_warn_seconds: int = 14 * 86400
    certificate_page_seconds: int = 3 * 86400
    backup_hours: int | None = None
    step_seconds: int = SCRAPE_SECONDS


def rules(watched: Watched) -> str:
    """Compose the rule file, as YAML."""
    groups = [
        {"name": "slipway-shares", "rules": _shares(watched.objectives, watched.step_seconds)},
        {"name": "slipway-objectives", "rules": _burns(watched.objectives)},
        {
            "name": "slipway-outside",
            "rules": uptime_alerts.outside(
                certificate_warn_seconds=watched.certificate_warn_seconds,
                certificate_page_seconds=watched.certificate_page_seconds,
            ),
        },
        {"name": "slipway-api", "rules": uptime_alerts.api(watched.api_replicas)},
        {"name": "slipway-dependencies", "rules": uptime_alerts.dependencies()},
        {"name": "slipway-watchers", "rules": uptime_alerts.watchers()},
    ]
    if watched.backup_hours is not None:
        groups.append({"name": "slipway-backups", "rules": uptime_alerts.backups(watched.backup_hours)})
    return yaml.safe_dump({"groups": groups}, sort_keys=False, width=120)


_API = 'job="api",route=~"/api/.*"'
"""Requests that count: not health checks, not what belongs to no route and may be anybody's guess at a path."""


def _shares(objectives: Objectives, step_seconds: int) -> list[Rule]:
    boundary = f"{objectives.latency_milliseconds / 1000:g}"
    boundary = f"{boundary}.0" if "." not in boundary else boundary  # as the API writes it: le="1.0"
    total = f"sum(rate(slipway_http_requests_total{{{_API}}}[5m]))"
    failed = f'sum(rate(slipway_http_requests_total{{{_API},status=~"5.."}}[5m]))'
    timed = f"sum(rate(slipway_http_request_duration_seconds_count{{{_API}}}[5m]))"
    fast = f'sum(rate(slipway_http_request_duration_seconds_bucket{{{_API},le="{boundary}"}}[5m]))'
    found: list[Rule] = [
        {"record": "slipway:requests:rate5m", "expr": total},
        # A status that never came has no series: that is none, not unknown.
        {"record": "slipway:failed_requests:rate5m", "expr": f"{failed} or 0 * {total}"},
        {"record": "slipway:slow_requests:rate5m", "expr": f"clamp_min({timed} - {fast}, 0)"},
    ]
    found += [
        # What may fail, for dashboards and for status: a constant.
        {"record": "slipway:budget:share", "labels": {"objective": objective}, "expr": f"vector({share:g})"}
        for objective in OBJECTIVES
        if (share := objectives.budget(objective))
    ]
    for window, seconds in WINDOWS.items():
        steps = seconds / step_seconds
        for objective, bad in (("availability", "failed"), ("latency", "slow")):
            # Rates are recorded at even distances, so that their sums weigh as the requests do, and three days are
            # read from two series instead of hundreds.
            bad_sum, all_sum = (
                f"sum_over_time({series}[{window}])"
                for series in (f"slipway:{bad}_requests:rate5m", "slipway:requests:rate5m")
            )
            found.append(
                {
                    "record": f"slipway:bad_share:{window}",
                    "labels": {"objective": objective, "source": "requests"},
                    "expr": f"{bad_sum} / clamp_min({all_sum}, {QUIET_REQUESTS_PER_SECOND * steps:.9g})",
                }
            )
        found.append(
            {
                "record": f"slipway:bad_share:{window}",
                "labels": {"objective": "availability", "source": "probes"},
                # Of all probes that a whole window has: a young environment is not judged by its first minute.
                "expr": f"sum(count_over_time({READY}[{window}]) - sum_over_time({READY}[{window}])) / {steps:.9g}",
            }
        )
    return found


def _burns(objectives: Objectives) -> list[Rule]:
    found = []
    for objective, name in (("availability", "AvailabilityBurns"), ("latency", "LatencyBurns")):
        budget = objectives.budget(objective)
        for burn in BURNS:
            too_much = f'{{objective="{objective}"}} > {burn.factor * budget:.9g}'
            found.append(
                alert(
                    name,
                    f"slipway:bad_share:{burn.long}{too_much} and slipway:bad_share:{burn.short}{too_much}",
                    severity=burn.severity,
                    summary=f"{_PROMISES[objective]}: over {burn.long}, {{{{ $value | humanizePercentage }}}} were not "
                    f"(by {{{{ $labels.source }}}}), {burn.factor:g} times what the objective allows",
                    remedy=_REMEDIES[objective],
                    labels={"window": burn.long},
                )
            )
    return found


_PROMISES: Final = {
    "availability": "Requests shall be answered without a server error",
    "latency": "Requests shall be answered fast",
}
_REMEDIES: Final = {
    "availability": "slipway status, then slipway logs: what fails, and since which deploy",
    "latency": "the dashboard or slipway logs: which route is slow, and what waits (pool, passwords, database)",
}

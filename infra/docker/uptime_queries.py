"""What `slipway status` asks Prometheus, and how it reads the answer: pure functions.

Prometheus publishes no port. It is asked from within its own container, in one `docker exec`:
`command()` says what to run there, `read()` what the answer means.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from infra.docker.uptime_configs import PROMETHEUS_PORT
from infra.docker.uptime_rules import SCRAPE_SECONDS

WINDOWS: Final = {"day": "1d", "week": "7d", "month": "30d"}
"""Over which times uptime is told, and PromQL's words for them."""

_READY: Final = 'probe_success{job="probe",check="ready"}'


class AnswerError(Exception):
    """What came back is no answer of Prometheus; the message is one line."""


@dataclass(frozen=True)
class Alert:
    """An alert that fires, or is about to (`pending`)."""

    name: str
    severity: str
    state: str
    since: str
    summary: str
    remedy: str


@dataclass(frozen=True)
class Uptime:
    """What Prometheus knows of an environment; what it has no figures for is missing, or None.

    Args:
        ready_share: by window, the share of probes from outside that found the service ready.
        observed_seconds: by window, for how long there were probes.
        failed_share: by window, the share of API requests that ended in a server error.
        budget_share: the share that the availability objective allows to fail.
        certificate_seconds: until the first certificate of the chain ends.
        replicas: replicas of the API that Prometheus reaches.
        releases: releases that serve, with the number of their workers.
        latency_p95_seconds: of the API's requests in the last five minutes.
        backup_age_seconds: since the last good backup.
    """

    ready_share: Mapping[str, float]
    observed_seconds: Mapping[str, float]
    failed_share: Mapping[str, float]
    budget_share: float | None
    certificate_seconds: float | None
    replicas: int | None
    releases: Mapping[str, int]
    latency_p95_seconds: float | None
    backup_age_seconds: float | None
    alerts: Sequence[Alert] = field(default=())

    def budget_left(self, window: str = "month") -> float | None:
        """The share of the availability budget that is left over a window: 1 all of it, below 0 overspent.

        Whichever is worse counts: failed requests, or probes that found the service not ready.
        """
        spent = [
            share
            for share in (self.failed_share.get(window), _complement(self.ready_share.get(window)))
            if share is not None
        ]
        return 1 - max(spent) / self.budget_share if spent and self.budget_share else None


def queries() -> dict[str, str]:
    """Every figure's PromQL, by the figure's name."""
    found = {}
    for name, window in WINDOWS.items():
        # Sums, not a mean of means: over a month the probes may have changed their labels.
        probes = f"sum(count_over_time({_READY}[{window}]))"
        failed, requests = (
            f"sum_over_time(slipway:{series}:rate5m[{window}])" for series in ("failed_requests", "requests")
        )
        found[f"ready_share {name}"] = f"sum(sum_over_time({_READY}[{window}])) / {probes}"
        found[f"observed_seconds {name}"] = f"{probes} * {SCRAPE_SECONDS}"
        found[f"failed_share {name}"] = f"({failed} / {requests}) >= 0"  # without requests it is NaN: not told
    return found | {
        "budget_share": 'slipway:budget:share{objective="availability"}',
        "certificate_seconds": 'min(probe_ssl_earliest_cert_expiry{job="probe"}) - time()',
        "replicas": 'count(up{job="api"} == 1)',
        "releases": 'sum by (release) (slipway_release_workers{job="api"})',
        "latency_p95_seconds": "histogram_quantile(0.95, sum by (le) "
        '(rate(slipway_http_request_duration_seconds_bucket{job="api",route=~"/api/.*"}[5m]))) >= 0',
        "backup_age_seconds": 'time() - max(slipway_backup_last_success_timestamp_seconds{job="backup"})',
    }


def query() -> str:
    """All figures in one PromQL expression; each series says in its label `figure` what it is."""
    return " or ".join(
        f'label_replace({expression}, "figure", "{name}", "", "")' for name, expression in queries().items()
    )


def command() -> tuple[str, ...]:
    """What to run in Prometheus's container; its output is for `read`. The image has BusyBox's wget."""
    base = f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1"
    return ("wget", "-q", "-O", "-", f"{base}/query?query={quote(query(), safe='')}", f"{base}/alerts")


def read(output: str) -> Uptime:
    """Read what `command` printed.

    Raises:
        AnswerError: it is not what Prometheus answers.
    """
    try:
        figures, alerts = [answer["data"] for answer in _documents(output) if answer["status"] == "success"]
        values = {
            (series["metric"]["figure"], series["metric"].get("release", "")): float(series["value"][1])
            for series in figures["result"]
        }
        return _uptime(values, [_alert(alert) for alert in alerts["alerts"]])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise AnswerError(f"Prometheus gave no readable answer ({error!r}): see its log with slipway logs") from error


def _documents(text: str) -> Iterator[dict[str, Any]]:
    """JSON documents one after the other, as wget leaves them."""
    decoder, position = json.JSONDecoder(), 0
    text = text.strip()
    while position < len(text):
        document, position = decoder.raw_decode(text, position)
        yield document
        position += len(text[position:]) - len(text[position:].lstrip())


def _uptime(values: Mapping[tuple[str, str], float], alerts: Sequence[Alert]) -> Uptime:
    def single(name: str) -> float | None:
        return values.get((name, ""))

    def by_window(name: str) -> dict[str, float]:
        return {window: values[f"{name} {window}", ""] for window in WINDOWS if (f"{name} {window}", "") in values}

    replicas = single("replicas")
    return Uptime(
        ready_share=by_window("ready_share"),
        observed_seconds=by_window("observed_seconds"),
        failed_share=by_window("failed_share"),
        budget_share=single("budget_share"),
        certificate_seconds=single("certificate_seconds"),
        replicas=None if replicas is None else int(replicas),
        releases={release: int(value) for (name, release), value in values.items() if name == "releases"},
        latency_p95_seconds=single("latency_p95_seconds"),
        backup_age_seconds=single("backup_age_seconds"),
        alerts=tuple(sorted(alerts, key=lambda alert: (alert.state != "firing", alert.severity != "page", alert.name))),
    )


def _alert(alert: Mapping[str, Any]) -> Alert:
    labels, annotations = alert["labels"], alert["annotations"]
    return Alert(
        name=labels["alertname"],
        severity=labels["severity"],
        state=alert["state"],
        since=alert["activeAt"],
        summary=annotations["summary"],
        remedy=annotations["remedy"],
    )


def _complement(share: float | None) -> float | None:
    return None if share is None else 1 - share

"""What the uptime services read as their configuration: pure functions from an environment's data to YAML texts.

They hold for the public images' current releases and for those that Debian 12 ships (Prometheus 2.42, Alertmanager
0.25, blackbox exporter 0.23).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import yaml

from infra.contract import LIVE_PATH, READY_PATH
from infra.docker.uptime_rules import SCRAPE_SECONDS

PROMETHEUS_PORT: Final = 9090
BLACKBOX_PORT: Final = 9115
ALERTMANAGER_PORT: Final = 9093
POSTGRES_EXPORTER_PORT: Final = 9187
GRAFANA_PORT: Final = 3000

RULES_FILE: Final = "/etc/prometheus/rules.yml"
BACKUP_FIGURES: Final = "backup.txt"
"""The file of the backup's figures. Prometheus serves the folder it is in as /user, and scrapes it there; .txt, since
Prometheus 3 refuses an answer whose content type is not that of an exposition."""

_PROBE_TIMEOUT_SECONDS: Final = 10
_TIMEOUT_SECONDS: Final = 10


@dataclass(frozen=True)
class Probed:
    """What is probed from outside.

    Args:
        public_url: the address that clients know, `https://host[:port]`.
        address: `host:port` to connect to in its stead, asking for the public URL's host all the same; None: whatever
            DNS says, as clients do.
        verified: whether a public authority vouches for the certificate; not where the edge is its own.
    """

    public_url: str
    verified: bool
    address: str | None = None

    @property
    def host(self) -> str:
        """The host that clients ask for, with its port unless that is HTTPS's own."""
        return urlsplit(self.public_url).netloc

    @property
    def server_name(self) -> str:
        """The name that the certificate must be for."""
        return urlsplit(self.public_url).hostname or ""

    def target(self, path: str) -> str:
        """The URL to which the blackbox exporter connects."""
        return f"https://{self.address or self.host}{path}"


@dataclass(frozen=True)
class Targets:
    """Where Prometheus finds what it watches: service names in the environment's internal network.

    Args:
        api: the name that has one A record for each replica.
        backup_figures: whether there are figures of backups.
    """

    environment: str
    probed: Probed
    api: str
    api_port: int
    blackbox: str
    alertmanager: str
    postgres_exporter: str
    backup_figures: bool


def prometheus(targets: Targets) -> str:
    """Compose prometheus.yml."""
    jobs = [
        _static("prometheus", f"localhost:{PROMETHEUS_PORT}"),
        _static("alertmanager", f"{targets.alertmanager}:{ALERTMANAGER_PORT}"),
        _static("database", f"{targets.postgres_exporter}:{POSTGRES_EXPORTER_PORT}"),
        {
            # Every replica by itself and past the edge, which has no way to /metrics.
            "job_name": "api",
            "dns_sd_configs": [
                {"names": [targets.api], "type": "A", "port": targets.api_port, "refresh_interval": "5s"},
            ],
        },
        _probes(targets),
    ]
    if targets.backup_figures:
        jobs.append(
            _static("backup", f"localhost:{PROMETHEUS_PORT}") | {"metrics_path": f"/user/{BACKUP_FIGURES}"},
        )
    return _yaml(
        {
            "global": {
                "scrape_interval": f"{SCRAPE_SECONDS}s",
                "scrape_timeout": f"{_TIMEOUT_SECONDS}s",
                "evaluation_interval": f"{SCRAPE_SECONDS}s",
                "external_labels": {"environment": targets.environment},
            },
            "rule_files": [RULES_FILE],
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": [f"{targets.alertmanager}:{ALERTMANAGER_PORT}"]}]}],
            },
            "scrape_configs": jobs,
        }
    )


def _static(job: str, target: str) -> dict[str, Any]:
    return {"job_name": job, "static_configs": [{"targets": [target]}]}


def _probes(targets: Targets) -> dict[str, Any]:
    probed = targets.probed
    return {
        "job_name": "probe",
        "metrics_path": "/probe",
        "params": {"module": ["https"]},
        "static_configs": [
            {"targets": [probed.target(path)], "labels": {"check": check, "instance": probed.public_url}}
            for check, path in (("live", LIVE_PATH), ("ready", READY_PATH))
        ],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"target_label": "__address__", "replacement": f"{targets.blackbox}:{BLACKBOX_PORT}"},
        ],
    }


def blackbox(probed: Probed) -> str:
    """Compose the blackbox exporter's configuration.

    TLS is verified against public authorities. Only where the edge is its own authority (`edge.tls: internal`) is the
    certificate not: to trust it the exporter would have to mount the edge's data volume, which holds that authority's
    private key too, and whoever holds that key can be the edge. Reachability and the certificate's end are measured all
    the same.
    """
    return _yaml(
        {
            "modules": {
                "https": {
                    "prober": "http",
                    "timeout": f"{_PROBE_TIMEOUT_SECONDS}s",
                    "http": {
                        "method": "GET",
                        "valid_status_codes": [200],
                        "fail_if_not_ssl": True,
                        "follow_redirects": False,
                        "preferred_ip_protocol": "ip4",
                        "headers": {"Host": probed.host},
                        "tls_config": {
                            "server_name": probed.server_name,
                            "insecure_skip_verify": not probed.verified,
                        },
                    },
                }
            }
        }
    )


@dataclass(frozen=True)
class Mailbox:
    """Where alerts go by mail.

    Args:
        to: recipients, with commas between.
        sender: the From address.
        smarthost: the mail server, `host:port`.
        username: to log in as; empty for none.
        password: of that user.
        starttls: refuse a server without STARTTLS; not where TLS comes first, as on port 465.
    """

    to: str
    sender: str
    smarthost: str
    username: str = ""
    password: str = ""
    starttls: bool = True


def alertmanager(*, environment: str, webhook_url: str | None = None, mailbox: Mailbox | None = None) -> str:
    """Compose alertmanager.yml, which is a secret: it holds the webhook's URL and the mailbox's password.

    They stand in it because `url_file` came after Debian's release; Alertmanager hides both in its own status. Alerts
    with neither webhook nor mailbox stay in Alertmanager, and `slipway status` shows them.
    """
    receiver: dict[str, Any] = {"name": "operators"}
    if webhook_url:
        receiver["webhook_configs"] = [{"url": webhook_url, "send_resolved": True, "max_alerts": 50}]
    if mailbox:
        receiver["email_configs"] = [_mail(environment, mailbox)]
    return _yaml(
        {
            "route": {
                "receiver": "operators",
                "group_by": ["alertname", "environment"],
                "group_wait": "15s",
                "group_interval": "5m",
                "repeat_interval": "12h",
                # Whoever is to be woken is told at once, and again while nobody has done anything.
                "routes": [
                    {
                        "matchers": ['severity="page"'],
                        "receiver": "operators",
                        "group_wait": "5s",
                        "repeat_interval": "1h",
                    }
                ],
            },
            "inhibit_rules": [
                # The same trouble, only worse: where an alert both pages and opens a ticket, the page suffices.
                _inhibits(['severity="page"'], ['severity="ticket"'], equal=["alertname"]),
                # Whoever knows that nothing answers needs no lesson about its consequences.
                _inhibits(['alertname="Unreachable"'], ['alertname=~"NotReady|AvailabilityBurns|ReplicaMissing"']),
                _inhibits(['alertname="DatabaseAway"'], ['alertname=~"NotReady|AvailabilityBurns|PoolWaits"']),
                # What nobody watches cannot be said to be away or back.
                _inhibits(['alertname="WatcherAway"', 'job="probe"'], ['alertname="NobodyProbes"']),
            ],
            "receivers": [receiver],
        }
    )


def mailbox_of(url: str, *, to: str, sender: str, password: str = "") -> Mailbox:
    """The mailbox behind `smtp://user@host:587` or `smtps://user@host:465`, as the service's own mail is configured.

    Raises:
        ValueError: Alertmanager cannot use it; one line.
    """
    parts = urlsplit(url)
    implicit = parts.scheme == "smtps"
    port = parts.port or (465 if implicit else 587)
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise ValueError(f"alerts cannot be mailed through {url}: choose smtp://user@host:587 or smtps://user@host:465")
    if implicit != (port == 465):
        raise ValueError(f"alerts cannot be mailed through {url}: Alertmanager uses TLS at once on port 465 only")
    return Mailbox(
        to=to,
        sender=sender,
        smarthost=f"{parts.hostname}:{port}",
        username=unquote(parts.username or ""),
        password=password,
        starttls=not implicit,
    )


def _inhibits(source: Sequence[str], target: Sequence[str], *, equal: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "source_matchers": list(source),
        "target_matchers": list(target),
        "equal": ["environment", *equal],
    }


def _mail(environment: str, mailbox: Mailbox) -> dict[str, Any]:
    subject = f"[{environment}] {{{{ .Status }}}}: {{{{ .CommonLabels.alertname }}}} ({{{{ .Alerts | len }}}})"
    line = (
        "{{ range .Alerts }}{{ .Labels.severity }} {{ .Status }} since {{ .StartsAt }}: {{ .Annotations.summary }}\n"
        "  {{ .Annotations.remedy }}\n{{ end }}"
    )
    login = {"auth_username": mailbox.username, "auth_password": mailbox.password} if mailbox.username else {}
    return {
        "to": mailbox.to,
        "from": mailbox.sender,
        "smarthost": mailbox.smarthost,
        "require_tls": mailbox.starttls,
        "send_resolved": True,
        "headers": {"Subject": subject},
        "html": "",
        "text": line,
        **login,
    }


def grafana_datasources(prometheus_service: str) -> str:
    """Compose Grafana's provisioned data source."""
    return _yaml(
        {
            "apiVersion": 1,
            "datasources": [
                {
                    "name": "Prometheus",
                    "uid": "prometheus",
                    "type": "prometheus",
                    "access": "proxy",
                    "url": f"http://{prometheus_service}:{PROMETHEUS_PORT}",
                    "isDefault": True,
                    "editable": False,
                    "jsonData": {"timeInterval": f"{SCRAPE_SECONDS}s", "httpMethod": "POST"},
                }
            ],
        }
    )


def grafana_dashboards(folder: str) -> str:
    """Compose the provider that has Grafana read dashboards from a folder."""
    return _yaml(
        {
            "apiVersion": 1,
            "providers": [
                {
                    "name": "slipway",
                    "type": "file",
                    "disableDeletion": True,
                    "allowUiUpdates": False,
                    "options": {"path": folder},
                }
            ],
        }
    )


def _yaml(content: dict[str, Any]) -> str:
    return yaml.safe_dump(content, sort_keys=False, width=120)

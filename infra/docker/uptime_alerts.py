"""The alerts besides the objectives' own, which stand in uptime_rules.py: what is wrong, and what to do about it."""

from typing import Any, Final

Rule = dict[str, Any]

READY: Final = 'probe_success{job="probe",check="ready"}'
LEAST_FREE_BYTES: Final = 5 * 10**9
"""Of the backups' disk: time to act before dumps fail, and with them whatever else is on that disk."""


def alert(
    name: str,
    expression: str,
    *,
    severity: str,
    summary: str,
    remedy: str,
    lasting: str = "",
    labels: dict[str, str] | None = None,
) -> Rule:
    """One alert.

    Args:
        name: what is wrong, in one word.
        expression: PromQL; it is wrong as long as this has a result.
        severity: page or ticket.
        summary: what is wrong, for whoever is told.
        remedy: what to do about it.
        lasting: how long before anybody is told.
        labels: further ones.
    """
    return {
        "alert": name,
        "expr": expression,
        **({"for": lasting} if lasting else {}),
        "labels": {"severity": severity, **(labels or {})},
        "annotations": {"summary": summary, "remedy": remedy},
    }


def outside(*, certificate_warn_seconds: int, certificate_page_seconds: int) -> list[Rule]:
    """What clients find."""
    alive = 'probe_success{job="probe",check="live"}'
    ends = 'min by (instance) (probe_ssl_earliest_cert_expiry{job="probe"}) - time()'
    certificate = "The certificate of {{ $labels.instance }} ends in {{ $value | humanizeDuration }}"
    renew = "slipway logs ... edge: why it is not renewed (port 80 and DNS of the domain reachable from outside?)"
    return [
        alert(
            "Unreachable",
            f"{alive} == 0",
            lasting="1m",
            severity="page",
            summary="{{ $labels.instance }} is not reachable from outside",
            remedy="slipway status: are edge and api running? Then DNS, certificate and firewall of the public address",
        ),
        alert(
            "NotReady",
            f"{READY} == 0 and on (instance) {alive} == 1",
            lasting="1m",
            severity="page",
            summary="{{ $labels.instance }} answers, but is not ready to serve",
            remedy="ask its /health/ready which check is down: database, or schema after a migration",
        ),
        alert(
            "NobodyProbes",
            f"absent({READY})",
            lasting="5m",
            severity="ticket",
            summary="Nobody looks at the service from outside: the blackbox exporter does not answer",
            remedy="slipway logs ... blackbox",
        ),
        alert(
            "CertificateEnds",
            f"{ends} < {certificate_warn_seconds}",
            lasting="5m",
            severity="ticket",
            summary=certificate,
            remedy=renew,
        ),
        alert(
            "CertificateEnds",
            f"{ends} < {certificate_page_seconds}",
            lasting="5m",
            severity="page",
            summary=certificate,
            remedy=renew,
        ),
    ]


def api(replicas: int) -> list[Rule]:
    """The API's own figures."""
    return [
        alert(
            "ReplicaMissing",
            f'(count(up{{job="api"}} == 1) or vector(0)) < {replicas}',
            lasting="5m",
            severity="ticket",
            summary=f"{{{{ $value }}}} of {replicas} replicas of the API run",
            remedy="slipway status: which task fails; where a release cannot run on the schema, slipway up migrates",
        ),
        alert(
            "TwoReleases",
            'count(count by (release) (slipway_release_workers{job="api"} > 0)) > 1',
            lasting="30m",
            severity="ticket",
            summary="{{ $value }} releases serve side by side: a rollout did not end",
            remedy="slipway up with the release that should serve",
        ),
        alert(
            "PoolWaits",
            'sum(avg_over_time(slipway_waiting{job="api",queue="database"}[5m])) > 1',
            lasting="5m",
            severity="ticket",
            summary="{{ $value | humanize }} requests wait for a connection to the database at any time",
            remedy="a slow statement (slipway logs ... database), or a larger api.poolSize if the connections allow",
        ),
        alert(
            "PasswordsRejected",
            'sum(rate(slipway_passwords_total{job="api",outcome="rejected"}[5m])) > 0',
            lasting="5m",
            severity="ticket",
            summary="Logins and registrations are turned away: passwords come faster than they can be hashed",
            remedy="more CPU or replicas for the API; or an attack, which the rate limits should slow down",
        ),
        alert(
            "MailFails",
            'sum(increase(slipway_mails_total{job="api",outcome="failed"}[1h])) > 3 and '
            'sum(increase(slipway_mails_total{job="api",outcome="failed"}[1h])) > '
            '(sum(increase(slipway_mails_total{job="api",outcome="sent"}[1h])) or vector(0))',
            lasting="5m",
            severity="ticket",
            summary="Mail is not handed over: more attempts fail than succeed",
            remedy="slipway logs ... api: the mail server's answer; mail.url and the secret mailPassword",
        ),
    ]


def dependencies() -> list[Rule]:
    """PostgreSQL and Valkey."""
    return [
        alert(
            "DatabaseAway",
            'pg_up{job="database"} == 0',
            lasting="1m",
            severity="page",
            summary="PostgreSQL does not answer",
            remedy="slipway status, slipway logs ... database",
        ),
        alert(
            "DatabaseConnections",
            'sum(pg_stat_database_numbackends{job="database"}) / '
            'max(pg_settings_max_connections{job="database"}) > 0.85',
            lasting="5m",
            severity="ticket",
            summary="{{ $value | humanizePercentage }} of PostgreSQL's connections are taken",
            remedy="who holds them: pg_stat_activity; then database.maxConnections, or less of api.poolSize",
        ),
        alert(
            "CacheAway",
            'max(slipway_breakers_open{job="api",dependency="cache"}) > 0',
            lasting="2m",
            severity="ticket",
            summary="Valkey does not answer: each replica counts its rate limits alone",
            remedy="slipway status, slipway logs ... cache",
        ),
    ]


def watchers() -> list[Rule]:
    """Whoever should notice all this."""
    return [
        alert(
            "WatcherAway",
            'up{job!="api"} == 0',
            lasting="5m",
            severity="ticket",
            summary="Prometheus gets no figures from {{ $labels.job }}: what it watches is not watched",
            remedy="slipway status, slipway logs",
        ),
        alert(
            "AlertsUndelivered",
            'sum by (integration) (rate(alertmanager_notifications_failed_total{job="alertmanager"}[10m])) > 0',
            lasting="10m",
            severity="ticket",
            summary="Alerts by {{ $labels.integration }} do not arrive",
            remedy="slipway logs ... alertmanager; uptime.alertWebhook, uptime.alertMailTo",
        ),
    ]


def backups(every_hours: int) -> list[Rule]:
    """Dumps, archived WAL, and room for them."""
    limit_seconds = 2 * every_hours * 3600
    unknown = 'absent(slipway_backup_last_success_timestamp_seconds{job="backup"})'
    age = 'time() - max(slipway_backup_last_success_timestamp_seconds{job="backup"})'
    return [
        alert(
            "BackupOld",
            f"{age} > {limit_seconds}",
            severity="ticket",
            summary=f"The last good backup is {{{{ $value | humanizeDuration }}}} old; due every {every_hours} h",
            remedy=_BACKUP_REMEDY,
        ),
        alert(
            "BackupOld",
            f"{age} > {2 * limit_seconds}",
            severity="page",
            summary="The last good backup is {{ $value | humanizeDuration }} old",
            remedy=_BACKUP_REMEDY,
        ),
        alert(
            "BackupFails",
            'max(slipway_backup_last_attempt_failed{job="backup"}) > 0',
            lasting="30m",
            severity="ticket",
            summary="The last attempts at a backup failed; earlier backups are intact",
            remedy=_BACKUP_REMEDY,
        ),
        alert(
            "BackupUnknown",
            unknown,
            lasting="1h",
            severity="ticket",
            summary=_NO_BACKUP,
            remedy=_BACKUP_REMEDY,
        ),
        alert(
            "BackupUnknown",
            unknown,
            lasting=f"{2 * every_hours}h",
            severity="page",
            summary=_NO_BACKUP,
            remedy=_BACKUP_REMEDY,
        ),
        alert(
            "BackupDiskFills",
            f'min(slipway_backup_free_bytes{{job="backup"}}) < {LEAST_FREE_BYTES}',
            lasting="5m",
            severity="page",
            summary="{{ $value | humanize1024 }}B are left on the disk of the backups",
            remedy="df on the database's node: docker image prune, less of backups.keepDays, or a larger disk",
        ),
        alert(
            "ArchivingFails",
            'increase(pg_stat_archiver_failed_count{job="database"}[15m]) > 0',
            severity="page",
            summary="PostgreSQL cannot archive its WAL, which stays on the disk of its data until it can",
            remedy="slipway logs ... database: what archive_command says; full disk?",
        ),
    ]


_NO_BACKUP: Final = "No backup was ever made, or its figures do not reach Prometheus"
_BACKUP_REMEDY: Final = "slipway logs ... backup: full disk, database away or wrong password"

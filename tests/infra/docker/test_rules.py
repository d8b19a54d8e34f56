"""The alerts, evaluated by Prometheus' own tool: each fires when it should, nothing else does, and health is silent."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.docker.uptime_rules import (
    BURNS,
    HIGHEST_PERCENT,
    LATENCY_BUCKETS_MILLISECONDS,
    LOWEST_PERCENT,
    WINDOWS,
    ObjectiveError,
    Objectives,
    Watched,
    rules,
)

WATCHED = Watched(Objectives(99.9, 250, 99.0), api_replicas=2, backup_hours=6)
MINUTE, HOUR, DAY = 60, 3600, 86400
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus"
)

Series = dict[str, str]
Firing = frozenset[tuple[str, str, str]]
"""Name, severity and window of each alert that fires."""


@dataclass(frozen=True)
class Clock:
    """Writes series in promtool's notation: one value at the start, and one after each step."""

    seconds: int
    step: int

    @property
    def steps(self) -> int:
        return self.seconds // self.step

    def steady(self, value: float) -> str:
        return f"{value:.9g}x{self.steps}"

    def lately(self, before: float, since: float, last: int) -> str:
        """One value, and another one for the last so many seconds."""
        new = last // self.step
        return f"{before:.9g}x{self.steps - new} {since:.9g}x{new - 1}"

    def rising(self, per_second: float, start: float = 0) -> str:
        return f"{start:.9g}+{per_second * self.step:.9g}x{self.steps}"

    def rising_lately(self, per_second: float, last: int, before_per_second: float = 0, quiet: int = 0) -> str:
        """A counter that goes at another speed for the last so many seconds, and rests for `quiet` after that."""
        new, rest = last // self.step, quiet // self.step
        old = self.steps - new - rest
        # In quarters, which add up exactly: a counter that falls by its last digit only has been reset.
        slow, fast = (round(speed * self.step * 4) / 4 for speed in (before_per_second, per_second))
        turn = old * slow
        top = f" {turn + new * fast:.12g}x{rest - 1}" if rest else ""
        return f"0+{slow:.12g}x{old} {turn + fast:.12g}+{fast:.12g}x{new - 1}{top}"


def requests(status: str, values: str, route: str = "/api/v1/tasks") -> Series:
    labels = f'job="api",instance="a",method="GET",route="{route}",status="{status}"'
    return {f"slipway_http_requests_total{{{labels}}}": values}


def durations(count: str, fast: str) -> Series:
    labels = 'job="api",instance="a",method="GET",route="/api/v1/tasks"'
    return {
        f"slipway_http_request_duration_seconds_count{{{labels}}}": count,
        f'slipway_http_request_duration_seconds_bucket{{{labels},le="0.25"}}': fast,
    }


def probes(live: str, ready: str | None = None) -> Series:
    checks = {"live": live, "ready": live if ready is None else ready}
    return {
        f'probe_success{{job="probe",check="{check}",instance="https://x.test"}}': values
        for check, values in checks.items()
    }


def up(job: str, instance: str, values: str) -> Series:
    return {f'up{{job="{job}",instance="{instance}"}}': values}


def api(name: str, labels: str, values: str) -> Series:
    return {f'slipway_{name}{{job="api",instance="a",{labels}}}': values}


def one(name: str, values: str) -> Series:
    return {name: values}


CERTIFICATE = 'probe_ssl_earliest_cert_expiry{job="probe",check="live",instance="https://x.test"}'
BACKUP = 'slipway_backup_last_success_timestamp_seconds{job="backup"}'
BACKUP_FAILED = 'slipway_backup_last_attempt_failed{job="backup"}'
BACKUP_FREE = 'slipway_backup_free_bytes{job="backup"}'
NOT_ARCHIVED = 'pg_stat_archiver_failed_count{job="database"}'
BACKENDS = 'pg_stat_database_numbackends{job="database",datname="slipway"}'
UNDELIVERED = 'alertmanager_notifications_failed_total{job="alertmanager",integration="webhook"}'
WAITING, BREAKER = 'queue="database"', 'dependency="cache"'
REJECTED, SENT, FAILED = 'outcome="rejected"', 'outcome="sent"', 'outcome="failed"'


def certificate(clock: Clock, *, left: int) -> Series:
    """One that always has so many seconds left."""
    return one(CERTIFICATE, clock.rising(1, left))


def health(clock: Clock) -> Series:
    """Two replicas with ten requests a second, nearly all of them fast and good, and all else as it should be."""
    watchers = [up(job, job, clock.steady(1)) for job in ("probe", "database", "backup", "alertmanager")]
    return {
        **up("api", "a", clock.steady(1)),
        **up("api", "b", clock.steady(1)),
        **{name: values for watcher in watchers for name, values in watcher.items()},
        **probes(clock.steady(1)),
        **certificate(clock, left=60 * DAY),
        **requests("200", clock.rising(10)),
        **requests("404", clock.rising(1)),
        **durations(clock.rising(11), clock.rising(10.99)),
        **api("release_workers", 'release="1"', clock.steady(2)),
        **api("waiting", WAITING, clock.steady(0)),
        **api("breakers_open", BREAKER, clock.steady(0)),
        **api("passwords_total", REJECTED, clock.steady(5)),
        **api("mails_total", SENT, clock.rising(0.04)),
        **api("mails_total", FAILED, clock.rising(0.01)),
        'pg_up{job="database"}': clock.steady(1),
        BACKENDS: clock.steady(40),
        'pg_stat_database_numbackends{job="database",datname="postgres"}': clock.steady(2),
        'pg_settings_max_connections{job="database"}': clock.steady(100),
        UNDELIVERED: clock.steady(3),
        BACKUP: clock.rising(1),
        BACKUP_FAILED: clock.steady(0),
        BACKUP_FREE: clock.steady(6e9),
        NOT_ARCHIVED: clock.steady(7),
    }


@dataclass(frozen=True)
class Scene:
    """What happens, on top of health, and which alerts fire at its end."""

    name: str
    seconds: int
    firing: Firing = frozenset()
    changes: Callable[[Clock], Series] = lambda _: {}
    without: str = "-"
    """Series whose names begin so are not there."""
    step: int = MINUTE
    watched: Watched = WATCHED


def expect(*alerts: str) -> Firing:
    """Alerts as `Name:severity` or `Name:severity:window`."""
    parts = [(*alert.split(":"), "")[:3] for alert in alerts]
    return frozenset((name, severity, window) for name, severity, window in parts)


def errors(share: float, last: int, *, quiet: int = 0) -> Callable[[Clock], Series]:
    """Of eleven requests a second, so many more end in a server error for the last so many seconds."""
    return lambda clock: requests("500", clock.rising_lately(11 * share / (1 - share), last, quiet=quiet))


def slow(share: float, last: int) -> Callable[[Clock], Series]:
    return lambda clock: durations(clock.rising(11), clock.rising_lately(11 * (1 - share), last, 10.99))


def both(one: Callable[[Clock], Series], other: Callable[[Clock], Series]) -> Callable[[Clock], Series]:
    return lambda clock: one(clock) | other(clock)


OBJECTIVE_SCENES = [
    Scene("health", 2 * HOUR),
    Scene("health, for more than three days", 3 * DAY, step=240),
    Scene(
        "5 % server errors for an hour: both fast alerts",
        3 * DAY,
        expect("AvailabilityBurns:page:1h", "AvailabilityBurns:page:6h"),
        errors(0.05, HOUR),
        step=240,
    ),
    Scene(
        "over for ten minutes: the fastest no longer, by its short window",
        3 * DAY,
        expect("AvailabilityBurns:page:6h"),
        errors(0.05, HOUR, quiet=720),
        step=240,
    ),
    # promtool takes seconds for three days: what is of both objectives happens in the same ones.
    Scene(
        "1 % and 10 % slow for six hours",
        3 * DAY,
        expect("AvailabilityBurns:page:6h", "LatencyBurns:page:6h"),
        both(errors(0.01, 6 * HOUR - 240), slow(0.1, 6 * HOUR - 240)),
        step=240,
    ),
    Scene(
        "0.4 % and 4 % slow for days: tickets, and nobody is woken",
        3 * DAY,
        expect(
            "AvailabilityBurns:ticket:1d",
            "AvailabilityBurns:ticket:3d",
            "LatencyBurns:ticket:1d",
            "LatencyBurns:ticket:3d",
        ),
        both(errors(0.004, 3 * DAY - 240), slow(0.04, 3 * DAY - 240)),
        step=240,
    ),
    Scene(
        "0.15 % and 2 % slow for days: the last ticket of each",
        3 * DAY,
        expect("AvailabilityBurns:ticket:3d", "LatencyBurns:ticket:3d"),
        both(errors(0.0015, 3 * DAY - 240), slow(0.02, 3 * DAY - 240)),
        step=240,
    ),
    Scene("0.05 % for days is within the objective", 3 * DAY, expect(), errors(0.0005, 3 * DAY - 240), step=240),
    Scene("half a minute of errors only", 2 * HOUR, expect(), errors(0.1, 30, quiet=600), step=15),
    Scene("client errors are no failures", HOUR, expect(), lambda clock: requests("422", clock.rising(10))),
    Scene(
        "nor are failing health checks, of which the probes tell",
        HOUR,
        expect(),
        lambda clock: requests("503", clock.rising(10), "/health/ready"),
    ),
    Scene("nor what belongs to no route", HOUR, expect(), lambda clock: requests("500", clock.rising(10), "unmatched")),
    Scene(
        "a quiet service: two errors among three requests in an hour",
        2 * HOUR,
        expect(),
        lambda clock: {
            **requests("500", clock.lately(0, 2, 30 * MINUTE)),
            **requests("200", clock.lately(0, 1, 30 * MINUTE)),
            **requests("404", clock.steady(0)),
            **durations(clock.lately(0, 3, 30 * MINUTE), clock.lately(0, 3, 30 * MINUTE)),
        },
    ),
    Scene(
        "nothing can be reached and nothing is counted: the probes tell",
        6 * HOUR,
        expect(
            "Unreachable:page",
            "ReplicaMissing:ticket",
            "AvailabilityBurns:page:1h",
            "AvailabilityBurns:page:6h",
            "AvailabilityBurns:ticket:1d",
            "AvailabilityBurns:ticket:3d",
        ),
        lambda clock: {
            **up("api", "a", clock.lately(1, 0, 20 * MINUTE)),
            **up("api", "b", clock.lately(1, 0, 20 * MINUTE)),
            **probes(clock.lately(1, 0, 20 * MINUTE)),
            **dict.fromkeys((*requests("200", ""), *durations("", "")), f"0+600x{clock.steps - 20} stale"),
        },
    ),
    Scene("20 % slow for an hour", 3 * DAY, expect("LatencyBurns:page:1h"), slow(0.2, HOUR), step=240),
    Scene("0.9 % slow is within the objective", 2 * HOUR, expect(), slow(0.009, 2 * HOUR - MINUTE)),
]

OTHER_SCENES = [
    Scene("two probes fail", 2 * HOUR, expect(), lambda clock: probes(clock.lately(1, 0, 30)), step=15),
    Scene(
        "all probes of two minutes",
        2 * HOUR,
        expect("Unreachable:page", "AvailabilityBurns:page:1h"),
        lambda clock: probes(clock.lately(1, 0, 2 * MINUTE)),
        step=15,
    ),
    Scene(
        "it answers and is not ready",
        2 * HOUR,
        expect("NotReady:page", "AvailabilityBurns:page:1h"),
        lambda clock: probes(clock.steady(1), clock.lately(1, 0, 2 * MINUTE)),
        step=15,
    ),
    Scene(
        "a new environment, whose first probe came before it served",
        3 * MINUTE,
        expect(),
        lambda clock: probes(f"0 1x{clock.steps - 1}"),
        step=15,
    ),
    Scene(
        "nobody probes",
        HOUR,
        expect("NobodyProbes:ticket", "WatcherAway:ticket"),
        lambda clock: up("probe", "probe", clock.lately(1, 0, 10 * MINUTE)),
        without="probe_",
    ),
    Scene(
        "a certificate for 13 days",
        HOUR,
        expect("CertificateEnds:ticket"),
        lambda clock: certificate(clock, left=13 * DAY),
    ),
    Scene("a certificate for 15 days", HOUR, expect(), lambda clock: certificate(clock, left=15 * DAY)),
    Scene(
        "a certificate for 2 days",
        HOUR,
        expect("CertificateEnds:ticket", "CertificateEnds:page"),
        lambda clock: certificate(clock, left=2 * DAY),
    ),
    Scene(
        "one of two replicas is missing",
        HOUR,
        expect("ReplicaMissing:ticket"),
        lambda clock: up("api", "b", clock.lately(1, 0, 10 * MINUTE)),
    ),
    Scene("for a moment", HOUR, expect(), lambda clock: up("api", "b", clock.lately(1, 0, 4 * MINUTE))),
    Scene(
        "a third replica during a rollout",
        HOUR,
        expect(),
        lambda clock: {
            **up("api", "c", clock.steady(1)),
            **api("release_workers", 'release="2"', f"_x{clock.steps - 20} 2x19"),
        },
    ),
    Scene(
        "a rollout that does not end",
        HOUR,
        expect("TwoReleases:ticket"),
        lambda clock: api("release_workers", 'release="2"', clock.steady(2)),
    ),
    Scene(
        "requests wait for a connection",
        HOUR,
        expect("PoolWaits:ticket"),
        lambda clock: api("waiting", WAITING, clock.lately(0, 3, 15 * MINUTE)),
    ),
    Scene("one waited", HOUR, expect(), lambda clock: api("waiting", WAITING, f"0x{clock.steps - 10} 3 0x8")),
    Scene(
        "passwords are turned away",
        HOUR,
        expect("PasswordsRejected:ticket"),
        lambda clock: api("passwords_total", REJECTED, clock.rising_lately(0.02, 20 * MINUTE)),
    ),
    Scene(
        "no mail goes out any more",
        3 * HOUR,
        expect("MailFails:ticket"),
        lambda clock: {
            **api("mails_total", SENT, clock.rising_lately(0.04, HOUR, quiet=2 * HOUR - MINUTE)),
            **api("mails_total", FAILED, clock.rising_lately(0.02, 2 * HOUR - MINUTE)),
        },
    ),
    Scene(
        "no mail ever went out",
        2 * HOUR,
        expect("MailFails:ticket"),
        lambda clock: api("mails_total", FAILED, clock.rising(0.02)),
        without='slipway_mails_total{job="api",instance="a",outcome="sent"',
    ),
    Scene(
        "PostgreSQL is away",
        HOUR,
        expect("DatabaseAway:page"),
        lambda clock: one('pg_up{job="database"}', clock.lately(1, 0, 3 * MINUTE)),
    ),
    Scene(
        "90 of 100 connections",
        HOUR,
        expect("DatabaseConnections:ticket"),
        lambda clock: one(BACKENDS, clock.steady(88)),
    ),
    Scene("80 of 100 connections", HOUR, expect(), lambda clock: one(BACKENDS, clock.steady(78))),
    Scene(
        "Valkey is away",
        HOUR,
        expect("CacheAway:ticket"),
        lambda clock: api("breakers_open", BREAKER, clock.lately(0, 2, 5 * MINUTE)),
    ),
    Scene(
        "the database's exporter is away",
        HOUR,
        expect("WatcherAway:ticket"),
        lambda clock: up("database", "database", clock.lately(1, 0, 10 * MINUTE)),
    ),
    Scene(
        "alerts do not arrive",
        HOUR,
        expect("AlertsUndelivered:ticket"),
        lambda clock: one(UNDELIVERED, clock.rising_lately(0.02, 30 * MINUTE)),
    ),
    Scene("a backup of 11 hours ago, one due every 6", 11 * HOUR, expect(), lambda clock: one(BACKUP, clock.steady(0))),
    Scene("of 13 hours ago", 13 * HOUR, expect("BackupOld:ticket"), lambda clock: one(BACKUP, clock.steady(0))),
    Scene(
        "of 25 hours ago",
        25 * HOUR,
        expect("BackupOld:ticket", "BackupOld:page"),
        lambda clock: one(BACKUP, clock.steady(0)),
        step=240,
    ),
    Scene(
        "backups fail",
        2 * HOUR,
        expect("BackupFails:ticket"),
        lambda clock: one(BACKUP_FAILED, clock.lately(0, 1, HOUR)),
    ),
    Scene("no backup was ever made", 2 * HOUR, expect("BackupUnknown:ticket"), without="slipway_backup_last_success"),
    Scene(
        "nor when two were due",
        13 * HOUR,
        expect("BackupUnknown:ticket", "BackupUnknown:page"),
        without="slipway_backup_last_success",
    ),
    Scene(
        "hardly any room for backups",
        HOUR,
        expect("BackupDiskFills:page"),
        lambda clock: one(BACKUP_FREE, clock.lately(6e9, 4.9e9, 10 * MINUTE)),
    ),
    Scene(
        "for a moment, while one is made",
        HOUR,
        expect(),
        lambda clock: one(BACKUP_FREE, clock.lately(6e9, 4.9e9, 4 * MINUTE)),
    ),
    Scene(
        "WAL is not archived",
        HOUR,
        expect("ArchivingFails:page"),
        lambda clock: one(NOT_ARCHIVED, clock.rising_lately(0.05, 2 * MINUTE)),
    ),
    Scene(
        "it was not, and is again",
        2 * HOUR,
        expect(),
        lambda clock: one(NOT_ARCHIVED, clock.rising_lately(0.05, HOUR, quiet=20 * MINUTE)),
    ),
    Scene(
        "without backups nobody misses them",
        2 * HOUR,
        expect(),
        lambda clock: one(NOT_ARCHIVED, clock.rising(0.05)),
        without="slipway_backup",
        watched=replace(WATCHED, backup_hours=None),
    ),
]
OWN = replace(WATCHED, certificate_warn_seconds=2 * HOUR, certificate_page_seconds=HOUR // 2)
OWN_AUTHORITY_SCENES = [
    Scene(
        "a certificate of the edge's own authority may end soon",
        HOUR,
        expect(),
        lambda clock: certificate(clock, left=4 * HOUR),
        watched=OWN,
    ),
    Scene(
        "but is renewed before",
        HOUR,
        expect("CertificateEnds:ticket"),
        lambda clock: certificate(clock, left=HOUR),
        watched=OWN,
    ),
]
SCENES = [*OBJECTIVE_SCENES, *OTHER_SCENES, *OWN_AUTHORITY_SCENES]


def outcome(folder: Path, scene: Scene, firing: Firing) -> subprocess.CompletedProcess[str]:
    """What promtool says of a scene, if exactly these alerts should fire at its end."""
    clock = Clock(scene.seconds, scene.step)
    series = {name: values for name, values in health(clock).items() if not name.startswith(scene.without)}
    series |= scene.changes(clock)
    samples = [
        {"labels": _labels(alertname=name, severity=severity, window=window), "value": 1}
        for name, severity, window in sorted(firing)
    ]
    test = {
        "interval": f"{scene.step}s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'max by (alertname, severity, window) (ALERTS{alertstate="firing"})',
                "eval_time": f"{scene.seconds}s",
                "exp_samples": samples,
            }
        ],
    }
    (folder / "rules.yml").write_text(rules(replace(scene.watched, step_seconds=scene.step)))
    content = {"rule_files": ["rules.yml"], "evaluation_interval": f"{scene.step}s", "tests": [test]}
    (folder / "test.yml").write_text(json.dumps(content))
    command = ["promtool", "test", "rules", str(folder / "test.yml")]
    # Its collector would take a sixth of the time, and the machine has memory.
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"GOGC": "400"})


def _labels(**labels: str) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items() if value) + "}"


@needs_promtool
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_fires_what_should_and_nothing_else(tmp_path: Path, scene: Scene) -> None:
    done = outcome(tmp_path, scene, scene.firing)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_a_scene_with_the_wrong_alerts_is_noticed(tmp_path: Path) -> None:
    scene = next(scene for scene in SCENES if scene.name == "PostgreSQL is away")
    assert outcome(tmp_path, scene, expect()).returncode != 0
    assert outcome(tmp_path, scene, scene.firing | expect("CacheAway:ticket")).returncode != 0


@needs_promtool
@pytest.mark.parametrize(
    "objectives", [Objectives(), Objectives(95, 5000, 99.999), Objectives(99.999, 7.5, 95)], ids=str
)
def test_prometheus_accepts_the_rules(tmp_path: Path, objectives: Objectives) -> None:
    (tmp_path / "rules.yml").write_text(rules(replace(WATCHED, objectives=objectives)))
    command = ["promtool", "check", "rules", "--lint=all", "--lint-fatal", str(tmp_path / "rules.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def alerts() -> list[Mapping[str, Any]]:
    groups = yaml.safe_load(rules(WATCHED))["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_every_alert_fires_in_some_scene() -> None:
    fired = {(name, severity) for scene in SCENES for name, severity, _ in scene.firing}
    assert {(alert["alert"], alert["labels"]["severity"]) for alert in alerts()} == fired


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for alert in alerts():
        assert alert["annotations"].keys() == {"summary", "remedy"}
        assert all(alert["annotations"].values())


def test_every_window_of_every_burn_is_recorded() -> None:
    assert {burn.long for burn in BURNS} | {burn.short for burn in BURNS} <= set(WINDOWS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((94.9, 250, 99), "availability_percent is 94.9"),
        ((100, 250, 99), "availability_percent is 100"),
        ((99.9, 250, 50), "latency_percent is 50"),
        ((99.9, 300, 99), "latency_milliseconds is 300: the API's histogram can tell 1, 2, 3, 5, 7.5, 10"),
    ],
)
def test_an_objective_that_cannot_be_watched(arguments: tuple[float, float, float], said: str) -> None:
    with pytest.raises(ObjectiveError) as error:
        Objectives(*arguments)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_fastest_alert_can_fire_for_every_objective() -> None:
    for percent in (LOWEST_PERCENT, HIGHEST_PERCENT):
        assert BURNS[0].factor * Objectives(percent).budget("availability") < 1


def test_the_boundaries_are_those_of_the_apis_histogram() -> None:
    from service import metrics

    assert tuple(1000 * seconds for seconds in metrics._BUCKETS_SECONDS) == LATENCY_BUCKETS_MILLISECONDS


@pytest.mark.parametrize("milliseconds", LATENCY_BUCKETS_MILLISECONDS)
def test_the_boundary_is_written_as_the_api_writes_it(milliseconds: float) -> None:
    from service import metrics

    metrics.observe("GET", "/api/v1/boundaries", 200, 0.5)
    exposition = metrics.exposition("")[0].decode()
    boundary = rules(Watched(Objectives(latency_milliseconds=milliseconds), 1)).split('le="')[1].split('"')[0]
    assert f'route="/api/v1/boundaries",le="{boundary}"' in exposition or f'le="{boundary}",' in exposition

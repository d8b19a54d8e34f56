"""The uptime services and the backups as the program asks for them, under Pulumi's mocks."""

import base64
import json
from typing import Any

import pulumi
import pytest
import yaml

from tests.infra.docker.program import DIGEST, SECRETS, Asked, Recorder, plain, run

SERVICE = "docker:index/service:Service"
CONFIG = "docker:index/serviceConfig:ServiceConfig"
SECRET = "docker:index/secret:Secret"
VOLUME = "docker:index/volume:Volume"
MANAGED = {
    "databaseUrl": "postgresql://boss:hunter2-planted-password@db.example.com:5433/postgres",
    **{name: value for name, value in SECRETS.items() if name != "adminPassword"},
}
WATCHERS = ("blackbox", "alertmanager", "postgres-exporter", "prometheus", "grafana")


def environment(**sections: Any) -> Recorder:
    secrets = sections.pop("secrets", SECRETS)
    return run("dev", {"image": f"registry.example.com/slipway@{DIGEST}", **sections}, secrets)


def service(asked: Recorder, part: str) -> dict[str, Any]:
    (found,) = [each for each in asked.of(SERVICE) if each.name == f"slipway-dev-{part}"]
    inputs: dict[str, Any] = plain(found.inputs)
    return inputs


def container(asked: Recorder, part: str) -> dict[str, Any]:
    spec: dict[str, Any] = service(asked, part)["taskSpec"]["containerSpec"]
    return spec


def content(asked: Recorder, kind: str, name: str) -> str:
    (found,) = [each for each in asked.of(kind) if each.name == f"slipway-dev-{name}"]
    return base64.b64decode(plain(found.inputs)["data"]).decode()


def parts(asked: Recorder) -> set[str]:
    return {each.name.removeprefix("slipway-dev-") for each in asked.of(SERVICE)}


def mounts(asked: Recorder, part: str) -> dict[str, str]:
    return {each["target"]: each.get("source", each["type"]) for each in container(asked, part)["mounts"]}


def networks(asked: Recorder, part: str) -> set[str]:
    return {each["id"] for each in service(asked, part)["taskSpec"]["networksAdvanceds"]}


EDGE, INTERNAL = "slipway-dev-edge-id", "slipway-dev-internal-id"


@pytest.fixture(scope="module")
def everything() -> Recorder:
    secrets = SECRETS | {
        "alertWebhook": "https://hooks.example.com/planted-token",
        "alertMailPassword": "planted-alert-password-1",
    }
    return environment(
        uptime={"grafana": True, "alertMailTo": "a@example.com", "availabilityPercent": 99.5, "retentionDays": 40},
        mail={"url": "smtp://me@mail.example.com:587", "from": "Slipway <no-reply@example.com>"},
        backups={"everyHours": 6, "keepDays": 30},
        api={"replicas": 3},
        database={"maxConnections": 150},
        secrets=secrets,
    )


def test_nothing_of_it_publishes_a_port(everything: Recorder) -> None:
    for part in (*WATCHERS, "backup"):
        assert "ports" not in service(everything, part)["endpointSpec"], part


def test_prometheus_is_on_the_internal_network_alone(everything: Recorder) -> None:
    assert networks(everything, "prometheus") == {INTERNAL}
    assert networks(everything, "backup") == {INTERNAL}
    assert networks(everything, "postgres-exporter") == {INTERNAL}
    for part in ("blackbox", "alertmanager", "grafana"):
        assert networks(everything, part) == {EDGE, INTERNAL}


def test_prometheus_reads_what_the_backup_writes_on_the_same_node(everything: Recorder) -> None:
    assert mounts(everything, "backup")["/tmp"] == mounts(everything, "prometheus")["/var/tmp"]
    assert "--web.user-assets=/var/tmp" in container(everything, "prometheus")["args"]
    places = {
        json.dumps(service(everything, part)["taskSpec"]["placement"]["constraints"])
        for part in ("prometheus", "backup", "database")
    }
    assert places == {'["node.id==thisnode"]'}


def test_dumps_are_on_a_volume_of_their_own(everything: Recorder) -> None:
    sources = [source for part in parts(everything) for source in mounts(everything, part).values()]
    assert sources.count(mounts(everything, "backup")["/var/tmp"]) == 1


def test_the_stack_says_how_long_and_how_often(everything: Recorder) -> None:
    assert "--storage.tsdb.retention.time=40d" in container(everything, "prometheus")["args"]
    told = container(everything, "backup")["env"]
    assert (told["EVERY_SECONDS"], told["KEEP_SECONDS"]) == ("21600", "2592000")
    rules = content(everything, CONFIG, "prometheus-rules")
    assert "slipway:budget:share" in rules
    assert "vector(0.005)" in rules
    assert "< 3" in rules
    assert "> 43200" in rules


def test_who_dumps_and_who_measures_may_only_read(everything: Recorder) -> None:
    assert container(everything, "backup")["env"]["PGUSER"] == "slipway_monitor"
    assert container(everything, "postgres-exporter")["env"]["DATA_SOURCE_USER"] == "slipway_monitor"
    for part in ("backup", "postgres-exporter"):
        assert [each["fileName"] for each in container(everything, part)["secrets"]] == [
            "/run/secrets/monitor_password"
        ]


def test_alerts_go_to_the_webhook_and_by_mail(everything: Recorder) -> None:
    (receiver,) = yaml.safe_load(content(everything, SECRET, "alertmanager-configuration"))["receivers"]
    assert receiver["webhook_configs"][0]["url"] == "https://hooks.example.com/planted-token"
    (mail,) = receiver["email_configs"]
    assert (mail["to"], mail["smarthost"]) == ("a@example.com", "mail.example.com:587")
    assert mail["auth_password"] == "planted-alert-password-1"


def test_grafana_gets_the_dashboard_and_asks_prometheus(everything: Recorder) -> None:
    assert json.loads(content(everything, CONFIG, "grafana-dashboard"))["title"] == "Slipway dev"
    assert "http://slipway-dev-prometheus:9090" in content(everything, CONFIG, "grafana-datasources")
    files = {each["fileName"] for each in container(everything, "grafana")["configs"]}
    assert container(everything, "grafana")["env"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] in files
    assert container(everything, "grafana")["env"]["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


def test_an_edge_of_its_own_authority_is_probed_in_its_container() -> None:
    asked = environment(edge={"domain": "localhost", "httpsPort": 8443, "httpPort": 8080})
    scraped = yaml.safe_load(content(asked, CONFIG, "prometheus-config"))["scrape_configs"]
    probes = next(job for job in scraped if job["job_name"] == "probe")["static_configs"]
    assert probes[0]["targets"] == ["https://slipway-dev-edge:8443/health/live"]
    assert probes[0]["labels"]["instance"] == "https://localhost:8443"
    assert yaml.safe_load(content(asked, CONFIG, "blackbox-config"))["modules"]["https"]["http"]["tls_config"] == {
        "server_name": "localhost",
        "insecure_skip_verify": True,
    }
    assert "- time() < 7200" in content(asked, CONFIG, "prometheus-rules")


@pytest.mark.parametrize(
    "sections",
    [
        {
            "edge": {
                "domain": "tasks.example.com",
                "tls": "automatic",
                "acmeEmail": "a@example.com",
                "httpsPort": 443,
                "httpPort": 80,
            }
        },
        {"uptime": {"publicUrl": "https://tasks.example.com"}},
    ],
    ids=["its own domain", "behind a balancer"],
)
def test_a_public_address_is_probed_as_clients_find_it(sections: dict[str, Any]) -> None:
    asked = environment(**sections)
    assert "https://tasks.example.com/health/ready" in content(asked, CONFIG, "prometheus-config")
    assert "insecure_skip_verify: false" in content(asked, CONFIG, "blackbox-config")
    assert "- time() < 1209600" in content(asked, CONFIG, "prometheus-rules")


def test_a_managed_database_is_reached_through_the_edge_network_and_verified() -> None:
    asked = environment(database={"mode": "external", "maxConnections": 220}, secrets=MANAGED)
    told = container(asked, "postgres-exporter")["env"]
    assert told["DATA_SOURCE_URI"].startswith("db.example.com:5433/slipway?connect_timeout=3&sslmode=verify-full")
    assert networks(asked, "postgres-exporter") == {EDGE, INTERNAL}
    told = container(asked, "backup")["env"]
    assert (told["PGHOST"], told["PGPORT"], told["PGSSLMODE"]) == ("db.example.com", "5433", "verify-full")
    assert networks(asked, "backup") == {EDGE}


def test_switched_off_nothing_of_it_is_there() -> None:
    asked = environment(uptime={"enabled": False}, backups={"enabled": False})
    assert not parts(asked) & {*WATCHERS, "backup"}
    names = {each.name for each in asked.of(VOLUME)}
    assert not {name for name in names if "backup" in name or "prometheus" in name}


def test_without_backups_nobody_misses_them() -> None:
    asked = environment(backups={"enabled": False})
    assert "Backup" not in content(asked, CONFIG, "prometheus-rules")
    assert "/user/" not in content(asked, CONFIG, "prometheus-config")
    assert not any("user-assets" in word for word in container(asked, "prometheus")["args"])
    assert "grafana" not in parts(asked)


def test_an_objective_that_cannot_be_watched_fails_the_preview() -> None:
    with pytest.raises(pulumi.RunError, match="histogram can tell"):
        environment(uptime={"latencyMilliseconds": 300})


def volume(asked: Recorder, name: str) -> Asked:
    (found,) = [each for each in asked.of(VOLUME) if each.name == name]
    return found


def test_every_volume_is_labelled(everything: Recorder) -> None:
    for name in ("prometheus", "alertmanager", "grafana", "backups", "backup-figures"):
        labels = {each["label"]: each["value"] for each in volume(everything, f"slipway-dev-{name}").inputs["labels"]}
        assert labels["slipway.environment"] == "dev"

"""What the uptime services read: by their own checks where those programs are installed, and by what it must say."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.docker.uptime_configs import (
    BACKUP_FIGURES,
    RULES_FILE,
    Mailbox,
    Probed,
    Targets,
    alertmanager,
    blackbox,
    grafana_dashboards,
    grafana_datasources,
    mailbox_of,
    prometheus,
)
from infra.docker.uptime_rules import Objectives, Watched, rules

OUTSIDE = Probed("https://tasks.example.com", verified=True)
OWN = Probed("https://localhost:8443", verified=False, address="slipway-dev-edge:8443")
WEBHOOK = "https://hooks.example.com/planted-token"
MAILBOX = Mailbox("a@example.com, b@example.com", "Slipway <no-reply@example.com>", "mail.example.com:587", "me", "pw")


def needs(program: str, package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs {program}, of Debian's package {package}")


def targets(probed: Probed, *, backup_figures: bool = True) -> Targets:
    return Targets(
        environment="dev",
        probed=probed,
        api="slipway-dev-api",
        api_port=8000,
        blackbox="slipway-dev-blackbox",
        alertmanager="slipway-dev-alertmanager",
        postgres_exporter="slipway-dev-postgres-exporter",
        backup_figures=backup_figures,
    )


def accepted(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@needs("promtool", "prometheus")
@pytest.mark.parametrize("probed", [OUTSIDE, OWN], ids=["outside", "own"])
def test_prometheus_accepts_its_configuration(tmp_path: Path, probed: Probed) -> None:
    rule_file = written(tmp_path / "rules.yml", rules(Watched(Objectives(), 2, backup_hours=24)))
    text = prometheus(targets(probed)).replace(RULES_FILE, str(rule_file))
    assert "1 rule files found" in accepted("promtool", "check", "config", written(tmp_path / "prometheus.yml", text))


@needs("amtool", "prometheus-alertmanager")
@pytest.mark.parametrize("webhook", [None, WEBHOOK])
@pytest.mark.parametrize("mailbox", [None, MAILBOX], ids=["no mail", "mail"])
def test_alertmanager_accepts_its_configuration(tmp_path: Path, webhook: str | None, mailbox: Mailbox | None) -> None:
    text = alertmanager(environment="dev", webhook_url=webhook, mailbox=mailbox)
    accepted("amtool", "check-config", written(tmp_path / "alertmanager.yml", text))


@needs("amtool", "prometheus-alertmanager")
@pytest.mark.parametrize("severity", ["page", "ticket"])
def test_every_alert_goes_to_the_operators(tmp_path: Path, severity: str) -> None:
    path = written(tmp_path / "alertmanager.yml", alertmanager(environment="dev", webhook_url=WEBHOOK))
    told = accepted(
        "amtool", "config", "routes", "test", f"--config.file={path}", f"severity={severity}", "alertname=X"
    )
    assert told.strip() == "operators"


@needs("prometheus-blackbox-exporter", "prometheus-blackbox-exporter")
@pytest.mark.parametrize("probed", [OUTSIDE, OWN], ids=["outside", "own"])
def test_the_blackbox_exporter_accepts_its_configuration(tmp_path: Path, probed: Probed) -> None:
    path = written(tmp_path / "blackbox.yml", blackbox(probed))
    accepted("prometheus-blackbox-exporter", "--config.check", f"--config.file={path}")


def module(probed: Probed) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(blackbox(probed))["modules"]["https"]["http"]
    return found


def job(name: str, probed: Probed = OUTSIDE, **changes: bool) -> dict[str, Any]:
    jobs: list[dict[str, Any]] = yaml.safe_load(prometheus(targets(probed, **changes)))["scrape_configs"]
    return next((each for each in jobs if each["job_name"] == name), {})


def test_a_public_certificate_is_verified_for_its_name() -> None:
    assert module(OUTSIDE)["tls_config"] == {"server_name": "tasks.example.com", "insecure_skip_verify": False}
    assert module(OUTSIDE)["fail_if_not_ssl"] is True


def test_only_the_edges_own_authority_is_not() -> None:
    assert module(OWN)["tls_config"] == {"server_name": "localhost", "insecure_skip_verify": True}
    assert module(OWN)["headers"] == {"Host": "localhost:8443"}


def test_probes_ask_for_the_public_url() -> None:
    found = {each["labels"]["check"]: each for each in job("probe")["static_configs"]}
    assert found["live"]["targets"] == ["https://tasks.example.com/health/live"]
    assert found["ready"]["targets"] == ["https://tasks.example.com/health/ready"]
    assert all(each["labels"]["instance"] == "https://tasks.example.com" for each in found.values())


def test_probes_connect_to_the_edge_where_no_dns_knows_the_name() -> None:
    found = job("probe", OWN)["static_configs"]
    assert found[1]["targets"] == ["https://slipway-dev-edge:8443/health/ready"]
    assert found[1]["labels"]["instance"] == "https://localhost:8443"


def test_every_replica_is_scraped_by_itself() -> None:
    (discovery,) = job("api")["dns_sd_configs"]
    assert (discovery["names"], discovery["type"], discovery["port"]) == (["slipway-dev-api"], "A", 8000)


def test_backups_are_scraped_where_there_are_some() -> None:
    assert job("backup")["metrics_path"] == f"/user/{BACKUP_FIGURES}"
    assert job("backup", backup_figures=False) == {}


def test_alerts_without_a_receiver_stay_where_status_shows_them() -> None:
    assert yaml.safe_load(alertmanager(environment="dev"))["receivers"] == [{"name": "operators"}]


def test_a_mail_says_where_what_and_what_to_do() -> None:
    (mail,) = yaml.safe_load(alertmanager(environment="dev", mailbox=MAILBOX))["receivers"][0]["email_configs"]
    assert mail["headers"]["Subject"].startswith("[dev] {{ .Status }}: {{ .CommonLabels.alertname }}")
    assert "{{ .Annotations.remedy }}" in mail["text"]
    assert mail["html"] == ""


def test_a_page_silences_the_ticket_of_the_same_trouble() -> None:
    first = yaml.safe_load(alertmanager(environment="dev"))["inhibit_rules"][0]
    assert first["equal"] == ["environment", "alertname"]
    assert (first["source_matchers"], first["target_matchers"]) == (['severity="page"'], ['severity="ticket"'])


@pytest.mark.parametrize(
    ("url", "smarthost", "username", "starttls"),
    [
        ("smtp://me%40example.com@mail.example.com:587", "mail.example.com:587", "me@example.com", True),
        ("smtp://mail.example.com", "mail.example.com:587", "", True),
        ("smtps://me@mail.example.com", "mail.example.com:465", "me", False),
    ],
)
def test_alerts_are_mailed_as_all_mail(url: str, smarthost: str, username: str, starttls: bool) -> None:  # noqa: FBT001
    assert mailbox_of(url, to="a@example.com", sender="b@example.com", password="pw") == Mailbox(
        "a@example.com", "b@example.com", smarthost, username, "pw", starttls
    )


@pytest.mark.parametrize("url", ["outbox:///tmp", "smtps://me@mail.example.com:2465", "smtp://mail.example.com:465"])
def test_what_alertmanager_cannot_mail_through(url: str) -> None:
    with pytest.raises(ValueError, match="alerts cannot be mailed through") as error:
        mailbox_of(url, to="a@example.com", sender="b@example.com")
    assert "\n" not in str(error.value)


def test_grafana_reads_prometheus_and_the_dashboards_folder() -> None:
    (source,) = yaml.safe_load(grafana_datasources("slipway-dev-prometheus"))["datasources"]
    assert source["url"] == "http://slipway-dev-prometheus:9090"
    assert source["uid"] == "prometheus"
    (provider,) = yaml.safe_load(grafana_dashboards("/etc/grafana/dashboards"))["providers"]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"

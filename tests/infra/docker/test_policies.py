"""What holds for each container of each environment, asserted over the whole program under Pulumi's mocks."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.__main__ import registry_auth
from infra.contract import HEALTH_WATCHED_SECONDS
from tests.infra.docker.program import DIGEST, PLANTED, SECRETS, Asked, Recorder, plain, run

PROJECT = Path(__file__).parents[3]
SERVICE = "docker:index/service:Service"
SECRET = "docker:index/secret:Secret"
JOB = "pulumi-python:dynamic/slipway:Job"
IMAGE = re.compile(r"[\w][\w.\-:/]*@sha256:[0-9a-f]{64}")
EXTERNAL = {
    "databaseUrl": "postgresql://boss:hunter2-planted-password@db.example.com:5433/postgres",
    **{name: value for name, value in SECRETS.items() if name != "adminPassword"},
}
VARIANTS = ("dev", "staging", "production", "production with everything", "production, managed database")


def config_of(environment: str) -> dict[str, Any]:
    content = yaml.safe_load((PROJECT / f"Pulumi.{environment}.yaml").read_text())
    config = {key.removeprefix("slipway:"): value for key, value in content["config"].items()}
    return config | ({} if environment == "dev" else {"image": f"registry.example.com/slipway@{DIGEST}"})


def variant(name: str) -> Recorder:
    environment = re.split(r"[ ,]", name)[0]
    config, secrets = config_of(environment), SECRETS
    if "everything" in name:
        config["uptime"] = config["uptime"] | {"grafana": True}
        secrets = SECRETS | {
            "mailPassword": "planted-mail-password-1",
            "alertWebhook": "https://hooks.example.com/planted-token",
            "alertMailPassword": "planted-alert-password-1",
        }
    if "managed" in name:
        config["database"] = {"mode": "external", "maxConnections": 220}
        secrets = EXTERNAL
    return run(environment, config, secrets)


@pytest.fixture(scope="module", params=VARIANTS)
def asked(request: pytest.FixtureRequest) -> Recorder:
    return variant(request.param)


def services(asked: Recorder) -> list[Asked]:
    found = asked.of(SERVICE)
    assert {"api", "edge", "cache"} <= {each.name.split("-")[-1] for each in found}
    return found


def containers(asked: Recorder) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in services(asked):
        yield each.name, plain(each.inputs["taskSpec"]["containerSpec"])


def test_every_container_is_limited(asked: Recorder) -> None:
    for service in services(asked):
        limits = service.inputs["taskSpec"]["resources"]["limits"]
        assert limits["memoryBytes"] > 0, service.name
        assert limits["nanoCpus"] > 0, service.name
        policy = service.inputs["taskSpec"]["restartPolicy"]
        assert policy["maxAttempts"] > 0, service.name
    for job in asked.of(JOB):
        assert job.inputs["spec"]["cpus"] > 0
        assert job.inputs["spec"]["memory_mib"] > 0


def test_every_container_is_checked(asked: Recorder) -> None:
    for name, container in containers(asked):
        tests = container["healthcheck"]["tests"]
        assert tests[0] in {"CMD", "CMD-SHELL"}, name
        assert len(tests) > 1, name


def test_no_container_is_root_or_gets_a_capability(asked: Recorder) -> None:
    for name, container in containers(asked):
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", container["user"]), name
        assert "capAdds" not in container, name
        dropped = set(container["capDrops"])
        assert dropped == {"ALL"} or (name.endswith("-edge") and len(dropped) == 13), name
        assert container["readOnly"] is True, name
    for job in asked.of(JOB):
        assert job.inputs["spec"]["uid"] > 0


def test_nothing_but_the_edge_publishes_a_port(asked: Recorder) -> None:
    for service in services(asked):
        endpoint = service.inputs["endpointSpec"]
        assert endpoint["mode"] == "dnsrr"
        assert bool(endpoint.get("ports")) == service.name.endswith("-edge")


def test_the_database_and_the_cache_cannot_be_reached_from_outside(asked: Recorder) -> None:
    internal = {net.name: net.inputs["internal"] for net in asked.of("docker:index/network:Network")}
    assert sorted(internal.values()) == [False, True]
    for service in services(asked):
        names = {network["id"].removesuffix("-id") for network in service.inputs["taskSpec"]["networksAdvanceds"]}
        if service.name.endswith(("-database", "-cache")):
            assert [internal[name] for name in names] == [True]


def test_secret_values_are_nowhere_but_in_secrets(asked: Recorder) -> None:
    for each in asked.asked:
        inputs = dict(each.inputs)
        if each.type == SECRET:
            assert plain(each.inputs["data"]) != each.inputs["data"], f"{each.name} is not marked secret"
            content = base64.b64decode(plain(each.inputs["data"])).decode()
            nothing_to_hide = each.name.endswith("-alertmanager-configuration")
            assert nothing_to_hide or any(word in content for word in PLANTED), each.name
            del inputs["data"]
        text = json.dumps(inputs)
        decoded = "".join(
            base64.b64decode(word).decode("latin1")
            for word in re.findall(r"[A-Za-z0-9+/=]{40,}", text)
            if len(word) % 4 == 0
        )
        assert not [word for word in PLANTED if word in text or word in decoded], f"{each.type} {each.name}"


def test_secrets_are_files_of_one_user_only(asked: Recorder) -> None:
    for name, container in containers(asked):
        for file in container.get("secrets", []):
            assert file["fileMode"] == 0o400, name
            assert file["fileUid"] == container["user"].split(":")[0], name


@pytest.mark.parametrize("name", [each for each in VARIANTS if each.startswith("production")])
def test_production_pins_images_keeps_replicas_and_protects_the_database(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pulumi_docker

    kept: dict[str, tuple[bool | None, bool | None]] = {}
    original = pulumi_docker.Volume.__init__

    def watched(self: Any, resource: str, *, opts: Any, **kwargs: Any) -> None:
        kept[resource] = (opts.protect, opts.retain_on_delete)
        original(self, resource, opts=opts, **kwargs)

    monkeypatch.setattr(pulumi_docker.Volume, "__init__", watched)
    asked = variant(name)
    for each, container in containers(asked):
        assert IMAGE.fullmatch(container["image"]), each
    for job in asked.of(JOB):
        assert IMAGE.fullmatch(job.inputs["spec"]["image"])
    api = next(each for each in services(asked) if each.name.endswith("-api"))
    assert api.inputs["mode"]["replicated"]["replicas"] >= 2
    if "managed" not in name:
        assert kept["slipway-production-database"] == (True, True)
        assert kept["slipway-production-wal"] == (True, True)


def test_the_api_rolls_out_without_a_gap(asked: Recorder) -> None:
    api = next(each for each in services(asked) if each.name.endswith("-api")).inputs
    assert api["updateConfig"]["order"] == "start-first"
    assert api["updateConfig"]["failureAction"] == "rollback"
    assert api["taskSpec"]["placement"]["prefs"] == ["spread=node.id"]
    assert api["taskSpec"]["containerSpec"]["stopGracePeriod"] == "40s"
    assert {"target": "/tmp", "type": "tmpfs"}.items() <= api["taskSpec"]["containerSpec"]["mounts"][0].items()
    # The next one's turn comes, and the rollout ends, only while readiness still counts.
    for each in ("delay", "monitor"):
        assert float(api["updateConfig"][each].removesuffix("s")) < HEALTH_WATCHED_SECONDS / 2


def test_one_edge_stays_where_its_certificates_are(asked: Recorder) -> None:
    edge = next(each for each in services(asked) if each.name.endswith("-edge")).inputs
    assert edge["taskSpec"]["placement"]["constraints"] == ["node.id==thisnode"]


def test_nodes_may_pull_what_this_machine_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    image = f"registry.example.com/slipway@{DIGEST}"
    assert registry_auth(image) is None, "nobody logged in anywhere"
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"registry.example.com": {"auth": "cGxhbnRlZA=="}}}))
    [found] = registry_auth(image) or []
    assert (found.address, found.config_file) == ("registry.example.com", str(tmp_path / "config.json"))
    assert found.password is None
    assert registry_auth("elsewhere.example.com/slipway") is None
    assert registry_auth(None) is None


def test_the_apis_settings_have_an_order(asked: Recorder) -> None:
    """pulumi-docker knows none for a service's environment, and in another order it is another container to Swarm."""
    container = plain(next(each for name, each in containers(asked) if name.endswith("-api")))
    env, *rest = container["commands"]
    settings = rest[: rest.index("python")]
    assert env == "env"
    assert settings == sorted(settings)
    assert all(re.fullmatch(r"SLIPWAY_[A-Z_]+=.*", each) for each in settings)
    assert len(container["env"]) == 1


def test_a_managed_database_is_verified_and_its_administrator_is_the_urls() -> None:
    asked = variant("production, managed database")
    assert not [each for each in services(asked) if each.name.endswith("-database")]
    bootstrap, migration = (plain(job.inputs["spec"]) for job in sorted(asked.of(JOB), key=lambda job: job.name))
    assert bootstrap["env"]["SLIPWAY_DATABASE_URL"] == "postgresql://boss@db.example.com:5433/postgres"
    assert migration["env"]["SLIPWAY_DATABASE_URL"] == "postgresql://slipway_migrator@db.example.com:5433/slipway"
    for spec in (bootstrap, migration):
        assert spec["env"]["SLIPWAY_DATABASE_TLS"] == "true"
        assert spec["networks"] == ["slipway-production-edge-id"]
    admin = next(each for each in asked.of(SECRET) if each.name.endswith("-admin-password"))
    assert base64.b64decode(plain(admin.inputs["data"])) == b"hunter2-planted-password"

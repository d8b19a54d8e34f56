"""The database as the program asks for it, under Pulumi's mocks, and whom its clients trust."""

import base64
import ssl
from pathlib import Path
from typing import Any

import certifi
import pytest

from infra.contract import IMAGE_UID
from infra.docker.database import CA_FILE
from tests.infra.docker.program import DIGEST, SECRETS, Recorder, plain, run

SERVICE = "docker:index/service:Service"
CONFIG = "docker:index/serviceConfig:ServiceConfig"
MANAGED = {
    "databaseUrl": "postgresql://boss:hunter2-planted-password@db.example.com:5433/postgres",
    **{name: value for name, value in SECRETS.items() if name != "adminPassword"},
}
CONFIG_BYTES = 500_000
"""The largest config that every engine's Swarm takes."""


def environment(secrets: dict[str, str] = SECRETS, **sections: Any) -> Recorder:
    return run("dev", {"image": f"registry.example.com/slipway@{DIGEST}", **sections}, secrets)


def container(asked: Recorder, part: str) -> dict[str, Any]:
    (found,) = [each for each in asked.of(SERVICE) if each.name == f"slipway-dev-{part}"]
    spec: dict[str, Any] = plain(found.inputs)["taskSpec"]["containerSpec"]
    return spec


def authorities(asked: Recorder) -> str:
    (found,) = [each for each in asked.of(CONFIG) if each.name == "slipway-dev-database-ca"]
    return base64.b64decode(plain(found.inputs)["data"]).decode()


def trusting(asked: Recorder) -> set[str]:
    """Which services are given the file of authorities."""
    return {
        each.name.removeprefix("slipway-dev-")
        for each in asked.of(SERVICE)
        for file in plain(each.inputs)["taskSpec"]["containerSpec"].get("configs", [])
        if file["configName"].startswith("slipway-dev-database-ca-")
        and (file["fileName"], file["fileUid"]) == (CA_FILE, str(IMAGE_UID))
    }


def test_crash_recovery_may_take_an_hour() -> None:
    check = container(environment(), "database")["healthcheck"]
    assert check["startPeriod"] == "1h"
    assert check["retries"] * float(check["interval"].removesuffix("s")) < 60, "a server that hangs later is found soon"


@pytest.mark.parametrize(("enabled", "mode"), [(True, "on"), (False, "off")])
def test_wal_is_archived_where_there_are_backups(enabled: bool, mode: str) -> None:  # noqa: FBT001
    words = container(environment(backups={"enabled": enabled}), "database")["args"]
    assert f"archive_mode={mode}" in words
    assert any(word.startswith("archive_command=") for word in words) is enabled


def test_public_images_verify_a_managed_database_by_public_authorities() -> None:
    asked = environment(MANAGED, database={"mode": "external", "maxConnections": 200})
    assert trusting(asked) == {"backup", "postgres-exporter"}
    assert container(asked, "backup")["env"]["PGSSLROOTCERT"] == CA_FILE
    assert container(asked, "postgres-exporter")["env"]["DATA_SOURCE_URI"].endswith(
        f"&sslmode=verify-full&sslrootcert={CA_FILE}"
    )
    assert len(authorities(asked)) < CONFIG_BYTES
    assert len(ssl.create_default_context(cadata=authorities(asked)).get_ca_certs()) > 100


def test_everybody_verifies_a_managed_database_by_the_stacks_file(tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    own.write_text(certifi.contents()[-2000:])
    asked = environment(MANAGED, database={"mode": "external", "maxConnections": 200, "caFile": str(own)})
    assert trusting(asked) == {"api", "backup", "postgres-exporter"}
    assert authorities(asked) == own.read_text()


def test_a_database_on_the_internal_network_needs_no_authority() -> None:
    asked = environment()
    assert not trusting(asked)
    assert "PGSSLROOTCERT" not in container(asked, "backup")["env"]
    assert container(asked, "postgres-exporter")["env"]["DATA_SOURCE_URI"].endswith("&sslmode=disable")

"""Beyond the proofs asked for: a database that somebody else runs, whose administrator is no superuser."""

import asyncio
import contextlib
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from infra import generate
from infra.docker.database import UID
from tests.deploy.docker.figures import keep
from tests.deploy.docker.ground import Ground, wait_for
from tests.deploy.standins import image as standin
from tests.tls_front import TlsFront

if TYPE_CHECKING:
    import docker

CA_FILE = "managed-ca.pem"
ADMINISTRATOR = """
    CREATE ROLE managed_admin LOGIN CREATEROLE CREATEDB PASSWORD '{password}';
    GRANT pg_monitor TO managed_admin WITH ADMIN OPTION;
"""


@dataclass(frozen=True)
class Managed:
    """A PostgreSQL outside the swarm.

    Args:
        url: for its administrator.
        certificate: that vouches for it.
    """

    url: str
    certificate: Path


@pytest.fixture
def managed(client: "docker.DockerClient", tmp_path: Path) -> Iterator[Managed]:
    """On this machine itself, as a managed one is somewhere else: with TLS, and a certificate for its address."""
    bridge = client.networks.get("docker_gwbridge")
    host = str(bridge.attrs["IPAM"]["Config"][0]["Gateway"])
    certificate, password = _certificate(tmp_path, host), generate.password()
    with tempfile.TemporaryDirectory(prefix="slipway-pg-") as sockets:  # short: it holds a socket
        os.chown(sockets, UID, UID)
        container = client.containers.run(
            standin("postgres"),
            user=f"{UID}:{UID}",
            environment={"POSTGRES_USER": "owner", "POSTGRES_PASSWORD": generate.password()},
            volumes={sockets: {"bind": "/var/run/postgresql", "mode": "rw"}},
            detach=True,
        )
        try:
            _make_administrator(container, password)
            with _fronted(Path(sockets) / ".s.PGSQL.5432", tmp_path, host) as port:
                yield Managed(f"postgresql://managed_admin:{password}@{host}:{port}/postgres", certificate)
        finally:
            container.remove(v=True, force=True)


def _make_administrator(container: Any, password: str) -> None:
    ask = ["psql", "-U", "owner", "-d", "postgres", "-c"]
    wait_for(lambda: container.exec_run([*ask, "SELECT 1"]).exit_code == 0, 60)
    made = container.exec_run([*ask, ADMINISTRATOR.format(password=password)])
    assert made.exit_code == 0, made.output


@contextlib.contextmanager
def _fronted(socket: Path, folder: Path, host: str) -> Iterator[int]:
    """TLS before it; the port."""
    front, loop = TlsFront(socket, folder), asyncio.new_event_loop()
    listening = loop.run_until_complete(front.serve(host))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield front.port
    finally:
        loop.call_soon_threadsafe(listening.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _certificate(folder: Path, host: str) -> Path:
    folder.chmod(0o755)
    make = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    of = ("-subj", "/CN=managed", "-addext", f"subjectAltName=IP:{host}", "-days", "1")
    subprocess.run(
        [*make, *of, "-keyout", "server.key", "-out", "server.crt"], cwd=folder, check=True, capture_output=True
    )
    return folder / "server.crt"


def test_an_environment_on_a_managed_database(ground: Ground, managed: Managed) -> None:
    (ground.checkout.folder / CA_FILE).write_bytes(managed.certificate.read_bytes())
    sections: dict[str, Any] = {"api": {"replicas": 2, "workers": 1}}
    sections["database"] = {"mode": "external", "caFile": CA_FILE}
    sections["backups"] = {"enabled": False}  # the stand-in's pg_dump is built without TLS
    with ground.environment("staging", **sections) as environment:
        environment.verb("init").good()
        environment.pulumi("config", "set", "--secret", "slipway:databaseUrl", managed.url).good()
        up = environment.up("--no-probe")
        unchanged = environment.up("--no-probe")
        environment.configure(image=ground.releases.reference("second"))
        released = environment.up("--no-probe")  # the bootstrap once more
        assert environment.version()["release"] == ground.releases.name_of("second")
        assert environment.is_complete("postgres-exporter")
        down = environment.verb("down", "--yes").good()
        keep(
            "9 managed database",
            {
                "up_seconds": round(up.said.seconds, 1),
                "unchanged_up_changes": sum(unchanged.changed.values()),
                "release_seconds": round(released.said.seconds, 1),
                "smoke_checks": len(released.smoke),
                "down_seconds": round(down.seconds, 1),
                "left": environment.left(),
            },
        )
        assert unchanged.changed == {}, unchanged.said.text
        assert environment.left() == []

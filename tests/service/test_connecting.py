"""TLS to PostgreSQL, with certificates of our own; and where it is asked for."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from service.connecting import connect, connection_arguments
from service.database import Database, Statement
from service.errors import DatabaseUnreachableError, SettingsError
from service.settings import MigrationSettings
from tests.service.conftest import PASSWORDS, Host
from tests.tls_front import TlsFront

NAME = "database.test"


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a certificate of its for the server's name, and another authority."""
    folder = tmp_path_factory.mktemp("certificates")
    make = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1")
    openssl(folder, *make, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=authority")
    openssl(folder, *make, "-keyout", "other.key", "-out", "other.crt", "-subj", "/CN=another authority")
    signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-keyout", "server.key", "-out", "server.crt")
    named = ("-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-addext", "basicConstraints=CA:FALSE")
    openssl(folder, *make, *signed, *named)
    return folder


@pytest.fixture
async def server(host: Host, certificates: Path) -> AsyncIterator[TlsFront]:
    front = TlsFront(host.server.socket_directory / ".s.PGSQL.5432", certificates)
    listening = await front.serve()
    yield front
    listening.close()


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of other hosts that all lead back here."""
    resolve = socket.getaddrinfo

    def resolve_here(host: Any, *arguments: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if str(host).endswith(".test") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_here)


def settings(server: TlsFront, host: str = NAME, **changes: Any) -> MigrationSettings:
    known: dict[str, Any] = {
        "database_url": f"postgresql://slipway_app@{host}:{server.port}/shared",
        "database_password": PASSWORDS["slipway_app"],
        "database_start_wait_seconds": 0,
        "database_ca_file": server.folder / "ca.crt",
    }
    return MigrationSettings(**(known | changes))


async def visit(settings: MigrationSettings) -> None:
    connection = await connect(settings)
    await connection.close()


async def test_a_vouched_for_server_is_reached(server: TlsFront, shared_database: str) -> None:
    await visit(settings(server))
    url = f"postgresql://slipway_app@{NAME}:{server.port}/{shared_database}?sslmode=verify-full"
    await visit(settings(server, database_url=url))
    assert server.encrypted == [True, True]


async def test_so_does_the_pool(server: TlsFront, host: Host, shared_database: str) -> None:
    url = f"postgresql://slipway_app@{NAME}:{server.port}/{shared_database}"
    database = Database(host.settings(shared_database, database_url=url, database_ca_file=server.folder / "ca.crt"))
    await database.open()
    for _ in range(3):
        assert await database.fetch_value(Statement(text("SELECT 1"))) == 1
    await database.close()
    assert server.encrypted == [True]


@pytest.mark.parametrize(
    ("name", "ca_file", "reason"),
    [
        (NAME, "other.crt", "certificate verify failed"),
        (NAME, None, "certificate verify failed"),  # none of the system's authorities
        ("impostor.test", "ca.crt", "Hostname mismatch"),
    ],
)
async def test_any_other_is_not_and_no_time_is_lost(
    server: TlsFront, name: str, ca_file: str | None, reason: str
) -> None:
    path = server.folder / ca_file if ca_file else None
    wrong = settings(server, name, database_ca_file=path, database_start_wait_seconds=30)
    async with asyncio.timeout(30):
        with pytest.raises(DatabaseUnreachableError, match=reason) as caught:
            await connect(wrong)
    assert "\n" not in str(caught.value)
    assert "SLIPWAY_DATABASE_CA_FILE" in str(caught.value)


async def test_a_server_without_tls_is_refused_unless_a_setting_says_so(server: TlsFront, shared_database: str) -> None:
    server.speaks_tls = False
    with pytest.raises(DatabaseUnreachableError, match="rejected SSL upgrade"):
        await visit(settings(server))
    await visit(settings(server, database_tls=False))
    await visit(settings(server, "localhost"))


@pytest.mark.parametrize("content", [None, "this is no certificate"])
async def test_a_wrong_file_of_certificates_is_named(server: TlsFront, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.crt"
    if content:
        path.write_text(content)
    with pytest.raises(SettingsError, match=f"SLIPWAY_DATABASE_CA_FILE={path} is no file of certificates: ."):
        await connect(settings(server, database_ca_file=path))


@pytest.mark.parametrize(
    ("address", "verified"),
    [
        ("a@/b?host=/run/postgresql", False),
        ("a@localhost/b", False),
        ("a@127.0.0.7:5432/b", False),
        ("a@[::1]:5432/b", False),
        ("a@%2Frun%2Fpostgresql/b", False),
        ("a@/b?host=localhost", False),
        ("a@database/b", True),
        ("a@10.0.0.1:5432/b", True),
        ("a@[fd00::1]/b", True),
        ("a@localhost,database:5433/b", True),
        ("a@/b?host=/run/postgresql,database", True),
        ("a@localhost.example.com/b", True),
    ],
)
def test_verified_wherever_it_leaves_this_machine(address: str, *, verified: bool) -> None:
    ssl_of = connection_arguments(MigrationSettings(database_url=f"postgresql://{address}"))["ssl"]
    if verified:
        assert isinstance(ssl_of, ssl.SSLContext)
        assert ssl_of.verify_mode == ssl.CERT_REQUIRED
        assert ssl_of.check_hostname
    else:
        assert ssl_of == "prefer"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("a@database/b?sslmode=disable", "sets sslmode: what there is to say of TLS stands in database_tls"),
        ("a@database/b?sslmode=verify-ca", "sets sslmode"),
        ("a@localhost/b?sslrootcert=/ca.crt", "sets sslrootcert"),
        ("a@database/b?sslmode=verify-full&sslmode=disable", "sets sslmode"),
        ("a@/b", "names no host"),
        ("/b?user=a", "names no host"),
    ],
)
def test_an_address_cannot_say_less_of_tls(monkeypatch: pytest.MonkeyPatch, address: str, reason: str) -> None:
    monkeypatch.setenv("SLIPWAY_DATABASE_URL", f"postgresql://{address}")
    with pytest.raises(SettingsError, match=f"^SLIPWAY_DATABASE_URL: {reason}"):
        MigrationSettings.load()

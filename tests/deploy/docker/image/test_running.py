"""The image as a host runs it, with PostgreSQL and Valkey, and without any rights."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.contract import (
    BOOTSTRAP_COMMAND,
    DRAIN_SECONDS,
    HEALTH_COMMAND,
    MIGRATION_COMMAND,
    START_SECONDS,
    api_command,
)
from ops import smoke
from ops.errors import CheckFailedError
from tests.deploy.docker.image.environment import PASSWORDS, Built, Environment, compiled_at_run_time, standin

SHELLS = ("/usr/bin/sh", "/usr/bin/dash", "/usr/bin/bash")
pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("image")]


@pytest.fixture(scope="module")
def environment(built: Built) -> Iterator[Environment]:
    postgres, valkey = standin("postgres"), standin("valkey")
    with tempfile.TemporaryDirectory(prefix="slipway-test-") as folder:
        Path(folder).chmod(0o755)
        one = Environment(built.docker, built.name, Path(folder))
        try:
            password = (
                "--env",
                "POSTGRES_USER=slipway_admin",
                "--env",
                f"POSTGRES_PASSWORD={PASSWORDS['admin_password']}",
            )
            database = one.run(postgres, options=(*password, "--env", "POSTGRES_DB=postgres"))
            one.network = f"container:{database}"
            one.run(valkey, "valkey-server", "--requirepass", PASSWORDS["cache_password"])
            yield one
        finally:
            for container in reversed(one.started):
                one.docker.output("rm", "--force", "--volumes", container)


@pytest.fixture(scope="module")
def migrated(environment: Environment) -> Environment:
    """With a database at the image's head, made by the image itself."""
    code, said = environment.end(environment.service("bootstrap", BOOTSTRAP_COMMAND))
    assert code == 0, said
    code, said = environment.end(environment.service("migration", MIGRATION_COMMAND, PYTHONVERBOSE="1"))
    assert code == 0, said
    assert "schema is at" in said
    assert compiled_at_run_time(said) == []
    return environment


@pytest.fixture(scope="module")
def api(migrated: Environment) -> str:
    """The API as the contract starts it, with a socket that leads to us.

    No shell could be run in it, and Python tells of every module that it loads.
    """
    migrated.sockets.mkdir()
    migrated.sockets.chmod(0o777)
    hidden = (word for shell in SHELLS for word in ("--volume", f"{os.devnull}:{shell}:ro"))
    mount = ("--volume", f"{migrated.sockets}:/sockets")
    *server, application = api_command()
    command = (*server, "--bind", "unix:/sockets/api", application)
    container = migrated.service("api", command, *hidden, *mount, PYTHONVERBOSE="1")
    migrated.healthy(container)
    return container


def test_it_serves_with_no_rights_at_all(built: Built, migrated: Environment, api: str) -> None:
    transport = httpx.HTTPTransport(uds=str(migrated.sockets / "api"), verify=False)
    with httpx.Client(transport=transport, base_url="http://api") as http:
        told = http.get("/version").json()
        assert told["release"] == built.result["release"]
        assert told["schema"]["database"] == built.result["schema"]["head"]
        checks = list(smoke.run(http, built.result["release"]))
        assert [smoke.line(check) for check in checks if not check.passed] == []
        for path in ("/docs", "/openapi.json", "/metrics"):
            assert http.get(path, headers={"Accept-Encoding": "gzip"}).status_code == 200
    assert migrated.docker.output("exec", api, *HEALTH_COMMAND).startswith('200 {"status":"ready"')
    said = migrated.logs(api)
    assert compiled_at_run_time(said) == []


def test_it_ends_on_sigterm(migrated: Environment, api: str) -> None:
    """Python is process 1, and its own signal handlers are all there is."""
    container = migrated.service("api", api_command(port=8001, workers=1))
    until_ready(migrated, container, 8001)
    began = time.monotonic()
    migrated.docker.output("kill", "--signal", "TERM", container)
    code, said = migrated.end(container, DRAIN_SECONDS)
    print(f"ended {time.monotonic() - began:.1f} s after SIGTERM")
    assert code == 0, said


def test_it_starts_with_a_place_to_report_errors_to(migrated: Environment, api: str) -> None:
    """Sentry's library is in the image, with all bytecode that it loads."""
    (migrated.secrets / "api" / "slipway_sentry_dsn").write_text("https://public@sentry.invalid/1")
    container = migrated.service("api", api_command(port=8002, workers=1), PYTHONVERBOSE="1")
    until_ready(migrated, container, 8002)
    said = migrated.logs(container)
    assert "/app/bytecode/app/packages/sentry_sdk/transport" in said
    assert compiled_at_run_time(said) == []


def until_ready(environment: Environment, container: str, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while "200" not in (said := ask_port(environment, container, port)):
        assert time.monotonic() < deadline, said
        time.sleep(0.2)


def ask_port(environment: Environment, container: str, port: int) -> str:
    try:
        return environment.docker.output("exec", container, *HEALTH_COMMAND, str(port))
    except CheckFailedError as error:
        return str(error)


def test_what_does_not_answer_is_not_healthy(migrated: Environment, api: str) -> None:
    with pytest.raises(CheckFailedError, match=r"no answer from 127\.0\.0\.1:1:"):
        migrated.docker.output("exec", "--env", "PYTHONVERBOSE=", api, *HEALTH_COMMAND, "1")

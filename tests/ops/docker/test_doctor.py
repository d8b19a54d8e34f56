import json
import shutil
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops import cli, stack
from ops.errors import CheckFailedError, UnreachableError
from ops.verbs.docker import doctor as module
from ops.verbs.docker import doctor_engine
from ops.verbs.docker.doctor import doctor, quick
from ops.verbs.docker.init import TOKEN_KEYS
from tests.ops.docker.engines import engine, info, node, service
from tests.ops.pulumi_projects import PulumiProject, needs_pulumi

PASSWORDS = ("adminPassword", "migratorPassword", "appPassword", "monitorPassword", "cachePassword", TOKEN_KEYS)
STACK = "config:\n" + "".join(f"  slipway:{name}:\n    secure: v1:x\n" for name in PASSWORDS)


@pytest.fixture
def project(pulumi_project: PulumiProject, monkeypatch: pytest.MonkeyPatch) -> PulumiProject:
    """A stack that is configured; Pulumi is looked for where there is none, because other tests ask it."""
    pulumi_project.stack_file.write_text(STACK + "  slipway:edge:\n    domain: localhost\n    httpsPort: 18443\n")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("HOME", str(pulumi_project.layout.project))
    return pulumi_project


def found(project: PulumiProject, monkeypatch: pytest.MonkeyPatch, **answers: Any) -> dict[str, dict[str, Any]]:
    """The checks by name, against an engine with these answers (`/` stands as `_`)."""
    with engine({f"/{path}": content for path, content in answers.items()}) as (address, _):
        monkeypatch.setenv("DOCKER_HOST", address)
        return {check["name"]: check for check in doctor(project.layout)}


def test_a_good_swarm_is_good(project: PulumiProject, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = found(project, monkeypatch)
    states = {name: check["state"] for name, check in checks.items()}
    assert {name for name, state in states.items() if state == "failed"} == {"images"}  # the engine has none
    for name in ("configuration", "docker", "swarm", "privileges", "disk", "clock", "capacity", "ports", "dns", "lock"):
        assert states[name] == "ok", checks[name]
    assert checks["images"]["said"].startswith("0 of ")
    assert "docker login" in checks["images"]["remedy"]
    assert states["pulumi"] == "warning"
    assert states["passphrase"] == "skipped"


def test_mail_that_would_be_refused_is_told(project: PulumiProject, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(project, monkeypatch)["mail"]["state"] == "ok"
    mail = "  slipway:mail:\n    url: smtp://me@mail.example.com:587\n    from: me@example.com\n"
    project.stack_file.write_text(STACK + mail)
    told = found(project, monkeypatch)["mail"]
    assert (told["state"], told["said"]) == ("warning", "mail.url names the user me, and mailPassword is not set")
    assert "--secret slipway:mailPassword" in told["remedy"]
    project.stack_file.write_text(STACK + mail + "  slipway:mailPassword:\n    secure: v1:x\n")
    assert found(project, monkeypatch)["mail"]["state"] == "ok"


@pytest.mark.parametrize(
    ("answers", "name", "state", "told"),
    [
        ({"info": info(ServerVersion="19.03.5")}, "docker", "failed", "install Docker 20.10 or newer"),
        ({"info": info(ServerVersion="20.10.24+dfsg1")}, "docker", "ok", "20.10.24"),
        ({"info": info(swarm={"LocalNodeState": "inactive"})}, "swarm", "failed", "docker swarm init"),
        (
            {"info": info(swarm={"ControlAvailable": False, "RemoteManagers": [{"Addr": "10.0.0.1:2377"}]})},
            "swarm",
            "failed",
            "set DOCKER_HOST to a manager (10.0.0.1:2377)",
        ),
        ({"nodes": [node("n1"), node("n2", "worker", "down")]}, "swarm", "warning", "see to n2"),
        ({"nodes": [node("n1"), node("n2", availability="drain")]}, "swarm", "warning", "n2 manager drain"),
        ({"nodes": [node("n1"), node("n2")]}, "swarm", "warning", "have one or three"),
        ({"info": info(SecurityOptions=[])}, "privileges", "warning", "daemon.json"),
        ({"info": info(SystemTime=timedelta(seconds=10))}, "clock", "warning", "NTP"),
        ({"info": info(SystemTime=timedelta(minutes=-5))}, "clock", "failed", "NTP"),
        (
            {"services": [service("edge", 1, "other", ports=[{"PublishedPort": 18443}])]},
            "ports",
            "failed",
            "taken: 18443 by slipway-other-edge",
        ),
        ({"services": [service("edge", 1, ports=[{"PublishedPort": 18443}])]}, "ports", "ok", "18443"),
    ],
)
def test_what_is_not_as_it_should_be_is_named_with_its_remedy(
    project: PulumiProject, monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any], name: str, state: str, told: str
) -> None:
    check = found(project, monkeypatch, **answers)[name]
    assert check["state"] == state
    assert told in f"{check['said']} {check['remedy']}"


def test_a_full_disk_is_told(project: PulumiProject, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type(usage)(usage.total, usage.total, 5 << 20))
    check = found(project, monkeypatch)["disk"]
    assert (check["state"], check["said"].split(" at ")[0]) == ("failed", "5 MiB free")


def test_a_port_of_another_program_is_taken(project: PulumiProject) -> None:
    class Local:
        address = "unix:///var/run/docker.sock"
        client: Any = type("C", (), {"services": type("S", (), {"list": staticmethod(list)})})

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = STACK + f"  slipway:edge:\n    domain: localhost\n    httpsPort: {port}\n    httpPort: 9\n"
        project.stack_file.write_text(text)
        state, said, remedy = doctor_engine.ports(stack.read(project.layout), Local())  # type: ignore[arg-type]
    assert (state, said) == ("failed", f"taken: {port} by another program")
    assert "edge.httpsPort" in remedy


@pytest.mark.parametrize(("tls", "state"), [("internal", "warning"), ("automatic", "failed")])
def test_a_domain_that_leads_nowhere_is_told(
    project: PulumiProject, monkeypatch: pytest.MonkeyPatch, tls: str, state: str
) -> None:
    automatic = "\n    acmeEmail: a@example.com\n    httpsPort: 443\n    httpPort: 80" if tls == "automatic" else ""
    project.stack_file.write_text(STACK + f"  slipway:edge:\n    domain: no.invalid\n    tls: {tls}{automatic}\n")

    def nowhere(*_: Any) -> None:
        raise socket.gaierror

    with engine({}) as (address, _):
        monkeypatch.setenv("DOCKER_HOST", address)
        monkeypatch.setattr(module, "_docker_checks", lambda *_: iter(()))
        monkeypatch.setattr(socket, "getaddrinfo", nowhere)
        check = {check["name"]: check for check in doctor(project.layout)}["dns"]
    assert (check["state"], check["said"].split(" leads")[0]) == (state, "no.invalid")
    assert check["remedy"]


def test_a_docker_that_is_not_there_fails_and_the_rest_is_told_all_the_same(
    project: PulumiProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    words = ["doctor", "dev", "--project", str(project.layout.project)]
    assert cli.run([*words, "--json"]) == 1
    told = capsys.readouterr()
    checks = {check["name"]: check for check in json.loads(told.out)["checks"]}
    assert checks["docker"]["said"].startswith("Docker does not answer at unix:///nonexistent.sock (there is no such")
    assert "dns" in checks
    assert told.err == "slipway: docker: not as dev needs it; the remedies stand above\n"
    assert cli.run(words) == 1
    assert "✗ docker        Docker does not answer" in capsys.readouterr().out
    with pytest.raises(UnreachableError, match="start it, or set DOCKER_HOST"):
        quick(project.layout)


def test_a_wrong_configuration_is_told(project: PulumiProject, monkeypatch: pytest.MonkeyPatch) -> None:
    project.stack_file.write_text(STACK + "  slipway:api:\n    replicas: many\n")
    check = found(project, monkeypatch)["configuration"]
    assert check["state"] == "failed"
    assert "slipway:api.replicas" in check["said"]


def test_the_quick_checks_name_the_remedy(project: PulumiProject, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine({"/info": info(swarm={"LocalNodeState": "inactive"})}) as (address, _):
        monkeypatch.setenv("DOCKER_HOST", address)
        with pytest.raises(CheckFailedError, match=r"is in no swarm .*: docker swarm init"):
            quick(project.layout)


@needs_pulumi
def test_pulumi_and_the_passphrase(
    pulumi_project: PulumiProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    project = str(pulumi_project.layout.project)

    def passphrase() -> dict[str, Any]:
        return next(check for check in doctor(pulumi_project.layout) if check["name"] == "passphrase")

    from ops.pulumi_engine.access import prepare

    prepare(pulumi_project.layout)
    assert "slipway init dev" in passphrase()["remedy"]
    assert cli.run(["init", "dev", "--project", project]) == 0
    assert passphrase()["state"] == "ok"
    (pulumi_project.layout.home / "passphrase").write_text("another")
    assert passphrase()["said"] == "the passphrase does not open the secrets of dev: they were made with another one"


def test_nothing_is_made_by_looking(project: PulumiProject, monkeypatch: pytest.MonkeyPatch) -> None:
    found(project, monkeypatch)
    assert not Path(project.layout.state).exists()

import json
from pathlib import Path

import pytest

from ops.errors import UsageError
from ops.pulumi_engine import access as module
from ops.pulumi_engine.access import access, passphrase_of, prepare
from tests.ops.pulumi_projects import PulumiProject


def test_without_any_choice_state_and_passphrase_are_files_of_ours(pulumi_project: PulumiProject) -> None:
    layout = pulumi_project.layout
    found = prepare(layout)
    assert found.backend == f"file://{layout.state}/pulumi"
    assert found.folder == layout.state / "pulumi" / ".pulumi"
    assert found.variables == {
        "PULUMI_BACKEND_URL": found.backend,
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(layout.home / "passphrase"),
    }
    passphrase = passphrase_of(layout)
    assert passphrase.stat().st_mode & 0o777 == 0o600
    before = passphrase.read_text()
    assert len(before) > 40
    prepare(layout)
    assert passphrase.read_text() == before
    assert before.strip() not in "\n".join(found.exports)


def test_what_the_operator_chose_stays(pulumi_project: PulumiProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://states")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "")
    found = prepare(pulumi_project.layout)
    assert (found.backend, dict(found.variables), found.folder) == ("s3://states", {}, None)
    assert found.exports == []
    assert not passphrase_of(pulumi_project.layout).exists()


@pytest.mark.parametrize("login", ["https://api.pulumi.com", "file:///states"])
def test_a_login_is_a_choice(pulumi_project: PulumiProject, tmp_path: Path, login: str) -> None:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    (home / "credentials.json").write_text(json.dumps({"current": login}))
    assert access(pulumi_project.layout).backend == login


def test_an_access_token_is_a_choice(pulumi_project: PulumiProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_ACCESS_TOKEN", "pul-x")
    assert access(pulumi_project.layout).backend == module.CLOUD


def test_the_projects_own_backend_is_a_choice(pulumi_project: PulumiProject) -> None:
    with (pulumi_project.layout.project / "Pulumi.yaml").open("a") as file:
        file.write("backend:\n  url: gs://states\n")
    assert access(pulumi_project.layout).backend == "gs://states"


def test_a_key_service_needs_no_passphrase(pulumi_project: PulumiProject) -> None:
    pulumi_project.stack_file.write_text("secretsprovider: awskms://alias/slipway\n")
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in prepare(pulumi_project.layout).variables
    assert not passphrase_of(pulumi_project.layout).exists()


def test_secrets_of_another_machine_are_not_closed_with_a_new_passphrase(pulumi_project: PulumiProject) -> None:
    pulumi_project.stack_file.write_text("encryptionsalt: v1:x\n")
    with pytest.raises(UsageError, match="the passphrase of dev is not on this machine: put it into "):
        prepare(pulumi_project.layout)
    assert not passphrase_of(pulumi_project.layout).exists()


def test_a_folder_without_a_program_is_told(pulumi_project: PulumiProject) -> None:
    (pulumi_project.layout.project / "Pulumi.yaml").unlink()
    with pytest.raises(UsageError, match=r"has no Pulumi\.yaml"):
        access(pulumi_project.layout)


def test_a_stack_file_that_cannot_be_read_is_told(pulumi_project: PulumiProject) -> None:
    pulumi_project.stack_file.write_text("config: [")
    with pytest.raises(UsageError, match=r"Pulumi\.dev\.yaml cannot be read: while parsing"):
        access(pulumi_project.layout)


def test_a_path_with_a_space_can_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.ops.pulumi_projects import alone

    alone(monkeypatch, tmp_path / "home")
    folder = tmp_path / "my project"
    folder.mkdir()
    assert all(line.endswith("'") for line in prepare(PulumiProject(folder).layout).exports)

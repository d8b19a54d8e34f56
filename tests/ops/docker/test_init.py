import json
import os
import subprocess
from typing import Any

import pytest
import yaml

from infra.stack import SECRETS
from ops import cli
from tests.ops.pulumi_projects import PulumiProject, needs_pulumi

pytestmark = needs_pulumi
NEEDED = [name for name, secret in SECRETS.items() if secret.required]


def init(project: PulumiProject, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert cli.run(["init", "dev", "--project", str(project.layout.project), "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def pulumi(project: PulumiProject, exports: list[str], *words: str) -> Any:
    """What plain `pulumi` says after the lines that init prints."""
    variables = dict(line.removeprefix("export ").split("=", 1) for line in exports)
    command = ["pulumi", "--non-interactive", *words, "--json"]
    folder, environment = project.layout.project, os.environ | variables
    return json.loads(subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True).stdout)


def test_a_second_init_changes_nothing(pulumi_project: PulumiProject, capsys: pytest.CaptureFixture[str]) -> None:
    first = init(pulumi_project, capsys)
    assert first["created"]
    assert sorted(first["generated"]) == sorted(NEEDED)
    assert first["next"] == "slipway up dev"
    before = pulumi_project.stack_file.read_bytes()
    second = init(pulumi_project, capsys)
    assert (second["created"], second["generated"]) == (False, [])
    assert pulumi_project.stack_file.read_bytes() == before
    assert second["exports"] == first["exports"]


def test_no_secret_is_shown_and_plain_pulumi_opens_all(
    pulumi_project: PulumiProject, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["init", "dev", "--project", str(pulumi_project.layout.project)]) == 0
    told = capfd.readouterr()
    exports = [line.strip() for line in told.out.splitlines() if line.strip().startswith("export ")]
    assert len(exports) == 2
    found = pulumi(pulumi_project, exports, "config", "--stack", "dev", "--show-secrets")
    values = {name: found[f"slipway:{name}"] for name in NEEDED}
    assert all(entry["secret"] for entry in values.values())
    shown = told.out + told.err + pulumi_project.stack_file.read_text()
    assert not [name for name, entry in values.items() if entry["value"] in shown]
    assert len({entry["value"] for entry in values.values()}) == len(NEEDED)
    key = json.loads(values["tokenKeys"]["value"])["keys"][0]["key"]
    assert key not in shown


def test_a_secret_that_is_there_stays_and_a_lost_one_comes_back(
    pulumi_project: PulumiProject, capsys: pytest.CaptureFixture[str]
) -> None:
    init(pulumi_project, capsys)
    content = yaml.safe_load(pulumi_project.stack_file.read_text())
    kept = content["config"]["slipway:appPassword"]
    del content["config"]["slipway:cachePassword"]
    pulumi_project.stack_file.write_text(yaml.safe_dump(content))
    assert init(pulumi_project, capsys)["generated"] == ["cachePassword"]
    assert yaml.safe_load(pulumi_project.stack_file.read_text())["config"]["slipway:appPassword"] == kept


def test_a_managed_database_brings_its_own_superuser(
    pulumi_project: PulumiProject, capsys: pytest.CaptureFixture[str]
) -> None:
    pulumi_project.stack_file.write_text("config:\n  slipway:database:\n    mode: external\n")
    told = init(pulumi_project, capsys)
    assert "adminPassword" not in told["generated"]
    assert told["next"] == "pulumi config set --stack dev --secret slipway:databaseUrl"


def test_what_comes_next_for_staging_is_its_image(
    pulumi_project: PulumiProject, capsys: pytest.CaptureFixture[str]
) -> None:
    pulumi_project.stack_file.write_text("config:\n  slipway:kind: staging\n")
    assert "slipway:image" in init(pulumi_project, capsys)["next"]


def test_a_wrong_passphrase_is_2_and_leaves_all_as_it_was(
    pulumi_project: PulumiProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    init(pulumi_project, capsys)
    content = yaml.safe_load(pulumi_project.stack_file.read_text())
    del content["config"]["slipway:cachePassword"]
    pulumi_project.stack_file.write_text(yaml.safe_dump(content))
    before = pulumi_project.stack_file.read_bytes()
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "wrong")
    assert cli.run(["init", "dev", "--project", str(pulumi_project.layout.project)]) == 2
    assert "does not open the secrets of dev" in capsys.readouterr().err
    assert pulumi_project.stack_file.read_bytes() == before
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE")
    (pulumi_project.layout.home / "passphrase").unlink()
    assert cli.run(["init", "dev", "--project", str(pulumi_project.layout.project)]) == 2
    assert "is not on this machine" in capsys.readouterr().err


def test_a_backend_that_is_not_there_is_4(
    pulumi_project: PulumiProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "file:///nonexistent/state")
    assert cli.run(["init", "dev", "--project", str(pulumi_project.layout.project)]) == 4
    error = capsys.readouterr().err
    assert error.startswith("slipway: Pulumi's backend file:///nonexistent/state cannot be reached: ")
    assert error.count("\n") == 1

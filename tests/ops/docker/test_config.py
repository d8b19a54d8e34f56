import json

import pytest

from infra.stack import keys
from ops import cli
from tests.ops.docker.test_doctor import STACK
from tests.ops.pulumi_projects import PulumiProject


def test_every_key_with_its_meaning_and_present_value_but_no_secret(
    pulumi_project: PulumiProject, capsys: pytest.CaptureFixture[str]
) -> None:
    pulumi_project.stack_file.write_text(STACK + "  slipway:api:\n    replicas: 4\n    workers: 1\n")
    words = ["config", "dev", "--project", str(pulumi_project.layout.project)]
    assert cli.run([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = {key["name"]: key for key in told["keys"]}
    assert list(found) == [key.name for key in keys()]
    assert found["slipway:api.replicas"]["value"] == 4
    assert found["slipway:api.cpus"]["value"] is None
    assert found["slipway:appPassword"]["value"] == "set"
    assert found["slipway:mailPassword"]["value"] == "not set"
    assert "v1:x" not in json.dumps(told)
    assert cli.run(words) == 0
    text = capsys.readouterr().out
    assert "slipway:api.replicas = 4  [whole number, default 2]" in text
    assert "slipway:appPassword = set  [secret]" in text
    assert "v1:x" not in text


def test_what_the_program_would_refuse_is_2(pulumi_project: PulumiProject, capsys: pytest.CaptureFixture[str]) -> None:
    pulumi_project.stack_file.write_text(STACK + "  slipway:api:\n    replicaz: 3\n")
    assert cli.run(["config", "dev", "--project", str(pulumi_project.layout.project)]) == 2
    told = capsys.readouterr()
    assert "slipway:api.replicaz is unknown" in told.err
    assert "slipway:api.replicas" in told.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["up", "moon"],
            "there is no environment 'moon': choose one of local, dev, or copy Pulumi.dev.yaml to Pulumi.",
        ),
        (["init", "local"], "local needs no stack; this verb is for dev"),
        (["up", "dev", "--port", "80"], "--port is for local: set slipway:edge.httpsPort in Pulumi.dev.yaml"),
        (["up", "dev", "--workers", "3"], "set slipway:api.workers"),
        (["up", "--probe"], "--probe is for environments in Docker"),
        (["up", "dev"], "slipway init dev"),
        (["clean", "dev"], "there is no environment 'dev': choose one of local"),
    ],
)
def test_wrong_usage_is_2_and_one_line(
    pulumi_project: PulumiProject, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*words, "--project", str(pulumi_project.layout.project)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_load_that_cannot_pass_is_refused_beforehand(
    pulumi_project: PulumiProject, capsys: pytest.CaptureFixture[str]
) -> None:
    pulumi_project.stack_file.write_text(STACK)
    assert cli.run(["up", "dev", "--load", "--project", str(pulumi_project.layout.project)]) == 2
    assert "SLIPWAY_LIMIT_REGISTRATION_ADDRESS" in capsys.readouterr().err

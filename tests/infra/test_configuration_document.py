from pathlib import Path

import pytest
import yaml

from infra import stack
from infra.configuration_document import DOCUMENT, document

PROJECT = Path(__file__).parents[2]


def test_the_page_says_what_the_code_knows() -> None:
    assert (PROJECT / DOCUMENT).read_text() == document(), "run: python -m infra.configuration_document"


@pytest.mark.parametrize("environment", stack.KINDS)
def test_checked_in_stacks_lack_only_their_image_and_secrets(environment: str) -> None:
    content = yaml.safe_load((PROJECT / f"Pulumi.{environment}.yaml").read_text())
    config = {key.removeprefix("slipway:"): value for key, value in content["config"].items()}
    assert not set(config) & set(stack.SECRETS)
    assert "secure" not in repr(content)
    if environment != "dev":
        config["image"] = "registry.example.com/slipway@sha256:" + "a" * 64
    secrets = dict.fromkeys((name for name, secret in stack.SECRETS.items() if secret.required), "")
    assert stack.read(config | secrets, set(secrets), environment).kind == environment

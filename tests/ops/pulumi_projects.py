"""Small Pulumi projects for tests of the verbs: a real engine and a real state, with a program that needs no Docker."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.embedded.layout import Layout

needs_pulumi = pytest.mark.skipif(shutil.which("pulumi") is None, reason="the Pulumi CLI is not on the PATH")

PROGRAM = """
import json, pathlib, time
import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider

class Work(ResourceProvider):
    def create(self, props):
        time.sleep(props["seconds"])
        if props["fails"]:
            said = "ALTER TABLE task", "no such column"
            raise RuntimeError("\\n  ".join(("the migration job failed (exit 3); its last lines:", *said)))
        return CreateResult("made", props)

    def diff(self, _id, olds, news):
        changed = olds.get("key") != news["key"]
        return DiffResult(changes=changed, replaces=["key"] if changed else [], delete_before_replace=True)

class Job(Resource, module="slipway", name="Job"):
    def __init__(self, name, props, opts):
        super().__init__(Work(), name, props, opts)

class Migration(pulumi.ComponentResource):
    def __init__(self, name, props):
        super().__init__("slipway:docker:Migration", name)
        Job("job", props, pulumi.ResourceOptions(parent=self))
        self.register_outputs({})

behaviour = json.loads(pathlib.Path("behaviour.json").read_text())
if behaviour["refuses"]:
    raise pulumi.RunError(behaviour["refuses"])
config = pulumi.Config()
Migration("migration", {key: behaviour[key] for key in ("key", "seconds", "fails")})
pulumi.export("release", "1-abc")
pulumi.export("password", config.require_secret("appPassword"))
"""


class PulumiProject:
    """A project with one environment, `dev`, and a program that does as it is told.

    Args:
        folder: the project's root.
    """

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder, "dev")
        (folder / "Pulumi.yaml").write_text(
            f"name: slipway\nruntime:\n  name: python\n  options:\n    virtualenv: {json.dumps(sys.prefix)}\n"
        )
        (folder / "Pulumi.dev.yaml").write_text("config:\n  slipway:edge:\n    domain: localhost\n")
        (folder / "__main__.py").write_text(PROGRAM)
        self.behave()

    def behave(self, *, key: str = "1", seconds: float = 0, fails: bool = False, refuses: str = "") -> None:
        """What the program does from now on."""
        content = {"key": key, "seconds": seconds, "fails": fails, "refuses": refuses}
        (self.layout.project / "behaviour.json").write_text(json.dumps(content))

    @property
    def stack_file(self) -> Path:
        """Where the configuration and the encrypted secrets stand."""
        return self.layout.project / "Pulumi.dev.yaml"


def alone(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Let no choice of whoever runs the tests count: neither his variables nor his login."""
    for name in [name for name in os.environ if name.startswith("PULUMI_")]:
        monkeypatch.delenv(name)
    (home / "plugins").parent.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("PULUMI_CREDENTIALS_PATH", str(home))


MakeProject = Callable[[], PulumiProject]

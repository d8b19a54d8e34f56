"""An environment's secrets, as Swarm secrets: files in memory, for those containers alone that are given them.

Nothing else of a value leaves Pulumi's encrypted state: names are random, so that they say nothing of it either. A
changed value is a new secret beside the old one, which goes when no service uses it any more.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from infra.contract import IMAGE_SECRETS_DIR, IMAGE_UID, OPTIONAL_SECRET_FILES, SECRET_FILES
from infra.docker.mounts import File, MountedFile
from infra.docker.names import Names


@dataclass(frozen=True, kw_only=True)
class SecretsArgs:
    """What the secrets are.

    Args:
        names: the environment's names.
        values: by the names of `infra/contract.py`, such as `app_password`; marked secret.
    """

    names: Names
    values: Mapping[str, pulumi.Output[str]]


class Secrets(pulumi.ComponentResource):
    """The Swarm secrets of one environment."""

    def __init__(self, name: str, args: SecretsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:docker:Secrets", name, None, opts)
        self._files = {each: secret(args.names, each, value, parent=self) for each, value in args.values.items()}
        self.register_outputs({"ids": {each: file.id for each, file in self._files.items()}})

    def __getitem__(self, name: str) -> File:
        """One secret by its name in `infra/contract.py`."""
        return self._files[name]

    def of(self, process: str) -> list[MountedFile]:
        """What a process of our image finds in its secrets folder: `api`, `migration` or `bootstrap`."""
        needed = SECRET_FILES[process]
        wished = {file: name for file, name in OPTIONAL_SECRET_FILES.get(process, {}).items() if name in self._files}
        return [self[name].at(f"{IMAGE_SECRETS_DIR}/{file}", uid=IMAGE_UID) for file, name in (needed | wished).items()]


def secret(names: Names, name: str, value: pulumi.Output[str], *, parent: pulumi.Resource) -> File:
    """Make one Swarm secret of a value that is marked secret; Pulumi adds a random end to its name."""
    label = names.of(name.replace("_", "-"))
    made = docker.Secret(
        label,
        data=value.apply(lambda text: base64.b64encode(text.encode()).decode()),
        labels=[docker.SecretLabelArgs(label=k, value=v) for k, v in names.labels("secrets").items()],
        opts=pulumi.ResourceOptions(parent=parent, additional_secret_outputs=["data"]),
    )
    return File("secret", made.id, made.name)


def config(names: Names, part: str, name: str, text: pulumi.Input[str], *, parent: pulumi.Resource) -> File:
    """Make one Swarm config, for what is no secret; Pulumi adds a random end to its name."""
    made = docker.ServiceConfig(
        names.of(f"{part}-{name}"),
        data=pulumi.Output.from_input(text).apply(lambda content: base64.b64encode(content.encode()).decode()),
        labels=[docker.ServiceConfigLabelArgs(label=k, value=v) for k, v in names.labels(part).items()],
        opts=pulumi.ResourceOptions(parent=parent),
    )
    return File("config", made.id, made.name)

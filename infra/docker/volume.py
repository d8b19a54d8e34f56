"""A volume of an environment, on the node of the engine that makes it."""

import pulumi
import pulumi_docker as docker

from infra.docker.names import Names


def volume(
    names: Names, resource: str, part: str, *, parent: pulumi.Resource, name: str | None = None, kept: bool = False
) -> docker.Volume:
    """Make a labelled volume.

    Args:
        names: the environment's names.
        resource: what it is to the program, and what its name follows from.
        part: whose label it carries.
        parent: the component that it belongs to.
        name: where it is called otherwise.
        kept: protected, and left where it is by `down`.
    """
    return docker.Volume(
        names.of(resource),
        name=name or names.of(resource),
        labels=[docker.VolumeLabelArgs(label=k, value=v) for k, v in names.labels(part).items()],
        opts=pulumi.ResourceOptions(parent=parent, protect=kept, retain_on_delete=kept),
    )

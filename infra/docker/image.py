"""The release's image: one that a registry has, by digest; or, in dev, built from the source by this very `up`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from infra.docker.names import Names


@dataclass(frozen=True, kw_only=True)
class ImageArgs:
    """What the image is.

    Args:
        names: the environment's names.
        reference: of an image that is there; None to build one.
        project: the folder with the Dockerfile.
        host: the engine; None for DOCKER_HOST's.
    """

    names: Names
    reference: str | None
    project: Path
    host: str | None = None


class Image(pulumi.ComponentResource):
    """An image that the engine can run."""

    reference: pulumi.Output[str]

    def __init__(self, name: str, args: ImageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:docker:Image", name, None, opts)
        if args.reference is not None:
            self.reference = pulumi.Output.from_input(args.reference)
        else:
            built = Build(args.names.of("image"), args, pulumi.ResourceOptions(parent=self))
            self.reference = built.reference
        self.register_outputs({"reference": self.reference})


class BuildProvider(ResourceProvider):
    """What Pulumi calls for a build; the work is in image_build.py."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Build it."""
        from infra.docker import image_build  # noqa: PLC0415 - see job.py

        made = image_build.build(props)
        return CreateResult(str(made["reference"]), made)

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Build it again, from another source."""
        from infra.docker import image_build  # noqa: PLC0415 - see job.py

        return UpdateResult(image_build.build(news))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Only the source counts."""
        return DiffResult(changes=olds.get("source") != news.get("source"))


class Build(Resource, module="slipway", name="Image"):
    """An image built from the source."""

    reference: pulumi.Output[str]

    def __init__(self, name: str, args: ImageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        from infra.docker import image_build  # noqa: PLC0415 - the program needs it only where it builds

        props = {
            "project": str(args.project),
            "host": args.host,
            "repository": args.names.of("image"),
            "source": image_build.source_digest(args.project),
            "reference": None,
        }
        super().__init__(BuildProvider(), name, props, opts)

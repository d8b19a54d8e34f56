"""A one-off job: a container that runs to its end before anything that depends on it changes.

Swarm's own `replicated-job`: it reaches the internal network and gets Swarm secrets, which a plain container does not.
A job that failed is not recorded, so that the next `up` runs it again; one with the same key does not run twice.

What Pulumi keeps of the provider below is a reference to its class, so that a change of our code is no change of a job.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from infra.docker.mounts import Mount, MountedFile
from infra.docker.names import Names


@dataclass(frozen=True, kw_only=True)
class JobArgs:
    """One job.

    Args:
        names: the environment's names.
        part: the job's name among the parts.
        image: what it runs.
        command: the whole command line.
        uid: user and group that it runs as.
        networks: ids.
        cpus: processor limit.
        memory_mib: memory limit in MiB.
        env: environment variables; never a secret.
        files: secrets and configs.
        mounts: volumes and memory. All else is read-only.
        constraints: where it may run.
        seconds: how long it may take.
        key: what else makes it run again when it changes.
        host: the engine; None for DOCKER_HOST's.
    """

    names: Names
    part: str
    image: pulumi.Input[str]
    command: Sequence[str]
    uid: int
    networks: Sequence[pulumi.Input[str]]
    cpus: float = 1.0
    memory_mib: int = 256
    env: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    files: Sequence[MountedFile] = ()
    mounts: Sequence[Mount] = ()
    constraints: Sequence[pulumi.Input[str]] = ()
    seconds: int = 3600
    key: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    host: str | None = None


class JobProvider(ResourceProvider):
    """What Pulumi calls for a job; the work is in job_runner.py."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Run it."""
        from infra.docker import job_runner  # noqa: PLC0415 - see the module's first lines

        return CreateResult(str(props["name"]), job_runner.run(props))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Run it again, because what keys it has changed."""
        from infra.docker import job_runner  # noqa: PLC0415 - see the module's first lines

        return UpdateResult(job_runner.run(news))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Only what the job itself is made of counts, not how it is reached."""
        return DiffResult(changes=olds.get("spec") != news.get("spec") or olds.get("key") != news.get("key"))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Nothing is left of a job that ran."""


class Job(Resource, module="slipway", name="Job"):
    """A job that has run to a good end."""

    log: pulumi.Output[str]
    """Its last lines."""

    def __init__(self, name: str, args: JobArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        props = {
            "name": args.names.of(args.part),
            "host": args.host,
            "seconds": args.seconds,
            "labels": args.names.labels(args.part),
            "key": dict(args.key),
            "spec": _spec(args),
            "log": None,
        }
        super().__init__(JobProvider(), name, props, opts)


def _spec(args: JobArgs) -> dict[str, Any]:
    return {
        "image": args.image,
        "command": list(args.command),
        "uid": args.uid,
        "networks": list(args.networks),
        "cpus": args.cpus,
        "memory_mib": args.memory_mib,
        "env": dict(args.env),
        "files": [
            {"kind": file.file.kind, "id": file.file.id, "name": file.file.name, "path": file.path, "uid": file.uid}
            for file in args.files
        ],
        "mounts": [{"path": mount.path, "volume": mount.volume, "size_mib": mount.size_mib} for mount in args.mounts],
        "constraints": list(args.constraints),
    }

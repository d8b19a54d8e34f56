"""Waits until the swarm runs a service as it was asked to; `up` fails where it does not, and says why.

pulumi-docker can wait, too (`converge_config`), but says neither which check failed nor what the container wrote, and
looks every five to ten seconds only.
"""

from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult


class RolloutProvider(ResourceProvider):
    """What Pulumi calls; the work is in rollout_watch.py."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Wait."""
        from infra.docker import rollout_watch  # noqa: PLC0415 - see job.py

        return CreateResult(str(props["service"]), rollout_watch.watch(props))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Wait for what is asked for now."""
        from infra.docker import rollout_watch  # noqa: PLC0415 - see job.py

        return UpdateResult(rollout_watch.watch(news))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """There is something to wait for when the service changed."""
        return DiffResult(changes=any(olds.get(each) != news.get(each) for each in ("service", "task", "spec")))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """The service goes by itself."""


class Rollout(Resource, module="slipway", name="Rollout"):
    """A service that runs as asked."""

    def __init__(
        self,
        name: str,
        *,
        host: str | None,
        service: pulumi.Input[str],
        task: pulumi.Input[str],
        spec: pulumi.Input[str],
        seconds: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {"host": host, "service": service, "task": task, "spec": spec, "seconds": seconds}
        super().__init__(RolloutProvider(), name, props, opts)

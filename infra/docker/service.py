"""A Swarm service as every part needs it: limited, checked, without root and capabilities, and waited for.

What is said here holds for each container of an environment; a part says only what is its own.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pulumi
import pulumi_docker as docker

from infra.docker.mounts import Mount, MountedFile
from infra.docker.names import SPEC_LABEL, TASK_VARIABLE
from infra.docker.rollout import Rollout
from infra.docker.service_args import Health, Limits, Port, Restart, ServiceArgs, Update

__all__ = ["Health", "Limits", "Port", "Restart", "Service", "ServiceArgs", "Update", "duration"]

DEFAULT_CAPABILITIES: Final = (
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"),
    *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
)
"""What Docker gives a container by itself (its manual, "Runtime privilege and Linux capabilities")."""

MIB: Final = 1 << 20


class Service(pulumi.ComponentResource):
    """A Swarm service that stands when this component does."""

    name: pulumi.Output[str]
    """Its name, which is its DNS name on its networks."""
    ready: pulumi.Resource
    """Depend on this to come after it serves."""

    def __init__(
        self, name: str, args: ServiceArgs, opts: pulumi.ResourceOptions | None = None, *, host: str | None = None
    ) -> None:
        super().__init__("slipway:docker:Service", name, None, opts)
        task = _digest({"container": _container(args, args.env), "rest": _task(args)})
        spec = _digest({"task": task, "service": _service(args, {})})
        labels = args.names.labels(args.part)
        told: dict[str, Any] = {
            "task_spec": {"container_spec": _container(args, {**args.env, TASK_VARIABLE: task}), **_task(args)},
            **_service(args, labels | {SPEC_LABEL: spec}),
        }
        made = docker.Service(
            args.names.of(args.part),
            name=args.names.of(args.part),
            **told,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=list(args.after),
                delete_before_replace=True,
                # What a registry says of the image: added to a new service, and to a changed one by nobody.
                ignore_changes=["taskSpec.placement.platforms"],
            ),
        )
        # Known before it is made: whoever names it in its own configuration need not change when it does.
        self.name = pulumi.Output.from_input(args.names.of(args.part))
        self.ready = Rollout(
            args.names.of(args.part),
            host=host,
            service=args.names.of(args.part),
            task=task,
            spec=spec,
            seconds=args.wait_seconds,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[made]),
        )
        self.register_outputs({"name": self.name})


def duration(seconds: float) -> str:
    """A time as the engine writes it (Go's time.Duration, without what is zero at its end): 90 is `1m30s`."""
    total_ms = round(seconds * 1000)
    minutes, rest_ms = divmod(total_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "")
    if rest_ms or not text:
        text += f"{rest_ms}ms" if not text and 0 < rest_ms < 1000 else f"{rest_ms / 1000:g}s"
    return text


def _digest(content: Any) -> pulumi.Output[str]:
    text = pulumi.Output.json_dumps(content, sort_keys=True)
    return text.apply(lambda told: hashlib.sha256(told.encode()).hexdigest()[:12])


def _container(args: ServiceArgs, env: Mapping[str, pulumi.Input[str]]) -> dict[str, Any]:
    """The container of each task, in pulumi-docker's words."""
    spec: dict[str, Any] = {
        "image": args.image,
        "user": f"{args.uid}:{args.uid}",
        "read_only": True,
        "cap_drops": _dropped(args.kept_capabilities),
        "env": dict(env),
        "labels": [{"label": label, "value": value} for label, value in args.names.labels(args.part).items()],
        "healthcheck": {
            "tests": list(args.health.command),
            "interval": duration(args.health.interval_seconds),
            "timeout": duration(args.health.timeout_seconds),
            "retries": args.health.retries,
            "start_period": duration(args.health.start_seconds),
        },
        "mounts": [_mount(mount) for mount in args.mounts],
        "secrets": [_file(file) for file in args.files if file.file.kind == "secret"],
        "configs": [_file(file) for file in args.files if file.file.kind == "config"],
        "stop_grace_period": duration(args.stop_seconds),
        "init": False,
    }
    if args.resolver_options:
        spec["dns_config"] = {"nameservers": [], "options": list(args.resolver_options)}
    if args.command is not None:
        spec["commands"] = list(args.command)
    if args.args is not None:
        spec["args"] = list(args.args)
    if args.stop_signal is not None:
        spec["stop_signal"] = args.stop_signal
    return spec


def _dropped(kept: Sequence[str]) -> list[str]:
    if not kept:
        return ["ALL"]
    return [f"CAP_{name}" for name in DEFAULT_CAPABILITIES if name not in kept]


def _mount(mount: Mount) -> dict[str, Any]:
    if mount.volume is not None:
        return {"target": mount.path, "type": "volume", "source": mount.volume}
    return {
        "target": mount.path,
        "type": "tmpfs",
        "tmpfs_options": {"size_bytes": mount.size_mib * MIB, "mode": 0o777},  # the provider reads no sticky bit back
    }


def _file(file: MountedFile) -> dict[str, Any]:
    kind = file.file.kind
    return {
        f"{kind}_id": file.file.id,
        f"{kind}_name": file.file.name,
        "file_name": file.path,
        "file_uid": str(file.uid),
        "file_gid": str(file.uid),
        "file_mode": 0o400,
    }


def _task(args: ServiceArgs) -> dict[str, Any]:
    """What holds for each task besides its container."""
    placement: dict[str, Any] = {"prefs": ["spread=node.id"]}
    if args.constraints:
        placement["constraints"] = list(args.constraints)
    if args.one_a_node:
        placement["max_replicas"] = 1
    return {
        "networks_advanceds": [{"id": network} for network in args.networks],
        "resources": {
            "limits": {
                "nano_cpus": round(args.limits.cpus * 1e9),
                "memory_bytes": args.limits.memory_mib * MIB,
            },
            "reservation": {
                "nano_cpus": round(args.limits.cpus * 1e8),
                "memory_bytes": args.limits.memory_mib * MIB // 4,
            },
        },
        "restart_policy": {
            "condition": "any",
            "delay": duration(args.restart.delay_seconds),
            "max_attempts": args.restart.attempts,
            "window": duration(args.restart.window_seconds),
        },
        "placement": placement,
        "log_driver": {"name": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
        "force_update": 0,
        "runtime": "container",
    }


def _service(args: ServiceArgs, labels: Mapping[str, pulumi.Input[str]]) -> dict[str, Any]:
    """What holds for the service as a whole."""
    update = {
        "parallelism": 1,
        "delay": duration(args.update.delay_seconds),
        "monitor": duration(args.update.monitor_seconds),
        "max_failure_ratio": "0.0",
        "order": args.update.order,
    }
    ports = [
        {"target_port": port.target, "published_port": port.published, "protocol": "tcp", "publish_mode": "host"}
        for port in args.ports
    ]
    return {
        "labels": [{"label": label, "value": value} for label, value in labels.items()],
        "mode": {"replicated": {"replicas": args.replicas}},
        "update_config": update | {"failure_action": "rollback"},
        # What is gone back to has served before: no need to watch it for long, and every second counts.
        "rollback_config": update | {"failure_action": "pause", "delay": duration(0), "monitor": duration(5)},
        # The engine's virtual addresses need IPVS, and hide the replicas from the edge; DNS names them all.
        "endpoint_spec": {"mode": "dnsrr", **({"ports": ports} if ports else {})},
    }

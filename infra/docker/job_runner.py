"""Runs a job on the swarm to its end, and says how it went. Works inside Pulumi's plugin, not in the program."""

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any, Final

import docker

from infra.docker.engine import (
    FAILED,
    POLL_SECONDS,
    EngineError,
    api_of,
    connect,
    last_lines,
    plainly,
    remove,
    service,
    tasks,
    why,
)

KEY_LABEL: Final = "slipway.job"
MIB: Final = 1 << 20


def run(props: Mapping[str, Any]) -> dict[str, Any]:
    """Run the job that these properties describe (`infra/docker/job.py`), and return them with its log.

    A killed `up` leaves its job behind: an equal one is waited for instead of run twice, another one is removed first.

    Raises:
        EngineError: the job failed, with its exit code and its last lines; nothing of it is left.
    """
    return plainly(lambda: {**props, "log": _run(props)})


def _run(props: Mapping[str, Any]) -> str:
    client = connect(props.get("host"))
    try:
        name, key = str(props["name"]), _key(props)
        if not _goes_on(client, name, key):
            remove(client, name)
            _start(client, props, key)
        try:
            return _wait(client, name, float(props["seconds"]))
        finally:
            remove(client, name)
    finally:
        client.close()


def _key(props: Mapping[str, Any]) -> str:
    content = json.dumps([props["spec"], props.get("key")], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _goes_on(client: docker.DockerClient, name: str, key: str) -> bool:
    """Whether this very job is there and has not failed."""
    there = service(client, name)
    if there is None or there["Spec"].get("Labels", {}).get(KEY_LABEL) != key:
        return False
    return all(task["Status"]["State"] not in FAILED for task in tasks(client, name))


def _start(client: docker.DockerClient, props: Mapping[str, Any], key: str) -> None:
    api_of(client).create_service(
        task_template(props["spec"], props["labels"]),
        name=props["name"],
        labels={**props["labels"], KEY_LABEL: key},
        mode={"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 1}},
        endpoint_spec={"Mode": "dnsrr"},
    )


def task_template(spec: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """The job's task in the words of Docker's API (POST /services/create, TaskTemplate)."""
    return {
        "ContainerSpec": {
            "Image": spec["image"],
            "Command": spec["command"],
            "User": f"{int(spec['uid'])}:{int(spec['uid'])}",
            "Env": [f"{name}={value}" for name, value in sorted(spec["env"].items())],
            "Labels": dict(labels),
            "ReadOnly": True,
            "CapabilityDrop": ["ALL"],
            "Healthcheck": {"Test": ["NONE"]},  # it ends; its exit code is the check
            "StopGracePeriod": int(10e9),
            "Mounts": [_mount(mount) for mount in spec["mounts"]],
            "Secrets": [_file(file, "Secret") for file in spec["files"] if file["kind"] == "secret"],
            "Configs": [_file(file, "Config") for file in spec["files"] if file["kind"] == "config"],
        },
        "Resources": {"Limits": {"NanoCPUs": int(spec["cpus"] * 1e9), "MemoryBytes": int(spec["memory_mib"]) * MIB}},
        "RestartPolicy": {"Condition": "none"},
        "Placement": {"Constraints": list(spec["constraints"])},
        "Networks": [{"Target": network} for network in spec["networks"]],
        "LogDriver": {"Name": "json-file", "Options": {"max-size": "10m", "max-file": "3"}},
    }


def _mount(mount: Mapping[str, Any]) -> dict[str, Any]:
    if mount.get("volume") is not None:
        return {"Target": mount["path"], "Type": "volume", "Source": mount["volume"]}
    options = {"SizeBytes": int(mount["size_mib"]) * MIB, "Mode": 0o1777}
    return {"Target": mount["path"], "Type": "tmpfs", "TmpfsOptions": options}


def _file(file: Mapping[str, Any], kind: str) -> dict[str, Any]:
    uid = str(int(file["uid"]))
    place = {"Name": file["path"], "UID": uid, "GID": uid, "Mode": 0o400}
    return {f"{kind}ID": file["id"], f"{kind}Name": file["name"], "File": place}


def _wait(client: docker.DockerClient, name: str, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for task in tasks(client, name):
            state = task["Status"]["State"]
            if state == "complete":
                return last_lines(client, task)
            if state in FAILED:
                raise EngineError(
                    f"the job {name} failed: {why(client, task)}; its last lines:\n{last_lines(client, task)}"
                )
        time.sleep(POLL_SECONDS)
    found = tasks(client, name)
    said = f"its last lines:\n{last_lines(client, found[0])}" if found else "no node took it"
    raise EngineError(f"the job {name} did not end within {seconds:g} s; {said}")

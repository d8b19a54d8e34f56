"""The whole program run under Pulumi's mocks: what it would ask the engine for, without an engine."""

import asyncio
import atexit
import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pulumi.runtime import mocks, set_all_config, set_mocks, test
from pulumi.runtime.rpc import _special_secret_sig, _special_sig_key

SUBNET = "10.11.12.0/24"
DIGEST = "sha256:" + "5" * 64
SECRETS = {
    "adminPassword": "planted-admin-password-1",
    "migratorPassword": "planted-migrator-password",
    "appPassword": "planted-app-password-123",
    "monitorPassword": "planted-monitor-password",
    "cachePassword": "planted-cache-password-1",
    "tokenKeys": '{"signing": "k", "keys": [{"kid": "k", "alg": "HS256", "key": "planted-token-key"}]}',
}
PLANTED = ("planted-", "hunter2")
"""Stands in every secret value, and in no other."""


@dataclass
class Asked:
    """One resource that the program asked for."""

    type: str
    name: str
    inputs: dict[str, Any]
    parent: str = ""


@dataclass
class Recorder(mocks.Mocks):
    """Answers for the engine, and remembers."""

    asked: list[Asked] = field(default_factory=list)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        self.asked.append(Asked(args.typ, args.name, args.inputs))
        state = dict(args.inputs)
        if args.typ == "docker:index/network:Network":
            state["ipamConfigs"] = [{"subnet": SUBNET}]
        if args.typ.endswith(":Secret") or args.typ.endswith(":ServiceConfig"):
            state["name"] = f"{args.name}-1234567"
        if args.typ == "pulumi-python:dynamic/slipway:Node":
            state["node"] = "thisnode"
        if args.typ == "pulumi-python:dynamic/slipway:Job":
            state["log"] = "  schema is at 0007, 1 applied in 0.30 s"
        if args.typ == "pulumi-python:dynamic/slipway:Image":
            state["reference"] = "slipway-dev-image:0123456789ab"
        return f"{args.name}-id", state

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        return {}, []

    def of(self, kind: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.type == kind]


def run(environment: str, config: dict[str, Any], secrets: dict[str, str]) -> Recorder:
    """Run the program for one stack; sections of `config` as mappings."""
    from infra.__main__ import main

    recorder = Recorder()
    told = {f"slipway:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    hidden = {f"slipway:{key}": value for key, value in secrets.items()}
    asyncio.set_event_loop(_loop())  # other tests leave this thread without one
    try:
        set_mocks(recorder, project="slipway", stack=environment, preview=False)
        set_all_config(told | hidden, list(hidden))
        test(main)()  # type: ignore[no-untyped-call]
    finally:
        asyncio.set_event_loop(None)
    return recorder


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """One for all runs: Pulumi keeps its root resource, and what belongs to it."""
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


def plain(value: Any) -> Any:
    """A value with the marks of secrets taken off."""
    if isinstance(value, dict):
        if value.get(_special_sig_key) == _special_secret_sig:
            return plain(value["value"])
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value

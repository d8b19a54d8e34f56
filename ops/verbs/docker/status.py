"""`slipway status` of an environment in Docker: it asks the swarm, the service and Prometheus, not a file."""

from dataclasses import asdict
from typing import Any

import httpx

from infra.contract import READY_PATH, VERSION_PATH
from infra.docker import uptime_queries
from infra.embedded.layout import Layout
from infra.stack import Stack
from ops import edge, stack
from ops.docker_host import Host, Part, open_host
from ops.errors import CheckFailedError, SlipwayError
from ops.verbs.status import last_deploy


def status(layout: Layout) -> dict[str, Any]:
    """The environment's state.

    Returns:
        environment, target, serving (bool), url, release, schema, parts (replicas wanted, running and where, since
        when, how the last update went), nodes, uptime (None where nobody measures it), and the last deploy.

    Raises:
        UnreachableError: Docker does not answer.
        UsageError: the stack's file cannot be used.
    """
    found = stack.read(layout)
    with open_host(layout) as host:
        parts = host.parts()
        ready, version = _ask(layout, found, host) if parts else (None, {})
        return {
            "environment": layout.environment,
            "target": "docker",
            "serving": ready == httpx.codes.OK,
            "url": found.public_url,
            "release": version.get("release"),
            "schema": version.get("schema", {}).get("database"),
            "parts": {part.name: _part(part) for part in parts},
            "nodes": {
                node["Description"]["Hostname"]: f"{node['Spec']['Role']} {node['Status']['State']}"
                for node in host.nodes.values()
            },
            "uptime": _uptime(host, parts),
            "last_deploy": last_deploy(layout),
        }


def _ask(layout: Layout, found: Stack, host: Host) -> tuple[int | None, dict[str, Any]]:
    """Readiness and version, as a client sees them."""
    try:
        authority = edge.fetch_authority(layout, found, host)
        with edge.client(found.public_url, authority) as http:
            return http.get(READY_PATH).status_code, http.get(VERSION_PATH).json()
    except (SlipwayError, httpx.HTTPError, ValueError):
        return None, {}


def _part(part: Part) -> dict[str, Any]:
    running = part.running
    return {
        "wanted": part.wanted,
        "running": len(running),
        "nodes": sorted({replica.node for replica in running}),
        "since": min((replica.since for replica in running), default=None),
        "image": part.image,
        "update": part.update,
        "trouble": _trouble(part),
    }


def _trouble(part: Part) -> str:
    """Why it is not as it should be; empty where it is."""
    if part.update in {"paused", "rollback_started", "rollback_completed", "rollback_paused"}:
        return f"{part.update.replace('_', ' ')}: {part.message}"
    if len(part.running) >= part.wanted:
        return ""
    waiting = [replica for replica in part.replicas if replica not in part.running]
    return waiting[-1].message if waiting else "no replica is being started"


def _uptime(host: Host, parts: list[Part]) -> dict[str, Any] | None:
    """What Prometheus knows; a `problem` where it does not answer."""
    if not any(part.name == "prometheus" for part in parts):
        return None
    try:
        found = uptime_queries.read(host.run_in("prometheus", list(uptime_queries.command())))
    except (CheckFailedError, uptime_queries.AnswerError) as error:
        return {"problem": str(error)}
    return asdict(found) | {"budget_left": found.budget_left()}

"""`slipway status`: what runs, where, since when, which release and schema. It asks the parts, not a file."""

from datetime import UTC, datetime
from typing import Any

import httpx
import psutil

from infra.contract import READY_PATH, VERSION_PATH
from infra.embedded.api import Api
from infra.embedded.cache import Cache
from infra.embedded.database import Database
from infra.embedded.layout import Layout
from infra.embedded.network import client
from ops import record


def status(layout: Layout) -> dict[str, Any]:
    """The environment's state.

    Returns:
        environment, target, serving (bool), url, release, schema, workers, the three parts with state, pid,
        since and address, and the last deploy with its outcome.
    """
    api, database, cache = Api(layout), Database(layout), Cache(layout)
    plan = api.serving()
    address = plan.address if plan else None
    ready, version = _ask(address) if address else (None, {})
    masters = api.masters()
    return {
        "environment": layout.environment,
        "target": "embedded",
        "serving": ready == httpx.codes.OK,
        "url": f"http://{address}" if address else None,
        "release": version.get("release"),
        "schema": version.get("schema", {}).get("database"),
        "workers": plan.workers if plan else 0,
        "parts": {
            "api": _part(masters[-1] if masters else None, address, _readiness(ready)),
            "database": _part(
                database.process(), str(database.socket_directory), "ready" if database.answers() else "no answer"
            ),
            "cache": _part(cache.process(), str(cache.socket_path), "ready" if cache.answers() else "no answer"),
        },
        "last_deploy": last_deploy(layout),
    }


def _ask(address: str) -> tuple[int | None, dict[str, Any]]:
    try:
        with client(address, timeout_seconds=3) as http:
            return http.get(READY_PATH).status_code, http.get(VERSION_PATH).json()
    except (httpx.HTTPError, ValueError):
        return None, {}


def _readiness(status_code: int | None) -> str:
    if status_code is None:
        return "no answer"
    return "ready" if status_code == httpx.codes.OK else f"not ready ({status_code})"


def _part(process: psutil.Process | None, address: str | None, state: str) -> dict[str, Any]:
    if process is None:
        return {"state": "stopped", "pid": None, "since": None, "address": None}
    try:
        since = datetime.fromtimestamp(process.create_time(), UTC).isoformat(timespec="seconds")
    except psutil.NoSuchProcess:
        return {"state": "stopped", "pid": None, "since": None, "address": None}
    return {"state": state, "pid": process.pid, "since": since.replace("+00:00", "Z"), "address": address}


def last_deploy(layout: Layout) -> dict[str, Any] | None:
    """What the newest record says of its deploy; None where there was none."""
    last = record.newest(layout.records)
    if last is None:
        return None
    outcome = last.read("outcome.json")
    return {
        "record": str(last.folder),
        "release": outcome.get("release"),
        "outcome": outcome.get("outcome", "interrupted"),
        "reason": outcome.get("reason"),
    }

"""A Docker engine that answers over HTTP as it is told: for swarms that nobody has at hand."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


def info(**changes: Any) -> dict[str, Any]:
    """`GET /info` of a swarm of one."""
    swarm = {"LocalNodeState": "active", "ControlAvailable": True, "NodeID": "n1"} | changes.pop("swarm", {})
    return {
        "ServerVersion": "28.2.2",
        "Name": "one",
        "SecurityOptions": ["name=seccomp,profile=default", "name=no-new-privileges"],
        "DockerRootDir": "/",
        "Swarm": swarm,
    } | changes


def node(name: str, role: str = "manager", state: str = "ready", availability: str = "active") -> dict[str, Any]:
    """A machine of the swarm; its id is its name."""
    return {
        "ID": name,
        "Description": {"Hostname": name, "Resources": {"NanoCPUs": 2 * 10**9, "MemoryBytes": 8 << 30}},
        "Spec": {"Role": role, "Availability": availability},
        "Status": {"State": state},
    }


def service(part: str, replicas: int, environment: str = "dev", **changes: Any) -> dict[str, Any]:
    """A service as Swarm keeps it; its id is its part."""
    return {
        "ID": part,
        "Spec": {
            "Name": f"slipway-{environment}-{part}",
            "Labels": {"slipway.environment": environment, "slipway.part": part},
            "TaskTemplate": {"ContainerSpec": {"Image": "registry/image@sha256:0"}},
            "Mode": {"Replicated": {"Replicas": replicas}},
            "EndpointSpec": {"Ports": changes.pop("ports", [])},
        },
    } | changes


def task(
    part: str, slot: int, on: str, state: str = "running", wanted: str = "running", error: str = ""
) -> dict[str, Any]:
    """One task of a service."""
    status = {"State": state, "Timestamp": "2026-11-21T08:00:00.123456789Z", "Message": state, "Err": error}
    return {
        "ID": f"{part}{slot}{on}",
        "ServiceID": part,
        "Slot": slot,
        "NodeID": on,
        "DesiredState": wanted,
        "Status": status | {"ContainerStatus": {"ContainerID": f"c{slot}"}},
    }


class Engine:
    """What the engine answers, by path without its version.

    Args:
        answers: JSON by path; whatever is not there is 404.
    """

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers: dict[str, Any] = {
            "/info": info(),
            "/nodes": [node("n1")],
            "/services": [],
            "/tasks": [],
        } | answers
        self.asked: list[str] = []
        self.told: list[str] = []
        self.on_post: Callable[[], None] = lambda: None

    def take(self, path: str) -> dict[str, Any]:
        """What it says to an order; `on_post` may change its answers from then on."""
        self.told.append(path.partition("/services")[2])
        self.on_post()
        return {}

    def answer(self, path: str) -> Any:
        """What it says to one question; filters by service are heeded."""
        url = urlsplit(path)
        plain = "/" + url.path.split("/", 2)[2] if url.path.startswith("/v1.") else url.path
        self.asked.append(plain)
        found: Any = self.answers.get(plain)
        if plain == "/info":
            # How far its clock goes before; the time itself is that of the question.
            return found | {"SystemTime": clock(found.get("SystemTime", timedelta()))}
        if plain == "/tasks" and "filters" in (asked := parse_qs(url.query)):
            wanted = json.loads(asked["filters"][0]).get("service", [])
            return [one for one in found if not wanted or one["ServiceID"] in wanted]
        return found


@contextlib.contextmanager
def engine(answers: dict[str, Any]) -> Iterator[tuple[str, Engine]]:
    """The engine and the address for DOCKER_HOST."""
    told = Engine(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/version":
                content: Any = {"ApiVersion": "1.41", "Version": "28.2.2"}
            elif self.path.endswith("/_ping"):
                content = "OK"
            else:
                content = told.answer(self.path)
            self._say(content)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._say(told.take(self.path))

        def _say(self, content: Any) -> None:
            body = json.dumps({"message": "not there"} if content is None else content).encode()
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - http.server's name

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{server.server_port}", told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def clock(ahead: timedelta) -> str:
    """The time of an engine whose clock goes before."""
    return (datetime.now(UTC) + ahead).isoformat().replace("+00:00", "123Z")  # nanoseconds, as Docker writes them

"""A stand-in for the API: a real server on loopback that can be slow, wrong or dead when a test wants it to be.

Run as `python -m tests.loadtests.fake`; it prints its port and ends when its standard input does.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvicorn

ROOT = Path(__file__).parents[2]
PROBLEM = {"type": "/problems/fault", "title": "Fault"}


@contextmanager
def fakes() -> Iterator[Callable[..., str]]:
    """Starts servers with the faults asked for, each call one, and returns its URL; they end with the block."""
    servers = []

    def start(**faults: Any) -> str:
        options = [f"--{name.replace('_', '-')}={value}" for name, value in faults.items()]
        command = [sys.executable, "-m", "tests.loadtests.fake", *options]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        servers.append(server)
        assert server.stdout
        return f"http://127.0.0.1:{int(server.stdout.readline())}"

    try:
        yield start
    finally:
        for server in servers:
            server.kill()
            server.communicate()


class Fake:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.tasks: dict[str, dict[str, Any]] = {}
        self.first_request = 0.0
        for number in range(30):
            self._create({"title": f"task {number}"})

    def _create(self, content: dict[str, Any]) -> dict[str, Any]:
        task = {"id": str(uuid.uuid4()), "title": content["title"], "status": "todo", "description": None}
        self.tasks[task["id"]] = task
        return task

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        path = scope["path"].removeprefix("/api/v1")
        # The clock of the faults begins with the first request of a reader, after all preparations.
        if path == "/tasks" and not self.first_request:
            self.first_request = time.monotonic()
        await self._misbehave()
        status, content = self._answer(scope["method"], path, body)
        if self._is_late(dict(scope["headers"]).get(b"authorization", b"").decode()):
            status, content = 401, PROBLEM
        if self.options.fail and self.options.fail in f"{scope['method']} {path}":
            status, content = 500, PROBLEM
        payload = b"" if status == 204 else json.dumps(content).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(payload))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": payload})

    def _token(self) -> dict[str, Any]:
        lifetime = self.options.expires_in
        token = {"access_token": f"t{time.monotonic()}", "token_type": "bearer"}
        return token | ({"expires_in": lifetime} if lifetime else {})

    def _is_late(self, authorization: str) -> bool:
        made_at = float(authorization.removeprefix("Bearer t") or "inf")
        return bool(self.options.expires_in) and time.monotonic() - made_at > self.options.expires_in

    async def _misbehave(self) -> None:
        since = time.monotonic() - self.first_request if self.first_request else 0.0
        options = self.options
        if options.die_after and since > options.die_after:
            os._exit(3)
        if options.stall_seconds and options.stall_after < since < options.stall_after + options.stall_seconds:
            # Everything stands still, as when a server's event loop is blocked.
            time.sleep(options.stall_after + options.stall_seconds - since)  # noqa: ASYNC251
        if options.delay:
            await asyncio.sleep(options.delay)

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        match method, path.strip("/").split("/"):
            case "POST", ["auth", "register"]:
                return 201, {"id": str(uuid.uuid4()), "email": json.loads(body)["email"]}
            case "POST", ["auth", "login"]:
                known = "password" in parse_qs(body.decode())
                return (200, self._token()) if known else (401, PROBLEM)
            case "GET", ["version"]:
                return 200, {"release": self.options.release}
            case "GET", ["me"]:
                return 200, {"id": "x"}
            case "GET", ["categories"]:
                return 200, {"items": [{"id": str(uuid.uuid4()), "name": "Work"}], "next_cursor": None}
            case "GET", ["tasks"]:
                return 200, {"items": list(self.tasks.values())[:20], "next_cursor": None}
            case "POST", ["tasks"]:
                return 201, self._create(json.loads(body))
            case "GET" | "PATCH", ["tasks", identity]:
                return 200, self.tasks[identity]
            case "DELETE", ["tasks", identity]:
                del self.tasks[identity]
                return 204, None
        return 404, PROBLEM


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--stall-after", type=float, default=0.0)
    parser.add_argument("--stall-seconds", type=float, default=0.0)
    parser.add_argument("--die-after", type=float, default=0.0)
    parser.add_argument("--fail", default="")
    parser.add_argument("--release", default="a-release")
    parser.add_argument("--expires-in", type=float, default=0.0)
    return parser.parse_args()


class Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()


if __name__ == "__main__":
    Server(uvicorn.Config(Fake(_options()), port=0, log_level="error", lifespan="off", timeout_keep_alive=30)).run()

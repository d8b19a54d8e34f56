"""The edge alone, on a real engine: what it says where no replica answers, and that many who wait do not kill it."""

import asyncio
import contextlib
import json
import ssl
import subprocess
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from infra.docker.caddyfile import HTTPS_TARGET, RETRY_SECONDS, WAIT_SECONDS, Site, caddyfile
from infra.docker.edge import CONFIGURATION, RESOLVER_OPTIONS, UID, go_memory
from infra.stack_keys import Edge as Keys
from ops.docker_cli import DockerCli, find_docker
from ops.errors import UnreachableError
from tests.deploy.docker.figures import keep
from tests.deploy.docker.image.environment import standin

RATE = 200
RECOVERY_SECONDS = 10
"""Two, where the machine has time for it: the figures say how many."""
UPSTREAM = """
import http.server

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_POST(self):
        self.close_connection = True

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer.request_queue_size = 2048
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""
pytestmark = [pytest.mark.timeout(400)]


class Edge:
    """Caddy as an environment has it, on a network where the API's name leads nowhere yet."""

    def __init__(self, docker: DockerCli, folder: Path) -> None:
        self.docker, self.keys = docker, Keys()
        self.name = f"slipway-test-{uuid4().hex[:8]}"
        self.started: list[str] = []
        text = caddyfile(
            Site(domain="localhost", https_port=443, automatic=False, acme_email=None, api="api", api_port=8000)
        )
        (folder / "Caddyfile").write_text(text)
        docker.output("network", "create", self.name)
        memory = f"{self.keys.memory_mib}m"
        options = (
            *("--memory", memory, "--memory-swap", memory, "--cpus", str(self.keys.cpus)),
            *("--read-only", "--tmpfs", "/tmp", "--tmpfs", "/var/tmp", "--user", str(UID)),
            *("--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"),
            *(word for option in RESOLVER_OPTIONS for word in ("--dns-option", option)),
            *("--env", "XDG_DATA_HOME=/var/tmp/caddy", "--env", "XDG_CONFIG_HOME=/tmp"),
            *("--env", f"GOMEMLIMIT={go_memory(self.keys.memory_mib)}"),
            *("--volume", f"{folder / 'Caddyfile'}:{CONFIGURATION}:ro"),
        )
        command = ("caddy", "run", "--config", CONFIGURATION, "--adapter", "caddyfile")
        self.container = self._run(standin("caddy"), *command, options=options)
        found = json.loads(docker.output("inspect", self.container))[0]["NetworkSettings"]["Networks"]
        self.address = found[self.name]["IPAddress"]

    def _run(self, image: str, *words: str, options: tuple[str, ...] = ()) -> str:
        container = self.docker.output("run", "--detach", "--network", self.name, *options, image, *words)
        self.started.append(container)
        return container

    def replica(self) -> str:
        """One that listens already, and that no name leads to."""
        container = self._run(standin("python"), "python3", "-c", UPSTREAM)
        self.docker.output("network", "disconnect", self.name, container)
        return container

    def name_replica(self, container: str) -> None:
        self.docker.output("network", "connect", "--alias", "api", self.name, container)

    def client(self) -> httpx.Client:
        """Takes the address for the name `localhost`, which the certificate has."""
        return httpx.Client(
            base_url=f"https://{self.address}:{HTTPS_TARGET}", verify=False, timeout=20, headers={"Host": "localhost"}
        )

    def ask(self, method: str, path: str, **content: object) -> httpx.Response:
        with self.client() as http:
            name = {"sni_hostname": "localhost"}
            return http.request(method, path, extensions=name, **content)  # type: ignore[arg-type]

    def log(self) -> str:
        command = [self.docker.program, "logs", self.container]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout

    def memory_mib(self) -> float:
        used = self.docker.output("stats", "--no-stream", "--format", "{{.MemUsage}}", self.container).split()[0]
        return float(used.removesuffix("MiB")) if used.endswith("MiB") else 0.0

    def close(self) -> None:
        for container in self.started:
            self.docker.output("rm", "--force", "--volumes", container)
        self.docker.output("network", "rm", self.name)


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    try:
        docker = find_docker()
    except UnreachableError as error:
        pytest.skip(f"needs a Docker engine: {error}")
    tmp_path.chmod(0o755)
    edge = Edge(docker, tmp_path)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(httpx.TransportError):
                edge.ask("GET", "/metrics")
                break
            assert time.monotonic() < deadline, edge.log()
            time.sleep(0.2)
        yield edge
    finally:
        edge.close()


def problem(answer: httpx.Response) -> dict[str, object]:
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, object] = answer.json()
    assert told.keys() == {"type", "title", "status", "detail", "request_id"}
    assert told["status"] == answer.status_code
    assert told["request_id"] == answer.headers["x-request-id"]
    return told


def test_every_error_of_the_edge_is_a_problem(edge: Edge) -> None:
    hidden = edge.ask("GET", "/metrics")
    assert (hidden.status_code, problem(hidden)["title"]) == (404, "Not Found")
    began = time.monotonic()
    away = edge.ask("GET", "/x?token=planted-token", headers={"Authorization": "Bearer planted-token"})
    assert WAIT_SECONDS - 1 < time.monotonic() - began < 2 * WAIT_SECONDS
    assert (away.status_code, away.headers["retry-after"]) == (503, str(RETRY_SECONDS))
    told = problem(away)
    said = edge.log()
    assert f'"err_id":"{told["request_id"]}"' in said
    assert "no upstreams available" in said
    assert "planted-token" not in said
    edge.name_replica(edge.replica())
    assert edge.ask("GET", "/x").status_code == 200
    long = edge.ask("POST", "/x", content=iter([b"x" * 100_000] * 30))
    assert long.status_code in {413, 502}  # Caddy 2.6 cannot tell whose fault it is that the replica hung up first
    problem(long)
    broken = edge.ask("POST", "/x", content=b"x")
    assert (broken.status_code, broken.headers["retry-after"]) == (502, str(RETRY_SECONDS))
    problem(broken)


def test_what_a_client_breaks_off_takes_no_replica_away_from_the_others(edge: Edge) -> None:
    edge.name_replica(edge.replica())
    assert edge.ask("GET", "/x").status_code == 200
    asyncio.run(_break_off(edge, 20))
    assert [edge.ask("GET", "/x").status_code for _ in range(5)] == [200] * 5
    assert "no upstreams available" not in edge.log()


async def _break_off(edge: Edge, times: int) -> None:
    for _ in range(times):
        _, writer = await asyncio.open_connection(
            edge.address, HTTPS_TARGET, ssl=_trusting(), server_hostname="localhost"
        )
        writer.write(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()


def test_two_hundred_requests_a_second_that_wait_for_a_replica_do_not_kill_it(edge: Edge, rounds: int) -> None:
    """Without `RESOLVER_OPTIONS`, whatever its memory, it is killed after half a minute."""
    seconds = 60 if rounds > 2 else 20
    replica = edge.replica()
    load = asyncio.run(_outage(edge, replica, seconds))
    state = json.loads(edge.docker.output("inspect", "--format", "{{json .State}}", edge.container))
    figures = {
        "rate": RATE,
        "seconds_without_replica": seconds,
        "memory_limit_mib": edge.keys.memory_mib,
        "memory_mib": load.memory_mib,
        "served_again_after_seconds": round(load.served_at - load.named_at, 2),
        "answers": dict(load.answers),
        "afterwards": dict(load.afterwards),
    }
    keep("edge without replicas", figures)
    assert (state["Running"], state["OOMKilled"]) == (True, False), figures
    assert 0 < load.memory_mib < edge.keys.memory_mib, figures
    assert load.served_at - load.named_at < RECOVERY_SECONDS, figures
    assert load.afterwards[200] > 0.95 * load.afterwards.total() > 0, figures


class Load:
    """Requests that keep to a clock, over connections that are kept."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self.trust = _trusting()
        self.answers: Counter[int] = Counter()
        self.afterwards: Counter[int] = Counter()
        self.named_at = self.served_at = float("inf")
        self.memory_mib = 0.0

    async def ask(self) -> None:
        began = time.monotonic()
        status = 0
        with contextlib.suppress(OSError, EOFError, IndexError, ValueError):
            async with asyncio.timeout(15):
                status = await self._ask()
        ended = time.monotonic()
        if status == 200:
            self.served_at = min(self.served_at, ended)
        self.answers[status] += 1
        if began > self.named_at + 2 * WAIT_SECONDS:
            self.afterwards[status] += 1

    async def _ask(self) -> int:
        if self.idle:
            reader, writer = self.idle.popleft()
        else:
            address = (self.edge.address, HTTPS_TARGET)
            reader, writer = await asyncio.open_connection(*address, ssl=self.trust, server_hostname="localhost")
        writer.write(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        self.idle.append((reader, writer))
        return int(head.split(maxsplit=2)[1])


async def _outage(edge: Edge, replica: str, seconds: float) -> Load:
    load = Load(edge)
    tasks = set()
    began = time.monotonic()
    naming: asyncio.Task[None] | None = None
    for number in range(int(RATE * (seconds + 3 * WAIT_SECONDS))):
        at = began + number / RATE
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        tasks.add(asyncio.create_task(load.ask()))
        if naming is None and at > began + seconds:
            naming = asyncio.create_task(asyncio.to_thread(_name, load, replica))
    await asyncio.gather(*tasks, *([naming] if naming else []))
    for _, writer in load.idle:
        writer.close()
    return load


def _name(load: Load, replica: str) -> None:
    load.memory_mib = load.edge.memory_mib()
    load.edge.name_replica(replica)
    load.named_at = time.monotonic()


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context

"""The ground of the proofs: a checkout of its own, a registry of its own, releases in it, environments on the swarm.

Everything is made under names of this run alone, and all of it is taken away again, whatever became of a proof.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import uuid4

import httpx
import yaml
from docker.errors import APIError, NotFound

from infra.contract import ADMIN_ROLE, DATABASE_NAME
from infra.embedded.layout import Layout
from ops import edge
from ops.verbs.image import BASE_VARIABLE
from tests.deploy.standins import image as standin
from tests.environments import ROOT
from tests.ports import unused_port

if TYPE_CHECKING:
    import docker

OURS: Final = "from ops.console import main; main()"
"""What `slipway` runs; the checkout's own, because Python looks in the current folder first."""
UNSET: Final = ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_STACK")
IMAGES: Final = {
    "postgres": "postgres",
    "valkey": "valkey",
    "caddy": "caddy",
    "prometheus": "prometheus",
    "blackbox": "blackbox-exporter",
    "alertmanager": "alertmanager",
    "postgresExporter": "postgres-exporter",
}
"""By the stack's keys: the stand-ins."""
REMOVAL_TRIES: Final = 180
"""A second apart: a network stays until the last container that was on it has drained."""


@dataclass(frozen=True)
class Said:
    """A command to its end.

    Args:
        code: exit code.
        output: standard output.
        errors: standard error.
        seconds: how long it took.
    """

    code: int
    output: str
    errors: str
    seconds: float

    @property
    def text(self) -> str:
        """All that the operator saw."""
        return self.output + self.errors

    def good(self) -> Self:
        """Itself, if it ended well."""
        assert self.code == 0, self.text
        return self

    def json(self) -> Any:
        """What it printed for programs."""
        return json.loads(self.good().output)


def run(words: Sequence[str], folder: Path, variables: Mapping[str, str], *, seconds: float = 900) -> Said:
    """Run a command with exactly these variables."""
    began = time.monotonic()
    done = subprocess.run(
        words, cwd=folder, env=dict(variables), capture_output=True, text=True, check=False, timeout=seconds
    )
    return Said(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


@dataclass(frozen=True)
class Checkout:
    """A copy of this checkout's source, as somebody has it who cloned it just now.

    Args:
        folder: where it is.
        docker_host: where its operator's engine answers; None for the default.
    """

    folder: Path
    docker_host: str | None = None

    @classmethod
    def at(cls, folder: Path) -> "Checkout":
        """Make one: what git knows or would take, and the environment that is installed already."""
        listed = subprocess.run(
            ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        (folder / ".venv").symlink_to(sys.prefix)
        return cls(folder)

    @property
    def variables(self) -> dict[str, str]:
        """An operator's: nothing of Pulumi's is set, and he is logged in nowhere."""
        kept = {name: value for name, value in os.environ.items() if name not in UNSET}
        own = {"PULUMI_CREDENTIALS_PATH": str(self.folder / ".pulumi-login"), "PULUMI_SKIP_UPDATE_CHECK": "true"}
        return kept | own | ({"DOCKER_HOST": self.docker_host} if self.docker_host else {})

    def slipway(self, *words: str, **variables: str) -> Said:
        """One verb."""
        return run((sys.executable, "-c", OURS, *words), self.folder, self.variables | variables)


class Registry:
    """A registry on this machine, which engines trust without a certificate."""

    def __init__(self, client: "docker.DockerClient") -> None:
        self.port = unused_port()
        self._container = client.containers.run(
            standin("registry"),
            name=f"slipway-test-registry-{self.port}",
            ports={"5000/tcp": ("127.0.0.1", self.port)},
            detach=True,
            remove=True,
        )

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def wait(self) -> None:
        """Until it answers."""
        wait_for(lambda: _answers(f"http://{self.address}/v2/"), 30)

    def close(self) -> None:
        """Remove it with what it holds."""
        with contextlib.suppress(NotFound):
            self._container.remove(v=True, force=True)


class Releases:
    """Releases of changed sources, built by our own verb and pushed; each once a run.

    Args:
        checkout: whose source is changed.
        registry: where they go.
    """

    def __init__(self, checkout: Checkout, registry: Registry) -> None:
        self.checkout = checkout
        self.repository = f"{registry.address}/slipway"
        self.results: dict[str, dict[str, Any]] = {}

    def reference(self, name: str, change: Callable[[Path], None] | None = None) -> str:
        """The digest reference of a release.

        Args:
            name: of the release in these proofs.
            change: what it does to a copy of the source; another comment, if left out.
        """
        if name not in self.results:
            self.results[name] = self._build(name, change or (lambda folder: _comment(folder, name)))
        return str(self.results[name]["reference"])

    def name_of(self, name: str) -> str:
        """How the service names itself when it runs this release."""
        return str(self.results[name]["release"])

    def _build(self, name: str, change: Callable[[Path], None]) -> dict[str, Any]:
        folder = self.checkout.folder / ".slipway" / "sources" / name
        left_out = shutil.ignore_patterns(".venv", ".slipway", "tests", "docs", "__pycache__")
        shutil.copytree(self.checkout.folder, folder, ignore=left_out)
        change(folder)
        words = ("image", "--project", str(folder), "--repository", self.repository, "--push", "--json")
        base = os.environ.get(BASE_VARIABLE) or standin("python")
        result: dict[str, Any] = self.checkout.slipway(*words, **{BASE_VARIABLE: base}).json()
        return result


@dataclass
class Environment:
    """One environment of a checkout, and what its operator does with it.

    Args:
        checkout: whose.
        client: of the engine.
        name: the stack's, used by nobody else.
        https_port: of the edge.
        http_port: likewise.
    """

    checkout: Checkout
    client: "docker.DockerClient"
    name: str
    https_port: int
    http_port: int
    outcomes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def layout(self) -> Layout:
        """Its folders."""
        return Layout(self.checkout.folder, self.name)

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"https://localhost:{self.https_port}"

    @property
    def authority(self) -> Path:
        """The certificate of its authority."""
        return edge.authority_of(self.layout)

    def write(self, config: Mapping[str, Any]) -> None:
        """Write its stack file."""
        self._file.write_text(yaml.safe_dump({"config": {f"slipway:{key}": value for key, value in config.items()}}))

    def configure(self, **sections: Any) -> None:
        """Change keys as an operator does in the file: sections are merged, texts replaced."""
        content = yaml.safe_load(self._file.read_text())
        for key, value in sections.items():
            before = content["config"].get(f"slipway:{key}")
            merged = {**before, **value} if isinstance(value, dict) and isinstance(before, dict) else value
            content["config"][f"slipway:{key}"] = merged
        self._file.write_text(yaml.safe_dump(content))

    def setting(self, key: str) -> Any:
        """What stands in the file."""
        return yaml.safe_load(self._file.read_text())["config"].get(f"slipway:{key}")

    def verb(self, verb: str, *words: str, **variables: str) -> Said:
        """One verb on it."""
        return self.checkout.slipway(verb, self.name, *words, **variables)

    def up(self, *words: str) -> "Up":
        """A deploy that must pass, without its load."""
        said = self.verb("up", "--no-load", "--json", *words)
        outcome = said.json()
        self.outcomes.append(outcome)
        return Up(said, outcome)

    def pulumi(self, *words: str) -> Said:
        """Plain Pulumi, with the lines that `init` told."""
        exports: list[str] = self.verb("init", "--json").json()["exports"]
        told = dict(shlex.split(line.removeprefix("export "))[0].split("=", 1) for line in exports)
        command = ("pulumi", "--non-interactive", "--color", "never", *words, "--stack", self.name)
        return run(command, self.checkout.folder, self.checkout.variables | told)

    def status(self) -> dict[str, Any]:
        """What `slipway status` tells."""
        state: dict[str, Any] = json.loads(self.verb("status", "--json").output)
        return state

    def version(self) -> dict[str, Any]:
        """What the service says of itself through the edge."""
        with edge.client(self.url, self.authority) as http:
            answer: dict[str, Any] = http.get("/version").raise_for_status().json()
        return answer

    def service_name(self, part: str) -> str:
        """A part's service."""
        return f"slipway-{self.name}-{part}"

    def containers(self, part: str) -> list[Any]:
        """A part's running containers on this engine."""
        label = f"com.docker.swarm.service.name={self.service_name(part)}"
        found: list[Any] = self.client.containers.list(filters={"label": label, "status": "running"})
        return found

    def is_complete(self, part: str) -> bool:
        """Whether as many containers of a part are healthy as should be."""
        service = self.client.api.inspect_service(self.service_name(part))  # type: ignore[no-untyped-call]
        wanted = int(service["Spec"]["Mode"]["Replicated"]["Replicas"])
        states = [one.attrs["State"].get("Health", {}).get("Status") for one in self.containers(part)]
        return states == ["healthy"] * wanted

    def query(self, statement: str) -> str:
        """What PostgreSQL's superuser is answered."""
        password = "PGPASSWORD=$(cat /run/secrets/admin_password)"
        ask = f"{password} psql -h 127.0.0.1 -U {ADMIN_ROLE} -d {DATABASE_NAME} -Atqc {shlex.quote(statement)}"
        [container] = self.containers("database")
        code, output = container.exec_run(["sh", "-c", ask])
        assert code == 0, output
        return str(output.decode()).strip()

    def left(self) -> list[str]:
        """What Docker holds under its name, as `kind name`."""
        return sorted(f"{kind} {name}" for kind, name, _ in self._objects())

    def remove(self) -> None:
        """Take it down, then whatever is still there."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.verb("down", "--yes")
        for _ in range(REMOVAL_TRIES):
            objects = list(self._objects())
            if not objects:
                return
            for _, _, remove in objects:
                with contextlib.suppress(APIError):
                    remove()
            time.sleep(1)

    @property
    def _file(self) -> Path:
        return self.checkout.folder / f"Pulumi.{self.name}.yaml"

    def _objects(self) -> Iterator[tuple[str, str, Callable[[], Any]]]:
        prefix = f"slipway-{self.name}-"
        for kind in ("services", "configs", "secrets", "networks"):
            for one in getattr(self.client, kind).list(filters={"name": prefix}):
                yield kind[:-1], str(one.name), one.remove
        for one in self.client.containers.list(all=True, filters={"name": prefix}):
            yield "container", str(one.name), lambda one=one: one.remove(v=True, force=True)  # type: ignore[misc]
        for one in self.client.volumes.list(filters={"name": prefix}):
            yield "volume", str(one.name), one.remove


@dataclass(frozen=True)
class Up:
    """A deploy that passed.

    Args:
        said: what its operator saw.
        outcome: what the record says.
    """

    said: Said
    outcome: dict[str, Any]

    @property
    def changed(self) -> dict[str, int]:
        """Resources by what became of them, without those that stayed."""
        content = json.loads((Path(self.outcome["record"]) / "changes.json").read_text())
        return {operation: count for operation, count in content["changes"].items() if operation != "same"}

    @property
    def resources(self) -> list[str]:
        """What was changed, as `operation resource`."""
        content = json.loads((Path(self.outcome["record"]) / "changes.json").read_text())
        return sorted(f"{one['operation']} {one['resource']}" for one in content["resources"])

    @property
    def slowest(self) -> dict[str, float]:
        """The resources that took longest, with their seconds."""
        told = re.findall(r"^ +[+~±-] (.+?)  (\d+\.\d) s$", self.said.text, re.MULTILINE)
        found = sorted(((float(seconds), name) for name, seconds in told), reverse=True)
        return {name: seconds for seconds, name in found[:8]}

    @property
    def smoke(self) -> list[dict[str, Any]]:
        """The checks from outside."""
        checks: list[dict[str, Any]] = json.loads((Path(self.outcome["record"]) / "smoke.json").read_text())
        return checks

    @property
    def probe(self) -> dict[str, Any] | None:
        """What its own probe counted."""
        path = Path(self.outcome["record"]) / "probe.json"
        return dict(json.loads(path.read_text())) if path.exists() else None


@dataclass(frozen=True)
class Ground:
    """What the proofs share.

    Args:
        checkout: the operator's.
        client: of the engine.
        registry: with the releases.
        releases: see there.
    """

    checkout: Checkout
    client: "docker.DockerClient"
    registry: Registry
    releases: Releases

    @contextlib.contextmanager
    def environment(self, kind: str, **sections: Any) -> Iterator[Environment]:
        """An environment like the one of this kind that is checked in, on this machine's ports and images."""
        name = f"t{uuid4().hex[:6]}"
        https_port, http_port = unused_port(), unused_port()
        made = Environment(self.checkout, self.client, name, https_port, http_port)
        config = stack_file(self.checkout.folder, kind)
        config["kind"] = kind
        config["image"] = sections.pop("image", None) or self.releases.reference("first")
        config["edge"] = {"domain": "localhost", "httpsPort": https_port, "httpPort": http_port, "tls": "internal"}
        config["images"] = {key: standin(name) for key, name in IMAGES.items()}
        made.write(config)
        made.configure(**sections)
        try:
            yield made
        finally:
            made.remove()

    def pinned(self, name: str) -> str:
        """A stand-in by its digest in the registry, as production wants it."""
        repository = f"{self.registry.address}/{name}"
        image = self.client.images.get(standin(name))
        image.tag(repository, "1")
        self.client.images.push(repository, "1")
        image.reload()
        digest = next(one for one in image.attrs["RepoDigests"] if one.startswith(f"{repository}@"))
        return str(digest)


@contextlib.contextmanager
def a_ground(client: "docker.DockerClient") -> Iterator[Ground]:
    """Make it, and take away all of it."""
    registry = Registry(client)
    try:
        registry.wait()
        with tempfile.TemporaryDirectory(prefix="slipway-test-", ignore_cleanup_errors=True) as folder:
            checkout = Checkout.at(Path(folder) / "slipway")
            yield Ground(checkout, client, registry, Releases(checkout, registry))
    finally:
        _remove_images(client, registry.address)
        registry.close()


def stack_file(folder: Path, kind: str) -> dict[str, Any]:
    """The checked-in configuration of an environment, by key without the project's name."""
    content = yaml.safe_load((folder / f"Pulumi.{kind}.yaml").read_text())
    return {key.removeprefix("slipway:"): value for key, value in content["config"].items()}


def wait_for(condition: Callable[[], bool], seconds: float) -> float:
    """Wait until it is so; how long it took, in seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + seconds, f"it did not come about within {seconds} s"
        time.sleep(0.1)
    return time.monotonic() - began


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _comment(folder: Path, name: str) -> None:
    with (folder / "service" / "__init__.py").open("a") as file:
        file.write(f"# release {name}\n")


def _remove_images(client: "docker.DockerClient", address: str) -> None:
    for image in client.images.list():
        mine = [tag for tag in image.tags if tag.startswith(f"{address}/")]
        for tag in mine or [one for one in image.attrs["RepoDigests"] if one.startswith(f"{address}/")]:
            with contextlib.suppress(APIError):
                client.images.remove(tag, force=False)

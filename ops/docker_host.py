"""An environment as its Docker engine shows it: services, where their replicas run, what they say."""

import contextlib
import io
import os
import socket
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container
from docker.models.services import Service
from requests.exceptions import RequestException

from infra.docker.names import ENVIRONMENT_LABEL, PART_LABEL
from infra.embedded.layout import Layout
from ops.errors import CheckFailedError, UnreachableError, UsageError
from ops.pulumi_engine.access import settings

TIMEOUT_SECONDS: Final = 10
RELEASE_SECONDS: Final = 30
"""How long the tasks of a removed service may hold its networks."""
DEFAULT: Final = "unix:///var/run/docker.sock"


@dataclass(frozen=True)
class Replica:
    """One task of a service, in the engine's words.

    Args:
        slot: which of the service's replicas it is.
        node: host name of the machine that it runs on.
        state: `running`, `starting`, `failed`, ...
        since: RFC 3339, when it came into that state.
        message: what the engine says of it, when it does not run.
        container: id of its container, or "".
        wanted: whether it should run.
    """

    slot: int
    node: str
    state: str
    since: str
    message: str
    container: str
    wanted: bool


@dataclass(frozen=True)
class Part:
    """One service.

    Args:
        name: such as `api`.
        image: as the service names it.
        wanted: replicas that should run.
        replicas: those that run, and those that should and do not yet.
        update: how the last change of the service went (`completed`, `rollback_completed`, ...), or "".
        message: what the engine says of that.
    """

    name: str
    image: str
    wanted: int
    replicas: tuple[Replica, ...]
    update: str
    message: str

    @property
    def running(self) -> list[Replica]:
        """The replicas that run."""
        return [replica for replica in self.replicas if replica.state == "running" and replica.wanted]


class Host:
    """The Docker engine that holds an environment.

    Args:
        client: of docker-py.
        environment: the environment's name.
        address: where the engine answers, for people.
    """

    def __init__(self, client: "docker.DockerClient", environment: str, address: str) -> None:
        self.client = client
        self.environment = environment
        self.address = address

    @cached_property
    def info(self) -> dict[str, Any]:
        """What the engine says of itself."""
        found: dict[str, Any] = self.client.info()
        return found

    @property
    def node_id(self) -> str:
        """The swarm's id of the machine that answers."""
        return str(self.info.get("Swarm", {}).get("NodeID", ""))

    @property
    def is_manager(self) -> bool:
        """Whether it may be asked for services."""
        return bool(self.info.get("Swarm", {}).get("ControlAvailable"))

    @cached_property
    def nodes(self) -> dict[str, dict[str, Any]]:
        """The swarm's machines, by id."""
        return {node["ID"]: node for node in self.client.api.nodes()}

    def parts(self) -> list[Part]:
        """The environment's services, by name."""
        return sorted((self._part(service) for service in self._services()), key=lambda part: part.name)

    def part_names(self) -> list[str]:
        """Their names."""
        return sorted(self._part_name(service) for service in self._services())

    def service(self, part: str) -> Service:
        """The service of a part.

        Raises:
            UsageError: there is none.
        """
        services = {self._part_name(service): service for service in self._services()}
        if part not in services:
            choices = ", ".join(sorted(services)) or "nothing at all"
            raise UsageError(f"{self.environment} has no part {part!r} running: there is {choices}")
        return services[part]

    def run_in(self, part: str, command: list[str]) -> str:
        """What a command prints in a part's container.

        Raises:
            CheckFailedError: the part does not run on the machine that answers, or the command failed.
        """
        code, output = self._container(part).exec_run(command, demux=True)
        told: tuple[bytes | None, bytes | None] = output  # type: ignore[assignment]  # demux makes it a pair
        out, errors = ((text or b"").decode(errors="replace") for text in told)
        if code != 0:
            said = " ".join((errors or out).split())[:300]
            raise CheckFailedError(f"{part}: {command[0]} failed (exit {code}): {said}")
        return str(out)

    def file_of(self, part: str, path: str) -> bytes:
        """A file in a part's container.

        Raises:
            CheckFailedError: the part does not run on the machine that answers, or has no such file.
        """
        try:
            chunks, _ = self._container(part).get_archive(path)
        except NotFound as error:
            raise CheckFailedError(f"{part} has no {path}") from error
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            member = archive.extractfile(archive.getmembers()[0])
            return member.read() if member else b""

    def container_id(self, part: str) -> str:
        """A running container of a part on the machine that answers.

        Raises:
            CheckFailedError: there is none.
        """
        return str(self._container(part).id)

    def remove(self, kind: str, name: str) -> bool:
        """Remove a service, network, secret or config of this environment by its exact name; whether there was one."""
        if not name.startswith(f"slipway-{self.environment}-"):
            return False
        listed: list[Any] = getattr(self.client, f"{kind}s").list(filters={"name": name})
        for found in listed:
            if found.name == name:
                _remove(found)
                return True
        return False

    def _services(self) -> list[Service]:
        found: list[Service] = self.client.services.list(
            filters={"label": f"{ENVIRONMENT_LABEL}={self.environment}"},
        )
        return found

    def _part_name(self, service: Service) -> str:
        labels = service.attrs["Spec"].get("Labels") or {}
        return str(labels.get(PART_LABEL) or service.name.removeprefix(f"slipway-{self.environment}-"))

    def _part(self, service: Service) -> Part:
        spec, update = service.attrs["Spec"], service.attrs.get("UpdateStatus") or {}
        replicas = tuple(self._replica(task) for task in tasks_of(service))
        living = tuple(one for one in replicas if one.wanted or one.state in {"running", "starting"})
        mode = spec.get("Mode", {})
        wanted = mode.get("Replicated", {}).get("Replicas", len(self.nodes) if "Global" in mode else 1)
        return Part(
            name=self._part_name(service),
            image=str(spec["TaskTemplate"]["ContainerSpec"]["Image"]),
            wanted=int(wanted),
            replicas=tuple(sorted(living, key=lambda one: (one.slot, one.since))),
            update=str(update.get("State", "")),
            message=str(update.get("Message", "")),
        )

    def _replica(self, task: dict[str, Any]) -> Replica:
        status, node = task["Status"], self.nodes.get(task.get("NodeID", ""), {})
        return Replica(
            slot=int(task.get("Slot", 0)),
            node=str(node.get("Description", {}).get("Hostname", "")),
            state=str(status.get("State", "")),
            since=str(status.get("Timestamp", ""))[:19] + "Z",
            message=str(status.get("Err") or status.get("Message") or ""),
            container=str(status.get("ContainerStatus", {}).get("ContainerID", "")),
            wanted=task.get("DesiredState") == "running",
        )

    def _container(self, part: str) -> Container:
        """A running container of a part on the machine that answers."""
        replicas = self._part(self.service(part)).running
        for replica in replicas:
            with contextlib.suppress(NotFound):
                return self.client.containers.get(replica.container)
        where = ", ".join(sorted({replica.node for replica in replicas}))
        if not where:
            raise CheckFailedError(f"{part} of {self.environment} does not run: slipway status {self.environment}")
        raise CheckFailedError(f"{part} runs on {where} and not where {self.address} leads: set DOCKER_HOST to there")


def tasks_of(service: Service) -> list[dict[str, Any]]:
    """The tasks of a service: those that run, and the last ones that did."""
    found: list[dict[str, Any]] = service.tasks()  # type: ignore[no-untyped-call]
    return found


def _remove(found: Any) -> None:
    """Remove it, as soon as the tasks of a service that was removed just now let go of it."""
    deadline = time.monotonic() + RELEASE_SECONDS
    while True:
        try:
            found.remove()
        except NotFound:
            return
        except APIError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


@contextlib.contextmanager
def open_host(layout: Layout, quiet_seconds: int = TIMEOUT_SECONDS) -> Iterator[Host]:
    """The environment's Docker engine, while the block lasts.

    Args:
        layout: the environment's folders.
        quiet_seconds: how long it may say nothing.

    Raises:
        UnreachableError: it does not answer.
        CheckFailedError: it refuses something within the block.
    """
    address = address_of(layout)
    try:
        _knock(address)
        client = _client(address, quiet_seconds)
        client.ping()
    except (DockerException, RequestException, OSError) as error:
        raise UnreachableError(_unreachable(address, error)) from error
    try:
        yield Host(client, layout.environment, address)
    except APIError as error:
        raise CheckFailedError(f"Docker refuses: {error.explanation or error}") from error
    except (DockerException, RequestException) as error:
        raise UnreachableError(_unreachable(address, error)) from error
    finally:
        client.close()


def address_of(layout: Layout) -> str:
    """Where the environment's engine answers: as the stack says, else as the operator does, else on this machine."""
    section = settings(layout).get("config", {}).get("slipway:docker") or {}
    return str(section.get("host") or os.environ.get("DOCKER_HOST") or DEFAULT)


def _knock(address: str) -> None:
    """See whether anybody listens at a socket; docker-py would leave its own open when nobody does."""
    if address.startswith("unix:"):
        with socket.socket(socket.AF_UNIX) as knock:
            knock.connect("/" + address.removeprefix("unix:").lstrip("/"))


def _client(address: str, quiet_seconds: int) -> "docker.DockerClient":
    through_ssh = address.startswith("ssh://")
    if address == os.environ.get("DOCKER_HOST"):  # with its certificates, as DOCKER_CERT_PATH says
        return docker.from_env(timeout=quiet_seconds, use_ssh_client=through_ssh)
    return docker.DockerClient(base_url=address, timeout=quiet_seconds, use_ssh_client=through_ssh)


def _unreachable(address: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    if "Permission denied" in text:
        return f"Docker at {address} does not let you in: add yourself to its group (usermod -aG docker NAME)"
    known = {"Connection refused": "nothing listens there", "No such file or directory": "there is no such socket"}
    reason = next((told for word, told in known.items() if word in text), text[:200])
    return f"Docker does not answer at {address} ({reason}): start it, or set DOCKER_HOST to where it is"

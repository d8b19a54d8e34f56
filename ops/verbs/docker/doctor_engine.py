"""What `slipway doctor` looks at on the Docker engine and in its swarm."""

import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from docker.errors import APIError, NotFound
from requests.exceptions import RequestException

from infra.contract import DISK_BYTES
from infra.embedded.layout import Layout
from infra.stack import Stack
from ops.docker_host import Host
from ops.verbs.docker.doctor_finding import FAILED, OK, WARNING, Found

OLDEST_DOCKER: Final = (20, 10)
SKEW_WARNING_SECONDS: Final = 2.0
SKEW_FAILURE_SECONDS: Final = 60.0
"""Beyond it, certificates and tokens that one machine makes are not yet, or no longer, valid on the other."""
CONNECT_SECONDS: Final = 2


def version(host: Host) -> Found:
    """Whether it is new enough."""
    found = str(host.info["ServerVersion"])
    said = f"{found} at {host.address}"
    numbers = tuple(int(word) for word in found.split(".")[:2] if word.isdigit())
    if numbers < OLDEST_DOCKER:
        return FAILED, said, f"install Docker {'.'.join(map(str, OLDEST_DOCKER))} or newer"
    return OK, said, ""


def swarm(host: Host) -> Found:
    """Whether it manages a swarm whose nodes are all there."""
    told = host.info.get("Swarm", {})
    state = told.get("LocalNodeState", "inactive")
    if state != "active":
        return FAILED, f"Docker at {host.address} is in no swarm ({state})", "docker swarm init on it"
    if not host.is_manager:
        managers = ", ".join(manager["Addr"] for manager in told.get("RemoteManagers") or ())
        return FAILED, f"{host.info['Name']} is a worker of its swarm", f"set DOCKER_HOST to a manager ({managers})"
    nodes = [(node["Description"]["Hostname"], node["Spec"]["Role"], node) for node in host.nodes.values()]
    nodes.sort(key=lambda one: one[0])
    said = ", ".join(f"{name} {role} {_node_state(node)}" for name, role, node in nodes)
    away = [name for name, _, node in nodes if _node_state(node) != "ready"]
    if away:
        return WARNING, said, f"see to {', '.join(away)}: no replica can run there"
    if len([role for _, role, _ in nodes if role == "manager"]) == 2:
        return WARNING, said, "two managers are lost when one is: have one or three"
    return OK, said, ""


def _node_state(node: dict[str, Any]) -> str:
    availability = str(node["Spec"].get("Availability", "active"))
    return availability if availability != "active" else str(node["Status"]["State"])


def privileges(host: Host) -> Found:
    """Swarm services cannot ask for no-new-privileges; the engine can for all its containers."""
    options = {str(option) for option in host.info.get("SecurityOptions") or ()}
    if any(option.startswith("name=no-new-privileges") for option in options):
        return OK, "no-new-privileges is the engine's default", ""
    remedy = 'put "no-new-privileges": true into /etc/docker/daemon.json of every node and restart Docker'
    return WARNING, "no-new-privileges is off, and a Swarm service cannot ask for it", remedy


def disk(layout: Layout, host: Host) -> Found:
    """Whether there is room, here and where a local engine keeps its data."""
    folders = [layout.project]
    if host.address.startswith("unix:"):
        folders.append(Path(host.info["DockerRootDir"]))
    found = [(folder, shutil.disk_usage(folder).free) for folder in folders if folder.exists()]
    said = ", ".join(f"{free >> 20} MiB free at {folder}" for folder, free in found)
    if any(free < DISK_BYTES for _, free in found):
        return (
            FAILED,
            said,
            f"free some: {DISK_BYTES >> 20} MiB are needed (docker system prune removes what is unused)",
        )
    return OK, said, ""


def clock(host: Host) -> Found:
    """Whether the engine's clock and this machine's agree."""
    before = datetime.now(UTC)
    told = _moment(host.client.info()["SystemTime"])
    after = datetime.now(UTC)
    skew = max((before - told).total_seconds(), (told - after).total_seconds(), 0.0)
    said = f"{skew:.1f} s between this machine and the engine"
    if skew > SKEW_FAILURE_SECONDS:
        return FAILED, said, "set both clocks by NTP: tokens and certificates would not be valid"
    if skew > SKEW_WARNING_SECONDS:
        return WARNING, said, "set both clocks by NTP"
    return OK, said, ""


def _moment(text: str) -> datetime:
    """An RFC 3339 time with more digits than Python takes."""
    whole, _, rest = text.partition(".")
    zone = rest.lstrip("0123456789") or "Z"
    return datetime.fromisoformat(whole.removesuffix("Z") + zone) if rest else datetime.fromisoformat(text)


def ports(stack: Stack, host: Host) -> Found:
    """Whether the edge's ports are its own: on every node by Swarm's books, on this machine by asking."""
    wanted = {stack.edge.https_port, stack.edge.http_port}
    mine = f"slipway-{stack.environment}-edge"
    published = _published(host)
    said = " and ".join(map(str, sorted(wanted)))
    taken = [f"{port} by {name}" for port in sorted(wanted) for name in published.get(port, ()) if name != mine]
    held = {port for port, names in published.items() if mine in names}
    if host.address.startswith("unix:"):
        taken += [f"{port} by another program" for port in sorted(wanted - published.keys() - held) if _answers(port)]
    if taken:
        return FAILED, f"taken: {', '.join(taken)}", "set slipway:edge.httpsPort and httpPort, or stop what holds them"
    return OK, said + (" are the edge's" if held >= wanted else " are free"), ""


def _published(host: Host) -> dict[int, list[str]]:
    """The ports that Swarm's services publish, and whose they are."""
    found: dict[int, list[str]] = {}
    for service in host.client.services.list():
        for port in (service.attrs["Spec"].get("EndpointSpec") or {}).get("Ports") or ():
            found.setdefault(int(port.get("PublishedPort", 0)), []).append(service.name)
    return found


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def images(stack: Stack, host: Host) -> Found:
    """Whether the engine has each image or its registry gives it."""
    references = _references(stack)
    with ThreadPoolExecutor(max_workers=8) as threads:
        found = dict(zip(references, threads.map(lambda reference: _image(host, reference), references), strict=True))
    said = f"{sum(not reason for reason in found.values())} of {len(found)} are there or can be had"
    if missing := [f"{reference.partition('@')[0]} ({reason})" for reference, reason in found.items() if reason]:
        return FAILED, f"{said}; not: {', '.join(missing)}", "see to the name, the network and docker login"
    return OK, said, ""


def _references(stack: Stack) -> list[str]:
    """The images that the stack's parts are made of; the service's own only where it is not built."""
    images = [stack.images.caddy, stack.images.valkey]
    if stack.database.mode == "container" or stack.backups.enabled:
        images.append(stack.images.postgres)
    if stack.uptime.enabled:
        images += [stack.images.prometheus, stack.images.blackbox, stack.images.alertmanager]
        images.append(stack.images.postgres_exporter)
        images += [stack.images.grafana] if stack.uptime.grafana else []
    return [*([stack.image] if stack.image else []), *images]


def _image(host: Host, reference: str) -> str:
    """Why the engine cannot have an image; empty where it can."""
    try:
        host.client.images.get(reference)
    except NotFound:
        pass
    else:
        return ""
    try:
        host.client.images.get_registry_data(reference)
    except APIError as error:
        return " ".join(str(error.explanation or error).split())[:120]
    except RequestException as error:
        return "its registry does not answer" if "timed out" in str(error).lower() else type(error).__name__
    return ""

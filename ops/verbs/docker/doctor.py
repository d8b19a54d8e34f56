"""`slipway doctor`: what stands between an environment and a good `up`, each with its remedy."""

import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from infra.embedded.layout import Layout
from infra.stack import Stack
from ops import stack as stacks
from ops.docker_host import open_host
from ops.errors import CheckFailedError, SlipwayError, UnreachableError
from ops.pulumi_engine.command import INSTALL_URL, find
from ops.pulumi_engine.engine import Engine
from ops.verbs.docker import doctor_engine
from ops.verbs.docker.doctor_capacity import capacity
from ops.verbs.docker.doctor_finding import FAILED, OK, SKIPPED, WARNING, Check, Found, run

__all__ = ["FAILED", "doctor", "quick"]


def doctor(layout: Layout) -> list[dict[str, Any]]:
    """Look at everything that `up` needs; nothing is changed.

    Returns:
        name, state, said and remedy of each check.
    """
    return [asdict(check) for check in _checks(layout)]


def quick(layout: Layout) -> None:
    """What takes no time, before each `up`.

    Raises:
        UnreachableError: Docker does not answer.
        CheckFailedError: something else is in the way.
    """
    with open_host(layout) as host:
        checks = [
            run("docker", doctor_engine.version, host),
            run("swarm", doctor_engine.swarm, host),
            run("disk", doctor_engine.disk, layout, host),
        ]
    if failed := [check for check in checks if check.state == FAILED]:
        raise CheckFailedError("; ".join(f"{check.said}: {check.remedy}" for check in failed))


def _checks(layout: Layout) -> Iterator[Check]:
    stack: Stack | None = None
    try:
        stack = stacks.read(layout)
        yield Check("configuration", OK, f"Pulumi.{layout.environment}.yaml: {stack.public_url}")
    except SlipwayError as error:
        remedy = f"slipway config {layout.environment} says what may stand there"
        yield Check("configuration", FAILED, str(error), remedy)
    yield run("pulumi", _pulumi)
    yield run("passphrase", _passphrase, layout)
    yield run("lock", _lock, layout)
    yield from _docker_checks(layout, stack)
    if stack is not None:
        yield run("dns", _dns, stack)
        yield run("mail", _mail, stack)


def _docker_checks(layout: Layout, stack: Stack | None) -> Iterator[Check]:
    try:
        with open_host(layout) as host:
            yield run("docker", doctor_engine.version, host)
            yield run("swarm", doctor_engine.swarm, host)
            yield run("privileges", doctor_engine.privileges, host)
            yield run("disk", doctor_engine.disk, layout, host)
            yield run("clock", doctor_engine.clock, host)
            if stack is not None and host.is_manager:
                yield run("capacity", capacity, stack, host)
                yield run("ports", doctor_engine.ports, stack, host)
            if stack is not None:
                yield run("images", doctor_engine.images, stack, host)
    except UnreachableError as error:
        yield Check("docker", FAILED, str(error), "the checks of swarm, disk, clock, ports and the like wait for it")


def _pulumi() -> Found:
    command = find()
    if command is None:
        return WARNING, "the CLI is missing", f"slipway downloads it at its first use; or install it: {INSTALL_URL}"
    return OK, f"{command.version} ({shutil.which(command.command) or command.command})", ""


def _passphrase(layout: Layout) -> Found:
    """Whether the stack is there and its secrets open."""
    if find() is None:
        return SKIPPED, "not looked at: it takes Pulumi", ""
    engine = Engine(layout)
    if not engine.exists():
        remedy = f"slipway init {layout.environment}, or set PULUMI_BACKEND_URL to where it is"
        return FAILED, f"{engine.access.backend} has no stack {layout.environment}", remedy
    engine.secrets()
    return OK, f"opens the stack in {engine.access.backend}", ""


def _lock(layout: Layout) -> Found:
    holders = Engine(layout).holders()
    if holders is None:
        return SKIPPED, "the backend does not tell", ""
    if not holders:
        return OK, "nobody is at work", ""
    who = " and ".join(map(str, holders))
    if all(holder.lives is False for holder in holders):
        return WARNING, f"held by {who}, which died", "the next up clears it"
    return WARNING, f"held by {who}", f"wait for it to end; if it died, slipway unlock {layout.environment}"


def _mail(stack: Stack) -> Found:
    """Whether what the server asks for is there; without it no mail goes out, and none that says so either."""
    server = urlsplit(stack.mail.url)
    if server.username and "mailPassword" not in stack.secrets:
        remedy = f"pulumi config set --stack {stack.environment} --secret slipway:mailPassword, or take the user out"
        return WARNING, f"mail.url names the user {server.username}, and mailPassword is not set", remedy
    return OK, f"mail goes to {server.hostname or server.scheme}", ""


def _dns(stack: Stack) -> Found:
    domain = stack.edge.domain
    try:
        addresses = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(domain, stack.edge.https_port)})
    except OSError:
        if stack.edge.tls == "automatic":
            return FAILED, f"{domain} leads nowhere", "make an A or AAAA record to the edge, or no certificate comes"
        return WARNING, f"{domain} leads nowhere from here", "put it into /etc/hosts or DNS for whoever shall reach it"
    return OK, f"{domain} leads to {', '.join(addresses)}", ""

"""Where the API answers: a loopback port, or a private socket for a set of processes that nobody but us visits."""

import socket
import ssl

import httpx

from infra.contract import DEFAULT_PORT

HOST = "127.0.0.1"
TRIES = 50
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody. What we ask on this machine speaks plain HTTP, and to read all certificates takes a client 20 ms."""


class PortTakenError(Exception):
    """The port that was asked for, or every one that was tried, belongs to another program."""


def free_port(asked: int | None, remembered: int | None = None) -> int:
    """The port to listen on: the one asked for, or the first free one from the usual one on.

    Raises:
        PortTakenError: the port asked for is taken, or no port in the range is free.
    """
    if asked is not None:
        if not is_free(asked):
            raise PortTakenError(
                f"port {asked} is taken by another program: "
                "choose another --port, or leave it out for the next free one"
            )
        return asked
    first = remembered or DEFAULT_PORT
    port: int
    for port in (first, *range(DEFAULT_PORT, DEFAULT_PORT + TRIES)):
        if is_free(port):
            return port
    raise PortTakenError(f"ports {DEFAULT_PORT} to {DEFAULT_PORT + TRIES - 1} are all taken: choose one with --port")


def is_free(port: int) -> bool:
    """Whether this port can be listened on now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def client(address: str, *, timeout_seconds: float = 10) -> httpx.Client:
    """An HTTP client for `127.0.0.1:PORT` or `unix:PATH`, deaf to the caller's proxy settings."""
    if address.startswith("unix:"):
        transport = httpx.HTTPTransport(uds=address.removeprefix("unix:"), verify=NO_TLS)
        return httpx.Client(transport=transport, base_url="http://slipway", timeout=timeout_seconds)
    return httpx.Client(base_url=f"http://{address}", timeout=timeout_seconds, trust_env=False, verify=NO_TLS)


def local_address(port: int) -> str:
    """The public address of the embedded target."""
    return f"{HOST}:{port}"


def port_of(address: str) -> int:
    """The port of `127.0.0.1:PORT`.

    Raises:
        ValueError: it is no such address.
    """
    port = int(address.removeprefix(f"{HOST}:"))
    if not 0 < port < 1 << 16:
        raise ValueError(f"{address} has no port from 1 to 65535")
    return port

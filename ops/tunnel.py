"""A way from this machine to a port inside an environment's networks, through Docker's own API.

Nothing but the edge publishes a port, so the dataset cannot be loaded from outside. For each connection to a port on
loopback here, a process in a container of the API opens one there and hands on what comes.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any, Final

from ops.docker_host import Host

RELAY: Final = """
import os, socket, sys, threading
far = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def forth():
    while data := os.read(0, 65536):
        far.sendall(data)
    far.shutdown(socket.SHUT_WR)
threading.Thread(target=forth, daemon=True).start()
while data := far.recv(65536):
    while data:
        data = data[os.write(1, data):]
"""
FRAME: Final = struct.Struct(">BxxxL")
"""Docker's header of each piece of output: which stream, and how long (Engine API, "attach", stream format)."""
STDOUT: Final = 1
CHUNK_BYTES: Final = 65_536


@contextlib.contextmanager
def tunnel(host: Host, part: str, target: str, port: int) -> Iterator[int]:
    """A port on loopback that leads to `target:port` as a container of `part` reaches it, while the block lasts.

    Raises:
        CheckFailedError: the part does not run on the machine that answers.
    """
    container = host.container_id(part)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server, host, container, target, port), daemon=True).start()
        try:
            yield int(server.getsockname()[1])
        finally:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts


def _serve(server: socket.socket, host: Host, container: str, target: str, port: int) -> None:
    while True:
        try:
            near, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_join, args=(near, host, container, target, port), daemon=True).start()


def _join(near: socket.socket, host: Host, container: str, target: str, port: int) -> None:
    """One connection, until either side ends it."""
    with near:
        command = ["python", "-c", RELAY, target, str(port)]
        started = host.client.api.exec_create(container, command, stdin=True)
        stream: Any = host.client.api.exec_start(started["Id"], socket=True)
        far: socket.socket = getattr(stream, "_sock", stream)
        far.settimeout(None)
        with contextlib.closing(stream):
            forth = threading.Thread(target=_forth, args=(near, far), daemon=True)
            forth.start()
            with contextlib.suppress(OSError, EOFError):
                _back(far, near)
            with contextlib.suppress(OSError):
                near.shutdown(socket.SHUT_RDWR)  # wakes the other thread; only then does closing end the connection


def _forth(near: socket.socket, far: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := near.recv(CHUNK_BYTES):
            far.sendall(data)
        far.shutdown(socket.SHUT_WR)


def _back(far: socket.socket, near: socket.socket) -> None:
    while True:
        kind, length = FRAME.unpack(_exactly(far, FRAME.size))
        data = _exactly(far, length)
        if kind == STDOUT:
            near.sendall(data)


def _exactly(stream: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = stream.recv(length - len(data))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)

import socket
import threading
from typing import Any

from ops.tunnel import FRAME, tunnel


class Far:
    """A container's process at the end of Docker's stream: it answers in frames what it is told, in capitals."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []

    @property
    def client(self) -> Any:
        return self

    @property
    def api(self) -> Any:
        return self

    def container_id(self, part: str) -> str:
        return f"{part}-container"

    def exec_create(self, container: str, command: list[str], *, stdin: bool) -> dict[str, str]:
        assert (container, stdin) == ("api-container", True)
        self.commands.append(command)
        return {"Id": "1"}

    def exec_start(self, _: str, *, socket: bool) -> Any:
        assert socket
        ours, theirs = _pair()
        threading.Thread(target=_answer, args=(theirs,), daemon=True).start()
        return ours


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def _answer(stream: socket.socket) -> None:
    with stream:
        while data := stream.recv(100):
            stream.sendall(FRAME.pack(2, 5) + b"noise" + FRAME.pack(1, len(data)) + data.upper())
            if data.endswith(b"bye"):
                return


def test_what_goes_in_comes_out_there_and_back() -> None:
    far = Far()
    with tunnel(far, "api", "database", 5432) as port:  # type: ignore[arg-type]
        for word in (b"hello", b"again"):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as near:
                near.sendall(word)
                assert near.recv(100) == word.upper()
    assert [command[-2:] for command in far.commands] == [["database", "5432"]] * 2


def test_the_far_side_ends_the_connection() -> None:
    with tunnel(Far(), "api", "database", 5432) as port:  # type: ignore[arg-type]
        near = socket.create_connection(("127.0.0.1", port), timeout=5)
        with near:
            near.sendall(b"bye")
            assert near.recv(100) == b"BYE"
            assert near.recv(100) == b""

"""`python -m service.healthcheck [port]`: ask the API in this container how it is; the image's HEALTHCHECK.

Docker has one check for three questions, so this asks what the container's age calls for:

- until it was ready for the first time: whether it is ready, and waits a little for it;
- in its first minute from then on: whether it still is, so that a rollout notices a release that fails;
- later: only whether it lives. A database that is away makes every replica unready, and to restart them all would bring
  nobody anything. Docker has one interval, too, short enough for a rollout: from now on a check that finds all well
  takes its time, so that there are fewer of them.

Prints the answer's status and what it says, or the reason why there is none. Exit codes: 0 well; 1 not; 2 wrong usage.
A socket and nothing more, because it runs in every replica every few seconds.
"""

import os
import socket
import sys
import time
from collections.abc import Sequence

PORT_VARIABLE = "PORT"
"""As gunicorn has it."""
FOLDER_VARIABLE = "TMPDIR"
"""Where it may remember the first readiness; in a container, memory that ends with it."""
DEFAULT_PORT = 8000
READY_PATH = "/health/ready"
LIVE_PATH = "/health/live"
WATCHED_SECONDS = 60.0
"""From the first readiness on."""
PAUSE_SECONDS = 0.1
MOST_BYTES = 65536


class Question:
    """What is asked, and in seconds: the time of one answer, how long a better one is waited for, the least in all."""

    def __init__(self, path: str, *, answer: float, patience: float, least: float) -> None:
        self.path = path
        self.answer_seconds = answer
        self.patience_seconds = patience
        self.least_seconds = least


STARTS = Question(READY_PATH, answer=1, patience=5, least=0)
WATCHED = Question(READY_PATH, answer=1, patience=0.3, least=0)
LIVES = Question(LIVE_PATH, answer=10, patience=10, least=4)


def main(words: Sequence[str]) -> int:
    """Check once; the exit code."""
    port = (words[0] if words else os.environ.get(PORT_VARIABLE)) or str(DEFAULT_PORT)
    if len(words) > 1 or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        return _say(f"{' '.join(words) or port}: give one port from 1 to 65535, or none for {DEFAULT_PORT}", 2)
    mark = os.path.join(os.environ.get(FOLDER_VARIABLE) or "/tmp", f"slipway-ready-{port}")  # noqa: PTH118, S108 - light
    question = _question(mark)
    began = time.monotonic()
    while True:
        line, well = _answer(int(port), question)
        if well or time.monotonic() >= began + question.patience_seconds:
            break
        time.sleep(PAUSE_SECONDS)
    if well:
        if question is STARTS:
            _remember(mark)
        time.sleep(max(0.0, began + question.least_seconds - time.monotonic()))
    return _say(line, 0 if well else 1)


def _question(mark: str) -> Question:
    """What to ask a container that was first ready when this file was made."""
    try:
        ready_seconds = time.time() - os.stat(mark).st_mtime  # noqa: PTH116 - pathlib costs more than all the rest
    except OSError:
        return STARTS
    return LIVES if ready_seconds > WATCHED_SECONDS else WATCHED


def _remember(mark: str) -> None:
    """Note that it was ready; where there is no place for that, readiness goes on to count."""
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError:
        return


def _answer(port: int, question: Question) -> tuple[str, bool]:
    """One answer in a line, and whether it is the one wished for."""
    address = f"127.0.0.1:{port}"
    try:
        answer = _ask(port, question)
    except TimeoutError:
        return f"no answer from {address} within {question.answer_seconds:g} s", False
    except OSError as error:
        return f"no answer from {address}: {error.strerror or error}", False
    head, _, body = answer.partition(b"\r\n\r\n")
    code = head.split(b" ", 2)[1:2]
    if not head.startswith(b"HTTP/") or not code:
        return f"{address} speaks no HTTP: {answer[:80]!r}", False
    return f"{code[0].decode()} {body.decode(errors='replace').strip()}", code == [b"200"]


def _ask(port: int, question: Question) -> bytes:
    """The whole answer; it ends with the connection.

    Raises:
        TimeoutError: it was not there in time.
        OSError: there is none.
    """
    deadline = time.monotonic() + question.answer_seconds
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=question.answer_seconds) as connection:
        connection.sendall(f"GET {question.path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        while len(received) < MOST_BYTES:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            chunk = connection.recv(MOST_BYTES)
            if not chunk:
                break
            received += chunk
    return received


def _say(line: str, code: int) -> int:
    print(line, flush=True)  # noqa: T201 - this is a command line
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

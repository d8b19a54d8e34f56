import json
from typing import Any

import pytest

from infra.docker.engine import LOG_LINES, last_lines


class Told:
    """An engine that has one task's log."""

    def __init__(self, lines: list[str]) -> None:
        framed = (b"\1\0\0\0" + len(line).to_bytes(4) + line for line in (f"{text}\n".encode() for text in lines))
        self.content = b"".join(framed)
        self.api = self

    def _url(self, path: str, task: str) -> str:
        return path.format(task)

    def _get(self, path: str, **_: Any) -> "Told":
        assert path == "/tasks/t1/logs"
        return self

    def raise_for_status(self) -> None:
        """It answers."""


def shown(lines: list[str]) -> list[str]:
    return [line.strip() for line in last_lines(Told(lines), {"ID": "t1"}).splitlines()]  # type: ignore[arg-type]


def line(level: str, event: str, **fields: Any) -> str:
    return json.dumps({"event": event, "level": level, **fields})


SERVED = [line("info", "request", status=200, number=number) for number in range(500)]
EDGE_SERVED = [json.dumps({"level": "error", "logger": "http.log.access.log0", "status": 503}) for _ in range(500)]


@pytest.mark.parametrize("requests", [SERVED, EDGE_SERVED])
def test_what_went_wrong_is_shown_and_not_the_requests_around_it(requests: list[str]) -> None:
    wrong = [line("error", "worker died"), "Traceback (most recent call last):", "MemoryError"]
    assert shown([*requests, wrong[0], *requests, *wrong[1:], *requests]) == wrong


def test_what_informs_fills_the_room_that_warnings_leave_and_all_stand_in_their_order() -> None:
    information = [line("info", f"step {number}") for number in range(40)]
    found = shown([*information[:20], "killed", *information[20:], *SERVED])
    assert len(found) == LOG_LINES
    assert found == [*information[11:20], "killed", *information[20:]]


def test_of_many_warnings_the_newest_are_shown() -> None:
    warnings = [line("warning", str(number)) for number in range(40)]
    assert shown([*warnings, line("info", "stopped"), *SERVED]) == warnings[-LOG_LINES:]


def test_requests_are_shown_where_there_is_nothing_else() -> None:
    assert shown(SERVED) == SERVED[-LOG_LINES:]
    assert shown([]) == ["(it wrote nothing)"]

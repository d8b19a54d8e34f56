import base64
import json
from uuid import uuid4

import pytest

from service.errors import InvalidInputError
from service.pagination import _decode, _encode


def test_cursor_survives_the_trip() -> None:
    row_id = uuid4()
    for key in ("", "2026-11-21 00:00:00+00", "タスク\U0001f600" * 60):
        assert _decode(_encode("-title", key, row_id), "-title") == (key, row_id)


def _cursor(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "%%%",
        _cursor(None),
        _cursor([]),
        _cursor(["title", "a"]),
        _cursor(["title", "a", "no id"]),
        _cursor(["title", "a", 7]),
        _cursor({"title": 1}),
        _cursor(["title", "\ud800", "00000000-0000-7000-8000-000000000000"]),
        base64.urlsafe_b64encode(b"[" * 1500).decode(),
        _cursor(["-title", "a", "00000000-0000-7000-8000-000000000000"]),
    ],
)
def test_anything_else_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        _decode(cursor, "title")
    assert caught.value.errors[0]["field"] == "cursor"

"""What the API's part believes of its own files; its processes are tested by `tests/deploy`."""

import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from infra.embedded.api import Api, Plan
from infra.embedded.api_settings import NO_LAME_DUCK, settings_of
from infra.embedded.layout import Layout

TOLD = {"snapshot": "/s", "address": "127.0.0.1:8000", "workers": 2, "configuration": "c"}


def test_what_was_served_is_remembered(layout: Layout) -> None:
    (layout.home / "api.json").write_text(json.dumps(TOLD))
    assert Api(layout).remembered() == TOLD
    assert Api(layout).serving() is None, "nothing runs"


CHANGES: list[dict[str, object]] = [{"snapshot": 1}, {"address": "127.0.0.1:99999"}, {"address": 1}, {"workers": "x"}]


@pytest.mark.parametrize("wrong", ["", "[]", "7", *(json.dumps(TOLD | change) for change in CHANGES)])
def test_nonsense_is_not_remembered(layout: Layout, wrong: str) -> None:
    (layout.home / "api.json").write_text(wrong)
    assert Api(layout).remembered() == {}


def test_the_configuration_holds_no_secret(layout: Layout) -> None:
    text = Api(layout).text(Plan(Path("/s"), "127.0.0.1:8000", 2))
    values = [path.read_text() for path in (layout.home / "secrets" / "values").iterdir()]
    assert not [value for value in values if value in text]
    compile(text, "api.conf.py", "exec")


def test_mail_stays_in_the_environments_own_folder(layout: Layout) -> None:
    settings = settings_of(layout, snapshot=Path("/s"), private=False)
    assert settings["SLIPWAY_MAIL_URL"] == f"outbox://{layout.home}/outbox"
    strange = settings_of(Layout(Path("/a b%20?#c")), snapshot=Path("/s"), private=False)
    assert unquote(urlsplit(strange["SLIPWAY_MAIL_URL"]).path) == "/a b%20?#c/.slipway/local/outbox"


def test_only_a_private_socket_goes_without_a_lame_duck(layout: Layout) -> None:
    told = {private: settings_of(layout, snapshot=Path("/s"), private=private) for private in (True, False)}
    assert told[True] == told[False] | NO_LAME_DUCK

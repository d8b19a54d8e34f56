"""The OpenAPI document as a checked-in file: `python -m tests.service.contract.openapi [--released]`.

docs/openapi.json is what the source serves. docs/openapi.released.json is what clients of the newest release were
promised: it is written when a release leaves the house, and what breaks a client is judged by it, so that a route may
still change shape between two releases. Both are files, for a shallow clone has no history to ask.
"""

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from service.http.documentation import document
from service.main import build_app
from service.release import read_release
from service.settings import Settings
from tests.environments import ROOT
from tests.service.contract.compatibility import breaking_changes, may_break

CURRENT = ROOT / "docs" / "openapi.json"
RELEASED = ROOT / "docs" / "openapi.released.json"


def application() -> FastAPI:
    """The application, wired but not running: enough to read its document."""
    keys = {"signing": "one", "keys": [{"kid": "one", "alg": "HS256", "key": base64.b64encode(bytes(32)).decode()}]}
    settings = Settings(
        environment="local",
        database_url="postgresql://nobody@/nowhere?host=/nowhere",
        cache_url="unix:///nowhere",
        token_keys=json.dumps(keys),
        mail_url="outbox:///nowhere",
        mail_from="nobody@example.com",
    )
    return build_app(settings, read_release())


def served() -> dict[str, Any]:
    """The document of the source."""
    return document(application())


def read(path: Path) -> dict[str, Any]:
    """A document that is checked in."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def written(content: dict[str, Any]) -> str:
    """A document as its file has it."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def broken(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What a new document breaks without saying so in the major part of its version."""
    return [] if may_break(old, new) else breaking_changes(old, new)


def main(arguments: list[str] | None = None) -> int:
    """Write the files; refuse to promise less than the release before did."""
    parser = argparse.ArgumentParser(prog="make openapi")
    parser.add_argument("--released", action="store_true", help="promise it, too: a release is about to leave")
    asked = parser.parse_args(arguments)
    new = served()
    CURRENT.write_text(written(new), encoding="utf-8")
    if RELEASED.exists() and (breaks := broken(read(RELEASED), new)):
        print(
            "this breaks clients of the newest release: mend it, or raise the major part of VERSION",
            *breaks,
            sep="\n  ",
        )
        return 1
    if asked.released:
        RELEASED.write_text(written(new), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

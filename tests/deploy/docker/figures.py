"""What the proofs measured: `.slipway/deploy-figures.json`, one key a proof."""

import contextlib
import json
from typing import Any

from infra.embedded.layout import write_atomically
from tests.environments import ROOT

FILE = ROOT / ".slipway" / "deploy-figures.json"


def keep(proof: str, figures: dict[str, Any]) -> None:
    """Put the figures of one proof beside those of the others, and show them."""
    content: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(FILE.read_text())
    FILE.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomically(FILE, json.dumps(content | {proof: figures}, indent=2) + "\n")
    print(f"{proof}: {json.dumps(figures)}")

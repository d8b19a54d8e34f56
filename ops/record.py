"""The folder that a deploy leaves behind. Append-only: a record is written once and never changed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.embedded.layout import write_atomically


@dataclass(frozen=True)
class Record:
    """One deploy's record.

    Files: `release.json` `migration.json` `smoke.json` `conditions.json` `baseline.json` with its raw samples,
    `report.html`, and last `outcome.json`. A record without an outcome is a deploy that was killed.
    """

    folder: Path

    @classmethod
    def begin(cls, records: Path, release: str, started_at: datetime) -> "Record":
        """Make the folder of a new deploy; two in the same second get different names."""
        name = f"{started_at.astimezone(UTC):%Y%m%dT%H%M%S}.{started_at.microsecond // 1000:03d}Z-{release}"
        folder = records / name
        folder.mkdir(mode=0o700)
        return cls(folder)

    def write(self, name: str, content: Mapping[str, Any] | list[Any]) -> None:
        """Add one JSON file."""
        write_atomically(self.folder / name, json.dumps(content, indent=2) + "\n")

    def read(self, name: str) -> dict[str, Any]:
        """One JSON file; empty where there is none, or none that can be read."""
        try:
            content = json.loads((self.folder / name).read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def newest(records: Path) -> Record | None:
    """The last deploy's record."""
    folders = sorted(folder for folder in records.glob("*Z-*") if folder.is_dir()) if records.is_dir() else []
    return Record(folders[-1]) if folders else None

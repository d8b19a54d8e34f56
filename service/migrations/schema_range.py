"""Which schemas a release can run on. Needs no Alembic: the API reads it too.

Revisions are four-digit numbers in one line, so they compare as text. Migrations expand first and contract a release
later, so an older release often runs on a newer schema; each revision says from which head on (`accepts_from`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from service.errors import SchemaRangeError

VERSIONS = Path(__file__).resolve().parent / "versions"

OLDEST = "0002"
"""The oldest revision that the code beside this file can run on."""

SELECT_SCHEMA_STATE = "SELECT revision, accepts_from FROM schema_state"
"""Reads the one row that the migration job keeps: two texts of four digits."""


@dataclass(frozen=True, slots=True)
class SchemaRange:
    """The schemas of one release: its own (`head`) and the range it can run on."""

    head: str
    oldest: str
    newest: str

    @classmethod
    def of_source(cls) -> Self:
        """The range of the code beside this file."""
        head = max(path.name[:4] for path in VERSIONS.glob("[0-9][0-9][0-9][0-9]_*.py"))
        return cls(head=head, oldest=OLDEST, newest=head)

    def require(self, revision: str | None, accepts_from: str | None) -> None:
        """Refuse a database that this release cannot run on.

        Args:
            revision: the database's revision; None when the database is empty.
            accepts_from: the oldest head whose code still runs on that revision.

        Raises:
            SchemaRangeError: with the way out.
        """
        if revision is None or accepts_from is None:
            raise SchemaRangeError("schema is empty: run slipway-migrate first")
        runs_on = f"this release can run on ({self.oldest}..{self.newest})"
        if revision < self.oldest:
            raise SchemaRangeError(f"schema {revision} is older than {runs_on}: run slipway-migrate first")
        if revision > self.newest and accepts_from > self.newest:
            raise SchemaRangeError(
                f"schema {revision} is newer than {runs_on}: deploy a release whose schema is {accepts_from} or newer"
            )

    def as_json(self) -> str:
        """The range as one line of JSON: head, oldest, newest."""
        return json.dumps({"head": self.head, "oldest": self.oldest, "newest": self.newest})

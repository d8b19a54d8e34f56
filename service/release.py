"""Which release this process is: the manifest that the build wrote, or the source tree itself."""

import json
from dataclasses import dataclass
from pathlib import Path

from service.errors import SettingsError
from service.migrations.schema_range import SchemaRange

SOURCE_RELEASE = "0.0.0-source"


@dataclass(frozen=True, slots=True)
class Release:
    """One immutable build. `digest` is `sha256:` and 64 hex digits, or empty in a source checkout."""

    name: str
    version: str
    digest: str
    schema: SchemaRange


def read_release(manifest: Path | None = None) -> Release:
    """Read the manifest, `release.json` beside the `service` folder by default.

    Raises:
        SettingsError: the manifest that was asked for is missing, or it is not a manifest.
    """
    path = manifest or Path(__file__).resolve().parent.parent / "release.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema = content["schema"]
        return Release(
            name=content["release"],
            version=content["version"],
            digest=content["digest"],
            schema=SchemaRange(head=schema["head"], oldest=schema["oldest"], newest=schema["newest"]),
        )
    except FileNotFoundError:
        if manifest is None:
            return Release(SOURCE_RELEASE, SOURCE_RELEASE.partition("-")[0], "", SchemaRange.of_source())
        raise SettingsError(f"SLIPWAY_RELEASE_FILE={path} does not exist: unset it or build the release") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} is not a release manifest ({error!r}): build the release again") from None

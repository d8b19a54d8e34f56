"""What a container finds in its filesystem besides its image: secrets, configuration, volumes, memory."""

from dataclasses import dataclass
from typing import Literal

import pulumi


@dataclass(frozen=True)
class File:
    """A Swarm secret or config.

    Args:
        kind: which of the two.
        id: its id in the swarm.
        name: its name in the swarm.
    """

    kind: Literal["secret", "config"]
    id: pulumi.Output[str]
    name: pulumi.Output[str]

    def at(self, path: str, *, uid: int) -> "MountedFile":
        """Mount it there for one user, and for nobody else."""
        return MountedFile(file=self, path=path, uid=uid)


@dataclass(frozen=True)
class MountedFile:
    """A secret or config in a container.

    Args:
        file: what is mounted.
        path: where, absolute.
        uid: the user and group that own it; mode 0400.
    """

    file: File
    path: str
    uid: int


@dataclass(frozen=True)
class Mount:
    """A volume, or memory.

    Args:
        path: where, absolute. A new volume takes owner and mode of the image's folder there, so it must be one that
            the container's user may write: `/var/tmp` is, in every image.
        volume: its name; None for memory.
        size_mib: of memory.
    """

    path: str
    volume: pulumi.Input[str] | None = None
    size_mib: int = 16

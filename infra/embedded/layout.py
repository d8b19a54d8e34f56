"""Where the embedded target keeps everything: one folder, `.slipway/`, in the project's root."""

import contextlib
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

# sockaddr_un.sun_path holds 108 bytes with its final NUL (unix(7)); ".s.PGSQL.5432.lock" is the longest name in it.
SOCKET_FOLDER_MAX_BYTES = 107 - len("/.s.PGSQL.5432.lock")
UNUSABLE = frozenset('"$`\\\n\r')
"""Characters that initdb's own way of quoting (appendShellString, find_other_exec) does not survive."""


class LayoutError(Exception):
    """A folder that Slipway needs can't be used as it is; the message says which and what to do."""


@dataclass(frozen=True)
class Layout:
    """The folders of one embedded environment.

    Args:
        project: the folder that holds `service/` and gets `.slipway/`.
        environment: the environment's name, a folder below `.slipway/`.
    """

    project: Path
    environment: str = "local"

    @property
    def state(self) -> Path:
        """`.slipway/`, shared by all environments of this checkout."""
        return self.project / ".slipway"

    @property
    def home(self) -> Path:
        """What this environment owns."""
        return self.state / self.environment

    @property
    def releases(self) -> Path:
        """Immutable snapshots, one folder a release, shared by all environments."""
        return self.state / "releases"

    @property
    def records(self) -> Path:
        """What deploys left behind, one folder a deploy."""
        return self.home / "records"

    @property
    def logs(self) -> Path:
        """One log file a process."""
        return self.home / "logs"

    @property
    def outbox(self) -> Path:
        """The mail that the API sends here: one .eml file each."""
        return self.home / "outbox"

    @property
    def run(self) -> Path:
        """The folder of the sockets: below `home`, or a short private one where that path is too long for a socket."""
        wanted = self.home / "run"
        if len(os.fsencode(wanted)) <= SOCKET_FOLDER_MAX_BYTES:
            return wanted
        name = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"slipway-{os.geteuid()}-{name}"

    def create(self) -> None:
        """Make the folders, private to this user.

        Raises:
            LayoutError: a folder can't be made, the short socket folder belongs to somebody else, or the path holds
                a character that PostgreSQL's programs refuse in theirs.
        """
        for letter in UNUSABLE & set(str(self.project)):
            raise LayoutError(
                f"{self.project} holds {letter!r}, which initdb can't have in its path: rename the folder"
            )
        for folder in (self.state, self.home, self.releases, self.records, self.logs, self.run):
            try:
                folder.mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                message = f"cannot make {folder}: {error.strerror}; make it writable for you, or move the project"
                raise LayoutError(message) from error
            if not os.access(folder, os.W_OK | os.X_OK):
                raise LayoutError(f"cannot write in {folder}; make it writable for you, or move the project")
        if self.run.stat().st_uid != os.geteuid() or self.run.is_symlink():
            raise LayoutError(f"{self.run} belongs to another user; remove it, or move the project to a shorter path")


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace `path` by a file with this text: a crash leaves the old file or the new one, nothing between."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)  # noqa: PTH101 - a name from mkstemp
        os.replace(name, path)  # noqa: PTH105 - likewise
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)  # noqa: PTH108 - likewise
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a failed write does not say where
        raise

"""Secrets of an embedded environment: generated once, mode 0600, one view a process.

`secrets/values/` is where they are kept. `secrets/<process>/` holds what that process finds in its secrets folder,
under the names of `infra/contract.py`, as a container would find it mounted: copies, because the service's settings
refuse a link that leads out of the folder.
"""

from pathlib import Path

from infra import generate
from infra.contract import SECRET_FILES
from infra.embedded.layout import Layout, LayoutError, write_atomically

PASSWORDS = ("admin_password", "migrator_password", "app_password", "monitor_password", "cache_password")


def ensure(layout: Layout) -> None:
    """Keep what is there, bring back or generate what is missing, and give each process its own copies.

    Raises:
        LayoutError: the database's own password is lost for good.
    """
    values = layout.home / "secrets" / "values"
    for folder in (values.parent, values):
        folder.mkdir(mode=0o700, exist_ok=True)
    for name in (*PASSWORDS, "token_keys"):
        if not _has_content(values / name):
            write_atomically(values / name, _surviving_copy(layout, name) or _generate(layout, name), mode=0o600)
    for process, files in SECRET_FILES.items():
        folder = folder_of(layout, process)
        folder.mkdir(mode=0o700, exist_ok=True)
        for file, secret in files.items():
            value = read(layout, secret)
            if not (folder / file).exists() or (folder / file).read_text() != value:
                write_atomically(folder / file, value, mode=0o600)


def folder_of(layout: Layout, process: str) -> Path:
    """The secrets folder of one process: `api`, `migration` or `bootstrap`."""
    return layout.home / "secrets" / process


def path_of(layout: Layout, name: str) -> Path:
    """The file that holds one secret."""
    return layout.home / "secrets" / "values" / name


def read(layout: Layout, name: str) -> str:
    """One secret's value."""
    return path_of(layout, name).read_text()


def _generate(layout: Layout, name: str) -> str:
    if name == "admin_password" and (layout.home / "postgres").exists():
        raise LayoutError(
            f"{path_of(layout, name)} is lost, and the database knows no other: put the file back, or start anew with "
            "slipway clean"
        )
    return generate.token_keys() if name == "token_keys" else generate.password()


def _surviving_copy(layout: Layout, name: str) -> str | None:
    """A lost secret as some process still has it."""
    for process, files in SECRET_FILES.items():
        for file, secret in files.items():
            copy = folder_of(layout, process) / file
            if secret == name and _has_content(copy):
                return copy.read_text()
    return None


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0

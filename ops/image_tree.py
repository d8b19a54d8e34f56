"""What the image is made of, prepared inside its build: `python3 -m ops.image_tree base|packages|service ...`.

Each word makes one tree, and the Dockerfile copies each into a layer of its own: a release that changes only the
service shares the other two with the one before. Nothing in a tree depends on when or where it was made.
Standard library only: it runs on the base image's Python.
"""

import contextlib
import importlib.util
import json
import marshal
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import CodeType

from ops.manifest import complete, identify, sources, text_of

APP = Path("/app")
SERVICE, PACKAGES, BYTECODE = APP / "service", APP / "packages", APP / "bytecode"
SECRETS = Path("/run/secrets")
UNCHECKED_HASH = 0b01
FIXED_TIME = 315532800
"""1980-01-01, the oldest that every archive format can say: the time of every file of ours."""

NOT_IN_LIBRARY = {"pip", "setuptools", "wheel", "pkg_resources", "_distutils_hack", "distutils", "ensurepip"} | {
    "idlelib",
    "lib2to3",
    "tkinter",
    "turtledemo",
}
"""What of the base image's Python installs packages, or edits, converts and draws: the image needs none of it."""
NOT_IN_SYSTEM = (
    *("usr/bin/pip*", "usr/local/bin/pip*", "usr/local/bin/idle*", "usr/share/python-wheels"),
    *("usr/include/python3*", "usr/local/include/python3*"),
)
TEST_SUITES = ("alembic/testing", "sqlalchemy/testing", "mako/testing")
"""What serves a library's own tests."""
INTEGRATIONS, NEEDED_INTEGRATIONS = "sentry_sdk/integrations", {"__init__.py", "dedupe.py"}
"""With other libraries; the service turns them all off (service/telemetry.py), and these two are loaded anyway."""
UNWANTED_SUFFIXES = {".pyi", ".pyx", ".pxd", ".c", ".h"}
"""What only compilers and type checkers read."""


def main() -> int:
    """Make the tree that the first word names, from the folders and files that follow."""
    match sys.argv[1:]:
        case "base", source, target:
            base(Path(source), Path(target))
        case "packages", uv_requirements, requirements, target:
            packages(Path(uv_requirements), Path(requirements), Path(target))
        case "service", source, packages_tree, service_tree:
            service(Path(source), Path(packages_tree), Path(service_tree))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


def base(source: Path, target: Path) -> None:
    """The base image without setuid files, bytecode that nobody reads, and what installs packages or the like.

    Not done by deleting in a layer on the base: that would keep the deleted files below, and the time of the deletion.
    """
    subprocess.run(["cp", "--archive", "--no-target-directory", str(source), str(target)], check=True)
    for path in list(_needless(target)):
        with _unchanged_time(path.parent):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if not any((target / folder / "python").exists() for folder in ("usr/local/bin", "usr/bin")):
        with _unchanged_time(target / "usr/local/bin"):
            _make_link(target / "usr/local/bin/python", sys.executable)
    for path in _walk(target):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
            path.chmod(stat.S_IMODE(mode) & ~(stat.S_ISUID | stat.S_ISGID))


def packages(uv_requirements: Path, requirements: Path, target: Path) -> None:
    """The locked packages, without debug symbols and what only compilers read."""
    known = os.environ | _network_settings()
    venv = Path("/tmp/uv")  # noqa: S108 - in a build stage that is thrown away
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin/pip"), "--disable-pip-version-check", "install", "--quiet", "--only-binary", ":all:"]
    subprocess.run([*pip, "--require-hashes", "-r", str(uv_requirements)], check=True, env=known)
    uv = [str(venv / "bin/uv"), "pip", "install", "--python", sys.executable, "--target", str(target), "--no-build"]
    subprocess.run([*uv, "--link-mode", "copy", "--require-hashes", "-r", str(requirements)], check=True, env=known)
    shutil.rmtree(target / "bin", ignore_errors=True)  # programs with the path of this stage's Python
    (target / ".lock").unlink(missing_ok=True)
    for suite in TEST_SUITES:
        shutil.rmtree(target / suite)
    for path in [path for path in (target / INTEGRATIONS).iterdir() if path.name not in NEEDED_INTEGRATIONS]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in [path for path in _walk(target) if path.suffix in UNWANTED_SUFFIXES and path.is_file()]:
        path.unlink()
    libraries = sorted(str(path) for path in _walk(target) if path.is_file() and ".so" in path.suffixes)
    subprocess.run(["strip", "--strip-unneeded", *libraries], check=True)


def service(source: Path, packages_tree: Path, service_tree: Path) -> None:
    """The service with its manifest and all bytecode that its processes load, parted into two trees for `/`.

    It is put where it will run first, because a module's bytecode says where the module is.
    """
    for path in sources(source):
        if (source / "service") in path.parents:
            _copy(path, APP / path.relative_to(source))
    described = _python("-m", "service.migrations.migrate", "describe")
    created_at = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
    (APP / "release.json").write_text(text_of(complete(identify(source), described, created_at)))
    loaded = json.loads(_python("-P", str(source / "ops" / "image_modules.py"), str(SERVICE)))
    compile_all({Path(file) for file in loaded} | set(SERVICE.rglob("*.py")))
    own_bytecode = BYTECODE / SERVICE.relative_to("/")
    for tree, paths in (
        (service_tree, (own_bytecode, SERVICE, APP / "release.json")),
        (packages_tree, (BYTECODE, PACKAGES)),
    ):
        for path in paths:
            moved = tree / path.relative_to("/")
            moved.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, moved)
        _settle(tree)


def compile_all(files: Iterable[Path]) -> None:
    """Leave these modules' bytecode in BYTECODE, never to be compared with the source again, which does not change."""
    sys.pycache_prefix = str(BYTECODE)
    for path in sorted(files):
        bytecode = Path(importlib.util.cache_from_source(str(path)))
        bytecode.parent.mkdir(parents=True, exist_ok=True)
        bytecode.write_bytes(bytecode_of(path))


def bytecode_of(path: Path) -> bytes:
    """The bytecode file of a module, the same each time (PEP 552: a hash of the source that nobody checks).

    marshal marks what more than one holds, and whether anybody else holds a name changes from run to run. While it
    writes, we hold everything.
    """
    source = path.read_bytes()
    code = compile(source, str(path), "exec", dont_inherit=True)
    held = list(_parts(code))
    header = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH.to_bytes(4, "little") + importlib.util.source_hash(source)
    written = header + marshal.dumps(code)
    del held
    return written


def _parts(value: object) -> Iterator[object]:
    """A constant and all that it is made of."""
    yield value
    if isinstance(value, CodeType):
        for name in ("consts", "names", "varnames", "freevars", "cellvars", "filename", "name", "qualname"):
            yield from _parts(getattr(value, f"co_{name}"))
    elif isinstance(value, tuple | frozenset):
        for part in value:
            yield from _parts(part)


def _needless(root: Path) -> Iterator[Path]:
    """Bytecode beside its source (ours is elsewhere), and what the image does without."""
    for library in (*root.glob("usr/lib/python3*"), *root.glob("usr/local/lib/python3*")):
        yield from (path for path in _walk(library) if path.name == "__pycache__")
        for folder in (library, library / "site-packages", library / "dist-packages"):
            yield from (path for path in folder.glob("*") if path.name.partition("-")[0] in NOT_IN_LIBRARY)
    for pattern in NOT_IN_SYSTEM:
        yield from root.glob(pattern)


def _walk(folder: Path) -> Iterator[Path]:
    """Everything below a folder, what is in a folder before the folder itself; links are not followed."""
    for path, folders, files in os.walk(folder, topdown=False):
        yield from (Path(path, name) for name in sorted(files))
        yield from (Path(path, name) for name in sorted(folders))


@contextlib.contextmanager
def _unchanged_time(folder: Path) -> Iterator[None]:
    before = folder.stat()
    yield
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))


def _make_link(link: Path, to: str) -> None:
    link.symlink_to(to)
    os.utime(link, (FIXED_TIME, FIXED_TIME), follow_symlinks=False)


def _network_settings() -> dict[str, str]:
    """What pip and uv need to reach the package index from here, of what the build was told."""
    found: dict[str, str] = {}
    if (file := SECRETS / "index").is_file():
        index = file.read_text().strip()
        found |= {"PIP_INDEX_URL": index, "UV_DEFAULT_INDEX": index}
    if (file := SECRETS / "certificates").is_file():
        found |= {"PIP_CERT": str(file), "SSL_CERT_FILE": str(file)}
    return found


def _python(*words: str) -> str:
    """What the base image's Python prints, run on the service as the image runs it."""
    settings = {"PYTHONPATH": f"{APP}:{PACKAGES}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=APP, env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


def _settle(tree: Path) -> None:
    """One time, and modes that say no more than what a file is, for everything in a tree."""
    for path in (*_walk(tree), tree):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (FIXED_TIME, FIXED_TIME), follow_symlinks=False)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as failed:
        sys.exit(failed.returncode)  # it has said why

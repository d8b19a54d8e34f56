"""The trees of the image, made on this machine's Python; deploy/docker/image makes them in a real build."""

import importlib.util
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from infra.embedded.layout import Layout
from ops import image_modules, image_tree
from ops.manifest import identify, sources

LIBRARY = "usr/local/lib/python3.14"
KEPT = (f"{LIBRARY}/json/__init__.py", f"{LIBRARY}/site-packages/pipeline.py", "usr/local/bin/python", "etc/passwd")
DROPPED = (
    *(f"{LIBRARY}/site-packages/pip/__init__.py", f"{LIBRARY}/site-packages/pip-25.3.dist-info/METADATA"),
    *(f"{LIBRARY}/ensurepip/_bundled/pip.whl", f"{LIBRARY}/idlelib/idle.py"),
    *(f"{LIBRARY}/json/__pycache__/__init__.cpython-314.pyc", "usr/local/bin/pip3", "usr/share/python-wheels/pip.whl"),
    "usr/local/include/python3.14/Python.h",
)


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("# something\n")


def test_the_base_loses_what_it_does_not_need_and_keeps_its_times(tmp_path: Path) -> None:
    source, target = tmp_path / "base", tmp_path / "out"
    make(source, *KEPT, *DROPPED, "usr/bin/su")
    (source / "usr/bin/su").chmod(0o4755)
    (source / "usr/bin/link").symlink_to("su")
    for path in (source, *source.rglob("*")):
        os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)
    image_tree.base(source, target)
    assert [name for name in DROPPED if (target / name).exists()] == []
    assert [name for name in KEPT if not (target / name).exists()] == []
    assert stat.S_IMODE((target / "usr/bin/su").stat().st_mode) == 0o755
    assert {path.lstat().st_mtime for path in (target, *target.rglob("*"))} == {1_600_000_000}


def test_a_base_that_calls_it_python3_only_gets_the_other_name(tmp_path: Path) -> None:
    source, target = tmp_path / "base", tmp_path / "out"
    make(source, "usr/bin/python3", "usr/local/bin/other")
    image_tree.base(source, target)
    link = target / "usr/local/bin/python"
    assert (str(link.readlink()), link.lstat().st_mtime) == (sys.executable, image_tree.FIXED_TIME)


def test_the_packages_are_installed_by_their_hashes_and_stripped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, secrets = tmp_path / "packages", tmp_path / "secrets"
    make(secrets, "index", "certificates")
    (secrets / "index").write_text("https://index.example.com/simple\n")
    monkeypatch.setattr(image_tree, "SECRETS", secrets)
    commands: list[list[str]] = []

    def run(command: list[str], *, check: bool, env: dict[str, str] | None = None) -> None:
        assert check
        commands.append(command)
        if "--target" in command:
            assert env is not None
            assert env["UV_DEFAULT_INDEX"] == "https://index.example.com/simple"
            assert env["SSL_CERT_FILE"] == str(secrets / "certificates")
            make(target, "bin/alembic", "a/__init__.py", "a/b.pyi", "a/c.cpython-314-x86_64-linux-gnu.so", "a/x.c")
            make(target, *(f"{suite}/__init__.py" for suite in image_tree.TEST_SUITES), ".lock")
            make(target / image_tree.INTEGRATIONS, "__init__.py", "dedupe.py", "asgi.py", "django/__init__.py")

    monkeypatch.setattr(subprocess, "run", run)
    image_tree.packages(Path("uv.txt"), Path("service.txt"), target)
    left = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    needed = [f"{image_tree.INTEGRATIONS}/{name}" for name in ("__init__.py", "dedupe.py")]
    assert left == ["a/__init__.py", "a/c.cpython-314-x86_64-linux-gnu.so", *needed]
    _, pip, uv, strip = commands
    assert "--require-hashes" in pip
    assert "--require-hashes" in uv
    assert "--no-build" in uv
    assert strip == ["strip", "--strip-unneeded", str(target / "a/c.cpython-314-x86_64-linux-gnu.so")]


def test_the_service_goes_with_its_manifest_and_the_bytecode_of_what_it_loads(
    project: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = tmp_path / "app"
    names = {"APP": "", "SERVICE": "service", "PACKAGES": "packages", "BYTECODE": "bytecode"}
    for name, part in names.items():
        monkeypatch.setattr(image_tree, name, app / part)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1750000000")
    (app / "packages").mkdir(parents=True)
    source = project.project
    (source / "ops").mkdir()
    (source / "ops" / "image_modules.py").write_text(Path(image_modules.__file__).read_text())
    image_tree.service(source, tmp_path / "p", tmp_path / "s")
    packages, service = tmp_path / "p" / app.relative_to("/"), tmp_path / "s" / app.relative_to("/")

    manifest = json.loads((service / "release.json").read_text())
    assert manifest.items() >= identify(source).items()
    assert manifest["created_at"] == "2025-06-15T15:06:40Z"
    wanted = {path.relative_to(source) for path in sources(source) if source / "service" in path.parents}
    assert {path.relative_to(service) for path in (service / "service").rglob("*") if path.is_file()} == wanted

    own = service / "bytecode" / (app / "service").relative_to("/")
    compiled = {path.relative_to(own).with_name(path.name.split(".")[0] + ".py") for path in own.rglob("*.pyc")}
    assert compiled == {path.relative_to("service") for path in wanted if path.suffix == ".py"}
    others = {path.name.split(".")[0] for path in (packages / "bytecode").rglob("*.pyc")}
    assert {"applications", "arbiter", "wsgiapp", "uvloop", "command", "selectors"} <= others
    assert "locustfile" not in others
    files = [path for tree in (packages, service) for path in (tree, *tree.rglob("*"))]
    assert {path.stat().st_mtime for path in files} == {image_tree.FIXED_TIME}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files if path.is_file()} == {0o644}


def test_bytecode_is_never_compared_with_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_tree, "BYTECODE", tmp_path / "bytecode")
    monkeypatch.setattr(sys, "pycache_prefix", None)
    module = tmp_path / "one.py"
    module.write_text("said = 'before'\n")
    image_tree.compile_all([module])
    compiled = Path(importlib.util.cache_from_source(str(module)))
    assert (tmp_path / "bytecode") in compiled.parents
    module.write_text("said = 'after'\n")
    program = "import one; print(one.said, one.__file__)"
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONPYCACHEPREFIX": str(tmp_path / "bytecode")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["before", str(module)]


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("import a.b, c as d", {"a.b", "c"}),
        ("def f():\n    from a import b, c", {"a", "a.b", "a.c"}),
        ("from . import here", set()),
    ],
)
def test_what_a_source_may_import(tmp_path: Path, source: str, named: set[str]) -> None:
    (tmp_path / "one.py").write_text(source)
    assert set(image_modules.imported(tmp_path / "one.py")) == named


@pytest.mark.parametrize("words", [[], ["base", "only"], ["other", "a", "b"]])
def test_other_words_are_wrong_usage(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["image_tree", *words])
    assert image_tree.main() == 2


def test_bytecode_is_the_same_whatever_else_is_loaded() -> None:
    told = "import sys, hashlib, argparse{}; from pathlib import Path; from ops.image_tree import bytecode_of; "
    told += "print(hashlib.sha256(bytecode_of(Path(argparse.__file__))).hexdigest())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", told.format(more)],
            env=os.environ | {"PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for more in ("", ", optparse, sqlalchemy")
    }
    assert len(digests) == 1

"""Every command in the README and its pages, run in a clean clone, each page's in the order a reader meets them."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from infra.embedded.api import Api
from infra.embedded.layout import Layout
from loadtests.journeys import KINDS
from loadtests.profiles import PROFILES
from ops.steps import Steps
from ops.verbs.down import stop_all
from tests.environments import untraced

ROOT = Path(__file__).parent.parent.parent
# The page that removes the environment comes last: to load the dataset takes half a minute.
PAGES = ("README.md", "docs/api-clients.md", "docs/ci.md", "docs/platform-engineers.md")
ADDRESS = "http://127.0.0.1:8000"
# They run this test, or what surrounds it.
OURSELVES = {"make test", "make check"}
# What later commands of a page use: a variable or a function.
KEPT = re.compile(r"([A-Za-z_]+)(=|\(\))")
TIMEOUT_SECONDS = 400
VOID = "void: the load generator lagged behind its clock"


def commands(page: str) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [re.sub(r"\s+# .*", "", line.removeprefix("$ ")) for line in lines]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What git would clone, with uncommitted changes, and nothing else."""
    folder = tmp_path_factory.mktemp("clone")
    listed = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in names:
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
            (folder / name).chmod((ROOT / name).stat().st_mode)
    yield folder
    layout = Layout(folder)
    if layout.home.exists():
        stop_all(layout, Steps(Console(quiet=True)))
    shutil.rmtree(layout.run, ignore_errors=True)


def in_a_terminal(command: str, folder: Path) -> tuple[int, str]:
    """Run a command as a person does: in a terminal, saying yes when asked."""
    primary, secondary = pty.openpty()
    with subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env=untraced(os.environ),
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        start_new_session=True,
    ) as child:
        os.close(secondary)
        output, deadline = "", time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if select.select([primary], [], [], 0.2)[0]:
                try:
                    part = os.read(primary, 65536).decode(errors="replace")
                except OSError:  # the terminal closes when its last user ends
                    break
                output += part
                if "[y/N]" in part:
                    os.write(primary, b"y\n")
            elif child.poll() is not None:
                break
        else:
            child.kill()
        os.close(primary)
    return child.returncode, output


def assert_measured(clone: Path, output: str) -> None:
    """A deploy with its load leaves a baseline with enough samples, and a page that can be mailed."""
    record = max((clone / ".slipway" / "local" / "records").iterdir())
    baseline = json.loads((record / "baseline.json").read_text())
    kinds = baseline["kinds"]
    assert set(kinds) == set(KINDS)
    assert min(kind["count"] for kind in kinds.values()) >= PROFILES["quick"].minimum_samples
    assert sum(kind["errors"] for kind in kinds.values()) == 0
    assert all(0 < kind["min_ms"] <= kind["p50_ms"] <= kind["p99_ms"] <= kind["max_ms"] for kind in kinds.values())
    page = record / "report.html"
    assert page.stat().st_size < 500_000
    assert page.as_uri() in output.replace("\r\n", "")
    assert json.loads((record / "outcome.json").read_text())["outcome"] == "passed"


def address_of(clone: Path) -> str:
    """Where the clone's environment answers; another one may have the usual port."""
    told = clone / ".slipway" / "local" / "api.json"
    return f"http://{json.loads(told.read_text())['address']}" if told.exists() else ADDRESS


@pytest.mark.timeout(900)
def test_every_command_of_the_readme_works(clone: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: the API clients' page uses it")
    for page in PAGES:
        kept = ""
        if page != PAGES[0] and not Api(Layout(clone)).serving():
            # The README leaves an environment running; a page may have removed it.
            code, output = in_a_terminal("make up UP=--no-load", clone)
            assert code == 0, output
        for command in commands(page):
            if command in OURSELVES:
                continue
            said = kept + command.replace(ADDRESS, address_of(clone))
            if keeps := KEPT.match(command):
                said += f" && declare -{'p' if keeps[2] == '=' else 'f'} {keeps[1]}"
            code, output = in_a_terminal(said, clone)
            if code != 0 and VOID in output:
                # The machine stalled, the run says so rather than lie, and a reader would measure again.
                code, output = in_a_terminal(said, clone)
            assert code == 0, f"{page}: {command}\n{output}"
            if command == "make up":
                assert_measured(clone, output)
            if keeps:
                kept += output.replace("\r\n", "\n")


def test_the_readme_begins_with_the_two_commands() -> None:
    assert commands("README.md")[:2] == ["make up", "make test"]


def test_what_make_help_lists_is_explained() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^  make ([a-z]+)", listed, re.MULTILINE)
    explained = "\n".join((ROOT / page).read_text() for page in PAGES)
    assert [target for target in targets if f"make {target}" not in explained] == []

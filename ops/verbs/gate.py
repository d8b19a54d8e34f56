"""`slipway gate`: is a release slower or less reliable than the one it replaces?

Both are served side by side, several copies of each, and measured at the same time; `loadtests.gate` decides. On
`local` the copies are started for it, beside what serves. Two URLs are measured as they are.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx

from infra.contract import VERSION_PATH
from infra.embedded.api import Api
from infra.embedded.api import Plan as ApiPlan
from infra.embedded.database import Database
from infra.embedded.layout import Layout
from infra.embedded.network import free_port, local_address
from loadtests.comparisons import CANDIDATE, CURRENT, PASS, Tolerance
from loadtests.conditions import machine, scenario_digest
from loadtests.gate import Plan
from loadtests.gate_run import as_verdict_file, run_gate, write_verdict
from loadtests.side_by_side import Service
from ops import load, lock, release
from ops.errors import UnreachableError, UsageError
from ops.junit import Case, write_junit
from ops.steps import Steps

COPIES: Final = 2
"""Two starts of one release differ too: from two of each, the gate sees by how much."""
FIRST_PORT: Final = 8300
QUICK_HASH: Final = (("SLIPWAY_PASSWORD_MEMORY_KIB", "256"), ("SLIPWAY_PASSWORD_PASSES", "1"))
"""What a password costs is a setting and no property of a release; at its price nothing else could be told apart."""
LASTING_TOKENS: Final = (("SLIPWAY_TOKEN_LIFETIME_SECONDS", "86400"),)


@dataclass(frozen=True)
class Options:
    """What the operator may choose.

    Args:
        current: a release, or the URL of a running service; None for what served before the candidate.
        candidate: likewise; None for the source as it is.
        plan: how the verdict is reached.
        rate: requests a second, over all copies.
    """

    current: str | None = None
    candidate: str | None = None
    plan: Plan = field(default_factory=Plan)
    rate: float = 200.0


def plan(limit_seconds: float, allowed: float) -> Plan:
    """A plan that looks for the first time after a third of its time.

    Args:
        limit_seconds: when it must be decided.
        allowed: change that does not count, as a share.
    """
    return Plan(
        limit_seconds=limit_seconds,
        first_look_seconds=limit_seconds / 3,
        look_every_seconds=limit_seconds / 9,
        tolerance=Tolerance(ratio=allowed),
    )


def gate(layout: Layout, options: Options, steps: Steps) -> dict[str, Any]:
    """Measure and judge.

    Returns:
        The content of verdict.json, and `record`: the folder with it and the raw samples.

    Raises:
        UsageError: there are no two releases to compare.
        UnreachableError: nothing answers at a URL.
        CheckFailedError: a release does not start.
    """
    if is_url(options.current) or is_url(options.candidate):
        return _between_urls(layout, options, steps)
    layout.create()
    with lock.held(layout, "gate"):
        return _between_releases(layout, options, steps)


def is_url(text: str | None) -> bool:
    """Whether it names a running service."""
    return text is not None and text.startswith(("http://", "https://"))


def _between_urls(layout: Layout, options: Options, steps: Steps) -> dict[str, Any]:
    services, conditions = [], machine() | {"scenario": scenario_digest(), "rate": options.rate}
    for name, url in ((CURRENT, options.current), (CANDIDATE, options.candidate)):
        if url is None or not is_url(url):
            raise UsageError("give both as URLs: --current http://... --candidate http://...")
        conditions[name] = _release_at(url)
        services.append(Service(name, url.rstrip("/")))
    folder = _folder(layout.state / "gates", str(conditions[CANDIDATE]))
    return _judged(services, options, folder, None, conditions, steps)


def _release_at(url: str) -> str:
    try:
        answer = httpx.get(f"{url.rstrip('/')}{VERSION_PATH}", timeout=5, trust_env=False).raise_for_status()
        return str(answer.json()["release"])
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as error:
        raise UnreachableError(f"{url} does not tell its release: {error}") from error


def _between_releases(layout: Layout, options: Options, steps: Steps) -> dict[str, Any]:
    if not Database(layout).answers():
        raise UnreachableError(f"{layout.environment} does not run: start it with slipway up {layout.environment}")
    candidate = _snapshot(layout, options.candidate) if options.candidate else release.build(layout).snapshot
    current = _snapshot(layout, options.current) if options.current else _served_before(layout, candidate)
    with steps.step("dataset", spin=False):
        load.load_dataset(layout)
    conditions = machine() | {
        "scenario": scenario_digest(),
        "rate": options.rate,
        "postgres": Database(layout).version(),
        "copies": COPIES,
        CURRENT: current.name,
        CANDIDATE: candidate.name,
    }
    with contextlib.ExitStack() as stack:
        with steps.step("serve") as step:
            services = [
                stack.enter_context(_served(layout, snapshot, name, number))
                for number in range(COPIES)
                for name, snapshot in ((CURRENT, current), (CANDIDATE, candidate))
            ]
            step.say(f"{COPIES} copies each of {current.name} and {candidate.name}")
        folder = _folder(layout.home / "gates", candidate.name)
        return _judged(services, options, folder, load.credentials_of(layout), conditions, steps)


def _snapshot(layout: Layout, name: str) -> Path:
    """A release's folder, by its name or an unmistakable part of it."""
    names = sorted(path.name for path in layout.releases.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = [each for each in names if each == name] or [each for each in names if name in each]
    if len(found) != 1:
        raise UsageError(f"{name!r} names {len(found)} releases; there are {', '.join(names) or 'none'}")
    snapshot: Path = layout.releases / found[0]
    return snapshot


def _served_before(layout: Layout, candidate: Path) -> Path:
    """The last release that was deployed here and is not the candidate."""
    for outcome in sorted(layout.records.glob("*/outcome.json"), reverse=True):
        with contextlib.suppress(OSError, ValueError, KeyError):
            content = json.loads(outcome.read_text())
            snapshot: Path = layout.releases / content["release"]
            if content["outcome"] == "passed" and snapshot != candidate and snapshot.is_dir():
                return snapshot
    raise UsageError(
        f"nothing but {candidate.name} was ever deployed here: there is no other release to compare it with; "
        "name one with --current"
    )


@contextlib.contextmanager
def _served(layout: Layout, snapshot: Path, name: str, number: int) -> Iterator[Service]:
    """A copy of a release on a port of its own; its one worker answers in a process that nobody replaces."""
    api = Api(layout, f"gate-{name}-{number}")
    api.stop()
    address = local_address(free_port(None, FIRST_PORT))
    try:
        api.start(ApiPlan(snapshot, address, workers=1, recycle=False, changes=QUICK_HASH + LASTING_TOKENS))
        yield Service(name, f"http://{address}", api.masters()[0].pid)
    finally:
        api.stop()


def _folder(parent: Path, candidate: str) -> Path:
    folder = parent / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}Z-{candidate}"
    folder.mkdir(mode=0o700, parents=True)
    return folder


def _judged(
    services: list[Service],
    options: Options,
    folder: Path,
    credentials: Path | None,
    conditions: dict[str, Any],
    steps: Steps,
) -> dict[str, Any]:
    with steps.step("gate", spin=False) as step:
        verdict = run_gate(services, options.plan, folder, rate=options.rate, credentials=credentials)
        content = as_verdict_file(verdict, conditions)
        write_verdict(folder, content)
        step.say(f"{verdict.verdict} after {verdict.seconds:.0f} s and {verdict.requests:,} requests")
    return content | {"record": str(folder)}


def reason(content: dict[str, Any]) -> str:
    """The verdict in one line."""
    return f"{content['verdict']}: {'; '.join(content['reasons'])}"


def report_junit(path: Path, content: dict[str, Any]) -> None:
    """Leave the verdict and each comparison for CI; what is inconclusive counts as failed, as it never is a pass.

    Raises:
        OSError: the file cannot be written.
    """
    cases = [Case("verdict", content["seconds"], None if content["verdict"] == PASS else reason(content))]
    for one in content["comparisons"]:
        told = f"{one['verdict']}: {one['before']:g} -> {one['after']:g} {one['unit']}"
        cases.append(Case(f"{one['kind']} {one['measure']}", 0.0, None if one["verdict"] == PASS else told))
    write_junit(path, "slipway gate", cases)

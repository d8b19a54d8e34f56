"""The commands that check, measure and judge what runs; `ops.cli` has the others."""

from pathlib import Path
from typing import Annotated

import typer

from ops.cli_options import Json, Junit, LocalOnly, Project, local_layout, open_steps, tell
from ops.environments import LOCAL
from ops.errors import CheckFailedError, InconclusiveError

app = typer.Typer()


@app.command()
def smoke(
    url: Annotated[str, typer.Argument(help="Where the service answers, such as http://127.0.0.1:8000.")],
    release: Annotated[str | None, typer.Option(help="The release that must answer.")] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Only the checks that make no data: for production.")
    ] = False,
    ca: Annotated[Path | None, typer.Option(help="PEM file of the authority to trust instead of the usual.")] = None,
    junit: Junit = None,
    as_json: Json = False,
) -> None:
    """Check a running instance from outside; leaves nothing behind."""
    from ops.verbs.smoke import Options
    from ops.verbs.smoke import smoke as verb

    checks = verb(url, Options(release, read_only, ca, junit), open_steps(as_json))
    tell({"url": url, "checks": checks}, as_json, [f"{len(checks)} checks passed"])


@app.command()
def bench(
    environment: LocalOnly = LOCAL,
    project: Project = Path(),
    rounds: Annotated[int, typer.Option(min=3, max=100, help="Interleaved rounds of each server.")] = 8,
    seconds: Annotated[float, typer.Option(min=0.2, max=60, help="Length of a round.")] = 1.0,
    check: Annotated[bool, typer.Option("--check", help="Fail when a measure misses what is required of it.")] = False,
    as_json: Json = False,
) -> None:
    """Measure our API against the ceiling: ratios in one run, on one core each."""
    from ops.verbs.bench import bench as verb
    from ops.verbs.bench import failing

    layout = local_layout(environment, project)
    result, lines = verb(layout, rounds, seconds, open_steps(as_json))
    tell(result, as_json, lines)
    if check and (missed := failing(result)):
        raise CheckFailedError(f"{', '.join(missed)}: not what is required; measure again on an idle machine")


@app.command()
def drills(
    names: Annotated[list[str] | None, typer.Argument(help="The drills to run; all of them if left out.")] = None,
    project: Project = Path(),
    seconds: Annotated[float, typer.Option(min=0.2, max=60, help="How long something stays broken.")] = 5.0,
    restarts: Annotated[int, typer.Option(min=1, max=100, help="How often the API is restarted under load.")] = 20,
    requests: Annotated[int, typer.Option(min=1_000, help="How many requests memory is watched over.")] = 100_000,
    as_json: Json = False,
) -> None:
    """Break each part of a throw-away environment on purpose, and tell what a steady reader saw."""
    from ops.drills.faults import Extent
    from ops.verbs.drills import broken
    from ops.verbs.drills import drills as verb

    extent = Extent(seconds, restarts, requests)
    result, lines = verb(local_layout("local", project), names or (), extent, open_steps(as_json))
    tell(result, as_json, lines)
    if failed := broken(result):
        raise CheckFailedError(f"{', '.join(failed)}: not as promised")


@app.command()
def gate(
    environment: LocalOnly = LOCAL,
    project: Project = Path(),
    current: Annotated[
        str | None, typer.Option(help="A release or a URL; what was deployed before the candidate if left out.")
    ] = None,
    candidate: Annotated[str | None, typer.Option(help="A release or a URL; the source as it is if left out.")] = None,
    limit_seconds: Annotated[float, typer.Option(min=9, max=3600, help="When it must be decided.")] = 180.0,
    allowed: Annotated[float, typer.Option(min=0.1, max=1000, help="Change that does not count, in percent.")] = 5.0,
    rate: Annotated[float, typer.Option(min=10, max=10_000, help="Requests a second, over both releases.")] = 200.0,
    junit: Junit = None,
    as_json: Json = False,
) -> None:
    """Measure two releases side by side: is the candidate slower or less reliable than the current one?"""
    from ops.junit import require_writable
    from ops.verbs.gate import Options, plan, reason, report_junit
    from ops.verbs.gate import gate as verb
    from ops.verbs.gate_table import lines

    require_writable(junit)
    options = Options(current, candidate, plan(limit_seconds, allowed / 100), rate)
    content = verb(local_layout(environment, project), options, open_steps(as_json))
    tell(content, as_json, lines(content))
    if junit:
        report_junit(junit, content)
    if content["verdict"] == "regressed":
        raise CheckFailedError(reason(content))
    if content["verdict"] != "pass":
        raise InconclusiveError(reason(content))

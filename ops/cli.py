"""The command line: words in, one verb called, one line and an exit code out.

Exit codes: 0 done or pass; 1 a check failed; 2 wrong usage or configuration; 3 inconclusive; 4 unreachable.
"""

import errno
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from infra.contract import DOCS_PATH
from infra.embedded.layout import Layout, LayoutError
from infra.embedded.network import PortTakenError
from infra.embedded.processes import ProcessError
from infra.embedded.unprivileged import UnprivilegedError
from ops.errors import INTERRUPTED, SlipwayError, UnreachableError, UsageError, fail
from ops.steps import Steps

ENVIRONMENTS = ("local",)

EXIT_CODES: dict[type[Exception], int] = {
    SlipwayError: SlipwayError.exit_code,
    LayoutError: UsageError.exit_code,
    PortTakenError: UsageError.exit_code,
    ProcessError: SlipwayError.exit_code,
    UnprivilegedError: SlipwayError.exit_code,
}

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Take one FastAPI service from a clone to production, and prove each step.",
)

Environment = Annotated[str, typer.Argument(help="The environment: local.")]
Project = Annotated[Path, typer.Option(help="The folder that holds service/ and gets .slipway/.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and progress on standard error.")]


@app.command()
def up(
    environment: Environment = "local",
    project: Project = Path(),
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The API's port; the next free one if left out.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer requests.")] = 2,
    load: Annotated[bool, typer.Option(help="Run the load and record a latency baseline.")] = True,
    profile: Annotated[str, typer.Option(help="The load's profile.")] = "quick",
    as_json: Json = False,
) -> None:
    """Deploy the source: release, provision, migrate, serve, smoke, load, report."""
    from ops.verbs.up import Options
    from ops.verbs.up import up as verb

    options = Options(port=port, workers=workers, load=load, profile=profile)
    outcome = verb(_layout(environment, project), options, _steps(as_json))
    _tell(outcome, as_json, _closing_lines(outcome))


@app.command()
def down(environment: Environment = "local", project: Project = Path(), as_json: Json = False) -> None:
    """Stop everything; data, secrets and records stay."""
    from ops.verbs.down import down as verb

    steps = _steps(as_json)
    verb(_layout(environment, project), steps)
    _tell({"environment": environment, "steps": steps.as_list()}, as_json, [f"{environment} is down; nothing is lost"])


@app.command()
def status(environment: Environment = "local", project: Project = Path(), as_json: Json = False) -> None:
    """Say what runs, where, since when, which release and schema."""
    from ops.verbs.status import status as verb

    state = verb(_layout(environment, project))
    _tell(state, as_json, _status_lines(state))
    if not state["serving"]:
        raise UnreachableError(f"{environment} does not serve: start it with slipway up {environment}")


@app.command()
def smoke(
    url: Annotated[str, typer.Argument(help="Where the service answers, such as http://127.0.0.1:8000.")],
    release: Annotated[str | None, typer.Option(help="The release that must answer.")] = None,
    as_json: Json = False,
) -> None:
    """Check a running instance from outside."""
    from ops.verbs.smoke import smoke as verb

    checks = verb(url, release, _steps(as_json))
    _tell({"url": url, "checks": checks}, as_json, [f"{len(checks)} checks passed"])


@app.command()
def bench(
    environment: Environment = "local",
    project: Project = Path(),
    rounds: Annotated[int, typer.Option(min=3, max=100, help="Interleaved rounds of each server.")] = 8,
    seconds: Annotated[float, typer.Option(min=0.2, max=60, help="Length of a round.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Measure our API against the ceiling: ratios in one run, on one core each."""
    from ops.verbs.bench import bench as verb

    layout = _layout(environment, project)
    result, lines = verb(layout, rounds, seconds, _steps(as_json))
    _tell(result, as_json, lines)


@app.command()
def clean(
    environment: Environment = "local",
    project: Project = Path(),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove the environment for good: data, secrets, records."""
    from ops.verbs.clean import clean as verb

    layout = _layout(environment, project)
    if not layout.home.exists():
        print(f"{environment}: nothing to remove")
        return
    if not yes and not _asked(f"Remove {layout.home} with its database, secrets and records?"):
        raise SlipwayError("nothing removed")
    verb(layout, _steps(as_json=False))
    print(f"{environment} is removed")


def run(words: list[str]) -> int:
    """One call, from its words to its exit code; failures are one line on standard error."""
    try:
        # Typer turns Ctrl-C into a result of 130, and --help into one of 0.
        code = app(words, standalone_mode=False) or 0
    except typer.Abort:
        code = INTERRUPTED
    except tuple(EXIT_CODES) as error:
        code = next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
        return fail(str(error), error.exit_code if isinstance(error, SlipwayError) else code)
    except OSError as error:
        return fail(_os_error_message(error), SlipwayError.exit_code)
    except Exception as error:
        if (message := _usage_message(error)) is None:
            raise
        return fail(message, UsageError.exit_code)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return code


def _os_error_message(error: OSError) -> str:
    remedy = "; free some space and run it again" if error.errno == errno.ENOSPC else ""
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}{remedy}"


def _usage_message(error: Exception) -> str | None:
    """The message of a usage error of the library below typer; None for anything else."""
    message = getattr(error, "format_message", None)
    return f"{message()} (slipway --help says what there is)" if callable(message) else None


def _layout(environment: str, project: Path) -> Layout:
    if environment not in ENVIRONMENTS:
        raise UsageError(f"there is no environment {environment!r}: choose one of {', '.join(ENVIRONMENTS)}")
    return Layout(project.resolve(), environment)


def _steps(as_json: bool) -> Steps:
    return Steps(Console(stderr=as_json))


def _tell(result: Any, as_json: bool, lines: list[str]) -> None:
    print(json.dumps(result, indent=2) if as_json else "\n".join(lines))


def _asked(question: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to ask: say --yes to remove it")
    return typer.confirm(question)


def _closing_lines(outcome: dict[str, Any]) -> list[str]:
    environment = outcome["environment"]
    report = outcome["report"]
    return [
        "",
        f"{environment} is up: release {outcome['release']}",
        f"  API     {outcome['url']}",
        f"  docs    {outcome['url']}{DOCS_PATH}",
        f"  report  {Path(report).as_uri() if report else 'none (no load was run)'}",
        "",
        "Next: make status · change service/ and make up again · make bench · make down",
    ]


def _status_lines(state: dict[str, Any]) -> list[str]:
    lines = [f"{state['environment']} ({state['target']}): release {state['release']}, schema {state['schema']}"]
    for name, part in state["parts"].items():
        detail = f"pid {part['pid']}, since {part['since']}, at {part['address']}" if part["pid"] else ""
        lines.append(f"  {name:<10}{part['state']:<12}{detail}")
    if last := state["last_deploy"]:
        reason = f": {last['reason']}" if last["reason"] else ""
        lines.append(f"  last deploy {last['outcome']}{reason} ({last['record']})")
    return lines

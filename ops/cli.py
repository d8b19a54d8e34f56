"""The command line: words in, one verb called, one line and an exit code out.

Exit codes: 0 done or pass; 1 a check failed; 2 wrong usage or configuration; 3 inconclusive; 4 unreachable.
"""

import errno
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.contract import DOCS_PATH
from infra.embedded.layout import Layout, LayoutError
from infra.embedded.network import PortTakenError
from infra.embedded.processes import ProcessError
from infra.embedded.unprivileged import UnprivilegedError
from ops import cli_baseline, cli_measuring
from ops.cli_options import Environment, Json, Junit, LocalOnly, Project, Stacked, local_layout, open_steps, tell
from ops.environments import LOCAL, require_stack
from ops.errors import INTERRUPTED, CheckFailedError, SlipwayError, UnreachableError, UsageError, fail
from ops.lines import config_lines, docker_status_lines, doctor_lines
from ops.steps import Steps

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
app.add_typer(cli_measuring.app)
app.add_typer(cli_baseline.app, name="baseline")


@app.command()
def init(environment: Stacked, project: Project = Path(), as_json: Json = False) -> None:
    """Make the environment's stack, and every secret that it lacks."""
    from ops.verbs.docker.init import init as verb

    outcome = verb(_docker_layout(environment, project), open_steps(as_json))
    tell(outcome, as_json, _init_lines(outcome))


@app.command()
def up(
    environment: Environment = LOCAL,
    project: Project = Path(),
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The API's port; the next free one if left out (local).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that answer requests; 2 if left out (local).")
    ] = None,
    load: Annotated[
        bool | None, typer.Option(help="Run the load and record a baseline; left out: where the limits let it pass.")
    ] = None,
    profile: Annotated[str, typer.Option(help="The load's profile.")] = "quick",
    probe: Annotated[
        bool | None,
        typer.Option(help="Go on asking during the rollout, and count failures; left out: but in production."),
    ] = None,
    records: Annotated[
        str | None,
        typer.Option(envvar="SLIPWAY_RECORDS", help="Copy records to this folder, s3:// or gs:// URL as well."),
    ] = None,
    junit: Junit = None,
    as_json: Json = False,
) -> None:
    """Deploy: release, provision, migrate, serve, smoke, load, report."""
    from ops.junit import steps_reported
    from ops.record_store import copied

    steps = open_steps(as_json)
    if environment != LOCAL:
        layout = _docker_layout(environment, project)
        for option, value, key in (("--port", port, "edge.httpsPort"), ("--workers", workers, "api.workers")):
            if value is not None:
                raise UsageError(f"{option} is for local: set slipway:{key} in Pulumi.{environment}.yaml")
        with steps_reported(junit, "slipway up", steps), copied(layout, records, steps):
            outcome = _up_docker(layout, load, profile, probe, steps)
    else:
        from ops.verbs.up import Options
        from ops.verbs.up import up as verb

        if probe is not None:
            raise UsageError("--probe is for environments in Docker: local proves a release before it serves")
        options = Options(port=port, workers=workers or 2, load=load is not False, profile=profile)
        layout = local_layout(environment, project)
        with steps_reported(junit, "slipway up", steps), copied(layout, records, steps):
            outcome = verb(layout, options, steps)
    tell(outcome, as_json, _closing_lines(outcome))


@app.command()
def preview(environment: Stacked, project: Project = Path(), as_json: Json = False) -> None:
    """Say what up would change, and change nothing."""
    from ops.verbs.docker.preview import preview as verb

    outcome = verb(_docker_layout(environment, project), open_steps(as_json))
    count = outcome["change_count"]
    tell(outcome, as_json, [f"{count} changes; make them with slipway up {environment}" if count else "no changes"])


@app.command()
def down(
    environment: Environment = LOCAL,
    project: Project = Path(),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask (not in production).")] = False,
    confirm: Annotated[str, typer.Option(help="The environment's name, instead of typing it (production).")] = "",
    as_json: Json = False,
) -> None:
    """Stop everything; on local and in production, data stays; secrets and records stay everywhere."""
    if environment != LOCAL:
        _down_docker(_docker_layout(environment, project), yes, confirm, as_json)
        return
    from ops.verbs.down import down as verb

    steps = open_steps(as_json)
    verb(local_layout(environment, project), steps)
    tell({"environment": environment, "steps": steps.as_list()}, as_json, [f"{environment} is down; nothing is lost"])


@app.command()
def status(environment: Environment = LOCAL, project: Project = Path(), as_json: Json = False) -> None:
    """Say what runs, where, since when, which release and schema."""
    if environment != LOCAL:
        from ops.verbs.docker.status import status as docker_verb

        state = docker_verb(_docker_layout(environment, project))
        tell(state, as_json, docker_status_lines(state))
    else:
        from ops.verbs.status import status as verb

        state = verb(local_layout(environment, project))
        tell(state, as_json, _status_lines(state))
    if not state["serving"]:
        raise UnreachableError(f"{environment} does not serve: start it with slipway up {environment}")


@app.command()
def logs(
    environment: Stacked,
    part: Annotated[str, typer.Argument(help="Such as api, edge, database; a wrong one tells which there are.")],
    project: Project = Path(),
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    since: Annotated[str | None, typer.Option(help="How long ago (10m, 2h, 3d) or a time (RFC 3339).")] = None,
    lines: Annotated[int, typer.Option(min=0, help="The last so many of each replica; 0 for all.")] = 100,
) -> None:
    """Show what a part's replicas say, wherever they run."""
    from ops.verbs.docker.logs import logs as verb

    layout = _docker_layout(environment, project)
    verb(layout, part, follow=follow, since=since, lines=lines, say=lambda line: print(line, flush=True))


@app.command()
def doctor(environment: Stacked, project: Project = Path(), as_json: Json = False) -> None:
    """Look at everything that up needs, and name the remedy of what is not as it should be."""
    from ops.verbs.docker.doctor import FAILED
    from ops.verbs.docker.doctor import doctor as verb

    checks = verb(_docker_layout(environment, project))
    tell({"environment": environment, "checks": checks}, as_json, doctor_lines(checks))
    if failed := [check["name"] for check in checks if check["state"] == FAILED]:
        raise CheckFailedError(f"{', '.join(failed)}: not as {environment} needs it; the remedies stand above")


@app.command()
def config(environment: Stacked, project: Project = Path(), as_json: Json = False) -> None:
    """Show every key of the configuration with its meaning, default and present value, but no secret."""
    from ops.verbs.docker.config import config as verb

    found = verb(_docker_layout(environment, project))
    tell(found, as_json, config_lines(found))
    if found["problem"]:
        raise UsageError(found["problem"])


@app.command()
def unlock(
    environment: Stacked,
    project: Project = Path(),
    yes: Annotated[bool, typer.Option("--yes", help="The holder, on another machine, has died.")] = False,
    as_json: Json = False,
) -> None:
    """Clear the lock that an operator left who died in the midst of an up."""
    from ops.verbs.docker.unlock import unlock as verb

    outcome = verb(_docker_layout(environment, project), sure=yes)
    taken_from = " and ".join(outcome["taken_from"])
    said = f"{environment}: the lock of {taken_from} is cleared" if taken_from else f"{environment} is not locked"
    tell(outcome, as_json, [said])


@app.command()
def image(
    project: Project = Path(),
    base: Annotated[
        str | None, typer.Option(help="The base image; SLIPWAY_BASE_IMAGE or the Dockerfile's own if left out.")
    ] = None,
    repository: Annotated[
        str, typer.Option(help="The image's name, such as registry.example.com/slipway.")
    ] = "slipway",
    push: Annotated[bool, typer.Option("--push", help="Push it, and tell the digest to deploy it by.")] = False,
    network: Annotated[str, typer.Option(help="How the build reaches packages: Docker's --network.")] = "host",
    cache: Annotated[bool, typer.Option(help="Use layers that were built before.")] = True,
    as_json: Json = False,
) -> None:
    """Build the source's image; its SBOM and licences are left beside it."""
    from ops.verbs.image import Options, closing_lines
    from ops.verbs.image import image as verb

    options = Options(base=base, repository=repository, push=push, network=network, cache=cache)
    result = verb(Layout(project.resolve()), options, open_steps(as_json))
    tell(result, as_json, closing_lines(result))


@app.command()
def clean(
    environment: LocalOnly = LOCAL,
    project: Project = Path(),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove the environment for good: data, secrets, records."""
    from ops.verbs.clean import clean as verb

    layout = local_layout(environment, project)
    if not layout.home.exists():
        print(f"{environment}: nothing to remove")
        return
    if not yes and not _asked(f"Remove {layout.home} with its database, secrets and records?"):
        raise SlipwayError("nothing removed")
    verb(layout, open_steps(as_json=False))
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


def _docker_layout(environment: str, project: Path) -> Layout:
    layout = Layout(project.resolve(), environment)
    require_stack(layout.project, environment)
    return layout


def _up_docker(layout: Layout, load: bool | None, profile: str, probe: bool | None, steps: Steps) -> dict[str, Any]:
    from ops.verbs.docker.up import Options
    from ops.verbs.docker.up import up as verb

    return verb(layout, Options(load=load, profile=profile, probe=probe), steps)


def _down_docker(layout: Layout, yes: bool, confirm: str, as_json: bool) -> None:
    """Ask whoever is there, in production for the name; then take it down."""
    from ops.verbs.docker.down import down as verb
    from ops.verbs.docker.down import is_production

    environment = layout.environment
    if is_production(layout):
        if (confirm or _typed(f"Type {environment} to take it down", "--confirm")) != environment:
            raise UsageError(f"that is not its name: {environment} stays up")
    elif not yes and not _asked(f"Remove {environment} with its data?"):
        raise SlipwayError(f"{environment} stays up")
    outcome = verb(layout, open_steps(as_json))
    kept = "its data stays on its volume" if is_production(layout) else "its secrets and records stay"
    removed = outcome["changes"].get("delete", 0)
    said = f"{environment} is down ({removed} resources removed); {kept}" if removed else f"{environment} was not up"
    tell(outcome, as_json, [said])


def _asked(question: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to ask: say --yes to remove it")
    return typer.confirm(question)


def _typed(question: str, option: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError(f"nobody is there to ask: say {option} with the environment's name")
    return str(typer.prompt(question))


def _init_lines(outcome: dict[str, Any]) -> list[str]:
    lines = [f"{outcome['environment']} is ready: its state is in {outcome['backend']}"]
    if outcome["exports"]:
        lines += ["", "For plain pulumi, in the project's folder:", *(f"  {line}" for line in outcome["exports"])]
    return [*lines, "", f"Next: {outcome['next']}"]


def _closing_lines(outcome: dict[str, Any]) -> list[str]:
    environment = outcome["environment"]
    report = outcome["report"]
    if environment != LOCAL:
        following = f"Next: slipway status {environment} · slipway logs {environment} api"
    else:
        following = "Next: make status · change service/ and make up again · make bench · make down"
    return [
        "",
        f"{environment} is up: release {outcome['release']}",
        f"  API     {outcome['url']}",
        *([f"  docs    {outcome['url']}{DOCS_PATH}"] if outcome.get("docs", True) else []),
        f"  report  {Path(report).as_uri() if report else 'none (no load was run)'}",
        "",
        following,
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

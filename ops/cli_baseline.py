"""`slipway baseline list|show|compare`: words in, one verb called, lines or JSON out."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.embedded.layout import Layout
from ops.cli_options import Environment, Json, Project, tell
from ops.environments import LOCAL, require_stack

if TYPE_CHECKING:
    from ops.record_store import RecordStore

app = typer.Typer(no_args_is_help=True, help="What was measured for each deploy: list, show, compare.")

Records = Annotated[
    str | None,
    typer.Option(
        envvar="SLIPWAY_RECORDS",
        help="Where the records are: a folder, s3://, gs:// or file://; this machine's own if left out.",
    ),
]
Deploy = Annotated[str | None, typer.Argument(help="A deploy, by a part of its name that no other has.")]


@app.command("list")
def list_(environment: Environment, project: Project = Path(), records: Records = None, as_json: Json = False) -> None:
    """One line for each deploy that was measured."""
    from ops.baseline_lines import listed_lines
    from ops.verbs.baseline import listed

    rows, damaged = listed(_store(environment, project, records))
    for line in damaged:
        print(f"skipped: {line}", file=sys.stderr if as_json else sys.stdout)
    tell(rows, as_json, listed_lines(rows))


@app.command()
def show(
    environment: Environment,
    deploy: Deploy = None,
    project: Project = Path(),
    records: Records = None,
    as_json: Json = False,
) -> None:
    """One deploy's figures for each request kind, and the conditions; the newest if left out."""
    from ops.baseline_lines import shown_lines
    from ops.verbs.baseline import shown

    found = shown(_store(environment, project, records), deploy)
    tell(found, as_json, shown_lines(found))


@app.command()
def compare(
    environment: Environment,
    before: Deploy = None,
    after: Deploy = None,
    project: Project = Path(),
    records: Records = None,
    as_json: Json = False,
) -> None:
    """How two deploys' latencies differ, when the conditions were the same; the last two that passed if left out."""
    from ops.baseline_lines import compared_lines
    from ops.verbs.baseline import compared

    found = compared(_store(environment, project, records), before, after)
    tell(found, as_json, compared_lines(found))


def _store(environment: str, project: Path, records: str | None) -> "RecordStore":
    from ops.record_store import RecordStore

    if records:
        return RecordStore(f"{records.rstrip('/')}/{environment}")
    layout = Layout(project.resolve(), environment)
    if environment != LOCAL:
        require_stack(layout.project, environment)
    return RecordStore(str(layout.records))

"""What the commands have in common: arguments, options, and how results are told."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from infra.embedded.layout import Layout
from ops.environments import LOCAL
from ops.errors import UsageError
from ops.steps import Steps

Environment = Annotated[str, typer.Argument(help="The environment: local, or one with a Pulumi.<environment>.yaml.")]
Stacked = Annotated[str, typer.Argument(help="An environment with a Pulumi.<environment>.yaml, such as staging.")]
LocalOnly = Annotated[str, typer.Argument(help="The environment: local.")]
Project = Annotated[Path, typer.Option(help="The folder that holds service/ and gets .slipway/.")]
Junit = Annotated[Path | None, typer.Option(help="Also write the results to this file, as JUnit XML.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and progress on standard error.")]


def local_layout(environment: str, project: Path) -> Layout:
    """The folders of the one environment that needs no stack."""
    if environment != LOCAL:
        raise UsageError(f"there is no environment {environment!r}: choose one of {LOCAL}")
    return Layout(project.resolve(), environment)


def open_steps(as_json: bool) -> Steps:
    """Where progress is shown: on standard error where standard output is a program's."""
    return Steps(Console(stderr=as_json))


def tell(result: Any, as_json: bool, lines: list[str]) -> None:
    """The result, for people or for programs."""
    print(json.dumps(result, indent=2) if as_json else "\n".join(lines))

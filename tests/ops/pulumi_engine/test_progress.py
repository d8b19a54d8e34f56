import io
from typing import Any

import pytest
from pulumi.automation import EngineEvent
from rich.console import Console

from ops.pulumi_engine.progress import Progress, Trouble, readable, reason
from ops.steps import Step, Steps

JOB = "urn:pulumi:dev::slipway::slipway:docker:Migration$pulumi-python:dynamic/slipway:Job::slipway-dev-migration"
STACK = "urn:pulumi:dev::slipway::pulumi:pulumi:Stack::slipway-dev"
WRAPPED = """Traceback (most recent call last):
  File "/venv/pulumi/dynamic/__main__.py", line 84, in wrapper
    return fn(self, request, context)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/project/infra/docker/job.py", line 7, in create

infra.docker.engine.EngineError: the job failed (exit 3); its last lines:
  Traceback (most recent call last):
    File "migrate.py", line 1
  sqlalchemy.exc.ProgrammingError: no such column
  (Background on this error)

"""
CHAINED = """Traceback (most recent call last):
  File "/venv/docker/client.py", line 1, in get
docker.errors.NotFound: 404

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/venv/pulumi/dynamic/__main__.py", line 84, in wrapper
RuntimeError: the service is gone
"""


@pytest.mark.parametrize(
    ("urn", "text"),
    [
        (JOB, "job migration"),
        (STACK, ""),
        ("", ""),
        ("urn:pulumi:dev::slipway::slipway:docker:Api::api", "api"),
        (
            "urn:pulumi:dev::slipway::a:b:Edge$docker:index/serviceConfig:ServiceConfig::slipway-dev-caddy",
            "config caddy",
        ),
        ("urn:pulumi:dev::slipway::docker:index/secret:Secret::other", "secret other"),
    ],
)
def test_resources_are_called_as_people_do(urn: str, text: str) -> None:
    assert readable(urn) == text


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("slipway:api.replicas: too many", ("slipway:api.replicas: too many",)),
        (CHAINED, ("the service is gone",)),
        ("", ("no reason given",)),
        ("sdk-v2/p.go:5: sdk.helper_schema: rpc error: code = X desc = no: provider=docker@5.2.0", ("no",)),
        ("deleting urn:pulumi:dev::a::b::c: 1 error occurred:\n\t* network in use\n\n", ("network in use",)),
        ("Exception calling application: no\nmore", ("no", "more")),
    ],
)
def test_a_reason_is_without_what_the_layers_add(text: str, lines: tuple[str, ...]) -> None:
    assert reason(text) == lines


def test_the_last_lines_of_a_job_stay_whole_and_the_gravest_is_told() -> None:
    lines = reason(WRAPPED)
    assert lines[0] == "the job failed (exit 3); its last lines:"
    assert len(lines) == 5
    told = str(Trouble("job migration", lines))
    assert told == (
        "job migration: the job failed (exit 3); its last lines: sqlalchemy.exc.ProgrammingError: no such column"
    )


def progress(*, planned: bool = False) -> tuple[Progress, io.StringIO]:
    output = io.StringIO()
    return Progress(Steps(Console(file=output, width=200)), Step("deploy"), planned=planned), output


def step(kind: str, op: str, urn: str) -> EngineEvent:
    resource_type = urn.split("::")[2].rpartition("$")[2]
    metadata: dict[str, Any] = {"op": op, "urn": urn, "type": resource_type, "provider": ""}
    return EngineEvent.from_json({"sequence": 1, "timestamp": 1, kind: {"metadata": metadata, "planning": False}})


def said(severity: str, message: str, urn: str = "") -> EngineEvent:
    content = {"severity": severity, "message": message, "urn": urn, "color": "never"}
    return EngineEvent.from_json({"sequence": 1, "timestamp": 1, "diagnosticEvent": content})


def test_a_run_shows_what_it_changes_and_nothing_else() -> None:
    followed, output = progress()
    for event in (
        said("warning", "using pulumi-resource-docker from $PATH at /usr/local/bin/pulumi-resource-docker\n"),
        said("debug", "registering resource"),
        step("resourcePreEvent", "same", STACK),
        step("resourcePreEvent", "create", "urn:pulumi:dev::slipway::slipway:docker:Migration::migration"),
        step("resOutputsEvent", "create", "urn:pulumi:dev::slipway::slipway:docker:Migration::migration"),
        step("resourcePreEvent", "create", JOB),
    ):
        followed.on_event(event)
    assert followed.step.now == "job migration"
    followed.on_event(step("resOutputsEvent", "create", JOB))
    followed.on_event(step("resourcePreEvent", "replace", JOB))
    assert followed.step.now == ""
    summary = {"maybeCorrupt": False, "durationSeconds": 1, "resourceChanges": {"create": 2, "same": 1}}
    followed.on_event(EngineEvent.from_json({"sequence": 1, "timestamp": 1, "summaryEvent": summary}))
    assert output.getvalue().splitlines() == ["  + job migration  0.0 s"]
    assert (followed.summary, followed.change_count) == ("2 created, 1 same", 2)
    assert not followed.troubles
    assert not followed.warnings


def test_a_failure_is_kept_once_with_its_resource() -> None:
    followed, output = progress()
    for event in (
        said("error", WRAPPED, JOB),
        said("error", WRAPPED, JOB),
        said("error", "update failed\n"),
        said("info#err", "KeyboardInterrupt\n\n"),
        step("resOpFailedEvent", "create", JOB),
    ):
        followed.on_event(event)
    assert [trouble.resource for trouble in followed.troubles] == ["job migration"]
    assert output.getvalue() == "  ✗ job migration\n"


def test_a_preview_says_what_would_be() -> None:
    followed, output = progress(planned=True)
    followed.on_event(step("resourcePreEvent", "create-replacement", JOB))
    followed.on_event(step("resOutputsEvent", "create-replacement", JOB))
    summary = {"maybeCorrupt": False, "durationSeconds": 1, "resourceChanges": {"replace": 1}}
    followed.on_event(EngineEvent.from_json({"sequence": 1, "timestamp": 1, "summaryEvent": summary}))
    assert output.getvalue() == "  ± job migration\n"
    assert followed.summary == "1 to replace"


def test_nothing_to_do_is_said() -> None:
    assert progress()[0].summary == "nothing to do"

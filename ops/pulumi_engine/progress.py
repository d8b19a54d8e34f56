"""What the engine's events say: which resource it is at, what it changed, and why it failed."""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pulumi.automation import EngineEvent
from pulumi.automation.events import DiagnosticEvent, StepEventMetadata
from rich.markup import escape

from ops.steps import Step, Steps

MARKS: Final[Mapping[str, str]] = {
    "create": "[green]+[/] {}",
    "update": "[yellow]~[/] {}",
    "delete": "[red]-[/] {}",
    "create-replacement": "[yellow]±[/] {}",
    "import": "[green]=[/] {}",
}
"""The operations that are worth a line; the others only look, or are the rest of a replacement."""
CHANGES: Final = {"create", "update", "delete", "replace", "import"}
"""What the engine's summary counts as changes."""
NOISE: Final = (
    "update failed",
    "update canceled",
    "preview failed",
    "an unhandled error occurred: program exited",
    "using pulumi-resource-",
    "using pulumi-language-",
    "Attempting to deploy or update resources with",
    "resource monitor shut down",
    "one or more events failed to send",
)
GRAVE: Final = ("FATAL", "PANIC", "ERROR", "Error:", "error:")
"""Words that tell which of a log's last lines is the reason."""
COLOR = re.compile(r"<\{%[^%]*%\}>|\x1b\[[0-9;]*m")
TRACEBACK: Final = "Traceback (most recent call last)"
EXCEPTION = re.compile(r"^(?:\w+\.)*\w+(?:Error|Exception|Exit): ")
PREFIX = re.compile(
    r"^(?:sdk-v2/\S+ sdk\.helper_schema: |rpc error: code = \S+ desc = |Exception calling application: |error: "
    r"|\w+ urn:\S+: |\d+ errors? occurred:\s*|Error response from daemon: )+"
)
"""What the layers on the way put before a reason."""
SUFFIX = re.compile(r": provider=\S+$")
STACK: Final = "pulumi:pulumi:Stack"
SECRET: Final = "[secret]"  # noqa: S105 - stands in an event where a secret was
NO_LINES: Final = (STACK, "pulumi:providers:", "slipway:")
"""Resources that only hold others."""
KINDS: Final = {"serviceconfig": "config"}
"""What Docker calls it where Pulumi says something else."""


@dataclass(frozen=True)
class Trouble:
    """One error.

    Args:
        resource: the part and the name of the resource, or "" for the program itself.
        lines: the reason first, then its details such as the last lines of a job's log.
    """

    resource: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        first = self.lines[0]
        if first.endswith(":") and len(self.lines) > 1:  # it only announces what comes
            grave = [line for line in self.lines[1:] if any(word in line for word in GRAVE)]
            first = f"{first} {(grave or self.lines)[-1].strip()}"
        return f"{self.resource}: {first}" if self.resource else first


@dataclass
class Progress:
    """Follows one run of the engine.

    Args:
        steps: where its changes are shown.
        step: beside whose spinner its present resource stands.
        planned: whether it only previews.
        on_change: called once, before the first resource changes.
    """

    steps: Steps
    step: Step
    planned: bool = False
    on_change: Callable[[], None] | None = None
    troubles: list[Trouble] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    changes: dict[str, int] = field(default_factory=dict)
    changed: list[dict[str, str]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    _under_way: dict[str, float] = field(default_factory=dict)

    def on_event(self, event: EngineEvent) -> None:
        """One event of the engine, in the thread that receives them."""
        if event.resource_pre_event:
            self._begins(event.resource_pre_event.metadata)
        elif event.res_outputs_event:
            self._ended(event.res_outputs_event.metadata)
        elif event.res_op_failed_event:
            self._failed(event.res_op_failed_event.metadata)
        elif event.diagnostic_event:
            self._said(event.diagnostic_event)
        elif event.summary_event:
            changes = event.summary_event.resource_changes
            self.changes = {str(getattr(op, "value", op)): count for op, count in changes.items()}

    @property
    def summary(self) -> str:
        """How many resources became what."""
        words = {"create": "created", "update": "updated", "delete": "deleted", "replace": "replaced", "same": "same"}
        future = {"create": "to create", "update": "to update", "delete": "to delete", "replace": "to replace"}
        words = words | future if self.planned else words
        told = [f"{self.changes[op]} {word}" for op, word in words.items() if self.changes.get(op)]
        return ", ".join(told) or "nothing to do"

    @property
    def change_count(self) -> int:
        """How many resources were changed, or would be."""
        return sum(count for op, count in self.changes.items() if op in CHANGES)

    def _begins(self, step: StepEventMetadata) -> None:
        op = _op(step)
        if op not in MARKS:
            return
        name = readable(step.urn)
        if self.planned:
            self._tell(op, name, step, "")
            return
        if not step.type.startswith(NO_LINES):
            if self.on_change is not None and not self._under_way and not self.changed:
                self.on_change()
            self._under_way[step.urn] = time.monotonic()
            self._show()

    def _ended(self, step: StepEventMetadata) -> None:
        if step.type == STACK and step.new and _op(step) != "refresh":
            outputs = step.new.outputs or {}
            self.outputs = {name: value for name, value in outputs.items() if SECRET not in json.dumps(value)}
        if self.planned or _op(step) not in MARKS:
            return
        began = self._under_way.pop(step.urn, None)
        seconds = f"  {time.monotonic() - began:.1f} s" if began is not None else ""
        self._tell(_op(step), readable(step.urn), step, seconds)
        self._show()

    def _failed(self, step: StepEventMetadata) -> None:
        self._under_way.pop(step.urn, None)
        self.steps.line(f"[red]✗[/] {escape(readable(step.urn))}")
        self._show()

    def _tell(self, op: str, name: str, step: StepEventMetadata, seconds: str) -> None:
        if step.type.startswith(NO_LINES):
            return
        self.changed.append({"operation": op, "resource": name, "type": step.type})
        self.steps.line(MARKS[op].format(escape(name)) + seconds)

    def _said(self, said: DiagnosticEvent) -> None:
        text = COLOR.sub("", said.message).strip()
        if not text or text.startswith(NOISE):
            return
        if said.severity == "error":
            trouble = Trouble(readable(said.urn or ""), reason(text))
            if trouble not in self.troubles:
                self.troubles.append(trouble)
        elif said.severity == "warning":
            self.warnings.append(text)
            self.steps.line(f"[yellow]![/] {escape(text.splitlines()[0])}")

    def _show(self) -> None:
        names = [readable(urn) for urn in self._under_way]
        self.step.show(", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else ""))


def readable(urn: str) -> str:
    """A resource as people call it: what it is, and its name without what all names of the environment begin with.

    >>> readable("urn:pulumi:dev::slipway::slipway:docker:Network$docker:index/network:Network::slipway-dev-edge")
    'network edge'
    """
    if "::" not in urn:
        return ""
    stack, project, types, name = urn.removeprefix("urn:pulumi:").split("::", 3)
    if types == STACK:
        return ""
    kind = types.rpartition("$")[2].rpartition(":")[2].rpartition("/")[2].lower()
    name = name.removeprefix(f"{project}-{stack}-")
    return name if kind == name else f"{KINDS.get(kind, kind)} {name}"


def reason(text: str) -> tuple[str, ...]:
    """The lines of an error that help whoever reads them: no traceback, no prefixes of the wire."""
    lines = [line.rstrip() for line in _told(text.splitlines()) if line.strip()]
    if not lines:
        return ("no reason given",)
    first = _bare(lines[0])
    rest = lines[1:]
    while not first and rest:
        first, rest = _bare(rest[0]), rest[1:]
    return (first or "no reason given", *rest)


def _bare(line: str) -> str:
    line = line.strip().removeprefix("* ")
    return SUFFIX.sub("", EXCEPTION.sub("", PREFIX.sub("", line)))


def _told(lines: list[str]) -> list[str]:
    """What an exception says, without its traceback: of several, the one that went through Pulumi's own frames.

    What it says may hold the traceback of a job, which stays.
    """
    heads = [number for number, line in enumerate(lines) if line.startswith(TRACEBACK)]
    if not heads:
        return lines
    outer = [number for number in heads if "pulumi" in "".join(lines[number + 1 : number + 2])]
    at = (outer[-1] if outer else heads[0]) + 1
    while at < len(lines) and (not lines[at] or lines[at].startswith(" ")):
        at += 1
    told = lines[at:]
    return told or lines


def _op(step: StepEventMetadata) -> str:
    return str(getattr(step.op, "value", step.op))


def as_changes(progress: Progress) -> dict[str, Any]:
    """For the record."""
    return {"changes": progress.changes, "resources": progress.changed, "warnings": progress.warnings}

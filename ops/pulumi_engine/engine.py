"""One environment's stack: made, brought up, previewed, taken down."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

import yaml
from pulumi.automation import (
    CommandError,
    CommandResult,
    ConcurrentUpdateError,
    LocalWorkspace,
    OutputMap,
    Stack,
    StackAlreadyExistsError,
    StackNotFoundError,
    UpdateSummary,
    Workspace,
)
from rich.markup import escape

from infra.embedded.layout import Layout
from ops.errors import CheckFailedError, SlipwayError, UnreachableError, UsageError
from ops.pulumi_engine import locks, pending
from ops.pulumi_engine.access import Access, access, missing_passphrase
from ops.pulumi_engine.command import Command, find_or_install
from ops.pulumi_engine.progress import Progress
from ops.steps import Step, Steps

STREAM = re.compile(r"^(?:stdout|stderr):\s?")
NO_BACKEND = ("unable to open", "could not log in", "connection refused", "no such host", "unable to check if")
UNREACHABLE_DOCKER = ("Cannot connect to the Docker daemon", "error during connect", "failed to connect to the docker")
WRONG_PASSPHRASE: Final = "incorrect passphrase"  # noqa: S105 - a message
NO_PASSPHRASE: Final = "passphrase must be set"  # noqa: S105 - likewise
DETAIL_LINES: Final = 40
PARALLEL: Final = 64
"""Resources at a time, all of an environment: Docker's provider waits two seconds at each service and network it reads,
and Pulumi alone would take four a core."""


class Engine:
    """Pulumi for one environment.

    Args:
        layout: the environment's folders.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @cached_property
    def command(self) -> Command:
        """The CLI; downloaded where it is missing."""
        return find_or_install()

    @cached_property
    def access(self) -> Access:
        """The backend and the passphrase."""
        return access(self.layout)

    @cached_property
    def project_name(self) -> str:
        """As `Pulumi.yaml` names the project."""
        content = yaml.safe_load((self.layout.project / "Pulumi.yaml").read_text())
        return str(content["name"])

    def create(self) -> bool:
        """Make the stack; whether there was none."""
        with self._told(None):
            try:
                self._call("stack", "init", self.layout.environment, "--no-select")
            except StackAlreadyExistsError:
                return False
        return True

    def exists(self) -> bool:
        """Whether the backend has this stack."""
        found = json.loads(self.ask("stack", "ls", "--json").stdout or "[]")
        names = {str(entry["name"]).rpartition("/")[2] for entry in found}
        return self.layout.environment in names

    def secrets(self) -> dict[str, str]:
        """The encrypted values of the stack's configuration in the clear: to be used, never to be shown."""
        words = ("config", "--stack", self.layout.environment, "--json", "--show-secrets")
        found = json.loads(self.ask(*words).stdout or "{}")
        return {
            name.removeprefix(f"{self.project_name}:"): str(entry["value"])
            for name, entry in found.items()
            if entry.get("secret")
        }

    def set_secret(self, path: str, value: str) -> None:
        """Keep one value of the configuration, encrypted; it goes through a pipe and stands in no list of processes."""
        self.ask("config", "set", "--stack", self.layout.environment, "--path", "--secret", path, given=value)

    def up(self, steps: Steps, step: Step, message: str, on_change: Callable[[], None] | None = None) -> Progress:
        """Bring everything to what the program says.

        Args:
            steps: where its changes are shown.
            step: the step that this is.
            message: what the stack's history says of it.
            on_change: called once, before the first resource changes.

        Raises:
            LockedError: another operator is at work.
            CheckFailedError: the engine could not; what it said stands above.
            UsageError: the program refused the configuration.
        """
        progress = Progress(steps, step, on_change=on_change)
        with self._told(progress):
            self._complete_the_last(steps)
            self._stack.up(
                parallel=PARALLEL,
                on_event=progress.on_event,
                message=message,
                show_secrets=False,
                suppress_progress=True,
                color="never",
            )
        step.say(progress.summary)
        return progress

    def preview(self, steps: Steps, step: Step) -> Progress:
        """What `up` would change.

        Raises:
            CheckFailedError, UsageError: as for `up`.
        """
        progress = Progress(steps, step, planned=True)
        with self._told(progress):
            self._stack.preview(parallel=PARALLEL, on_event=progress.on_event, suppress_progress=True, color="never")
        step.say(progress.summary)
        return progress

    def down(self, steps: Steps, step: Step, *, keep_protected: bool) -> Progress:
        """Remove what the stack holds, but what is kept on purpose.

        Args:
            steps: where its changes are shown.
            step: the step that this is.
            keep_protected: leave protected resources, such as production's data, instead of failing for them.

        Raises:
            LockedError, CheckFailedError: as for `up`.
        """
        progress = Progress(steps, step)
        with self._told(progress):
            self._complete_the_last(steps)
            self._stack.destroy(
                parallel=PARALLEL,
                on_event=progress.on_event,
                show_secrets=False,
                suppress_progress=True,
                color="never",
                exclude_protected=keep_protected or None,
            )
        step.say(progress.summary)
        return progress

    def outputs(self) -> dict[str, Any]:
        """What the program gave out, without secrets."""
        words = ("stack", "output", "--stack", self.layout.environment, "--json")
        found: dict[str, Any] = json.loads(self.ask(*words).stdout or "{}")
        return found

    def holders(self) -> list[locks.Holder] | None:
        """Who holds the stack's lock; None where the backend does not tell."""
        folder = self.access.folder
        return None if folder is None else locks.holders(folder, self.project_name, self.layout.environment)

    def unlock(self) -> None:
        """Clear the stack's lock, whoever holds it."""
        self.ask("cancel", "--stack", self.layout.environment, "--yes")

    def ask(self, *words: str, given: str = "") -> CommandResult:
        """One call of the CLI in the project.

        Raises:
            SlipwayError: it failed; the kind says how.
        """
        with self._told(None):
            return self._call(*words, given=given)

    def _call(self, *words: str, given: str = "") -> CommandResult:
        return self.command.ask(words, self.layout.project, self.access.variables, given=given)

    @cached_property
    def _stack(self) -> Stack:
        workspace = LocalWorkspace(
            work_dir=str(self.layout.project), env_vars=dict(self.access.variables), pulumi_command=self.command
        )
        return _QuietStack(self.layout.environment, workspace)

    def _complete_the_last(self, steps: Steps) -> None:
        """Clear what a killed call left: its lock, if it ran on this machine, and what it began and did not end."""
        if (found := self.holders()) and locks.is_stale(found):
            steps.line(f"the lock of {' and '.join(map(str, found))} is stale, since that died: cleared")
            self.ask("cancel", "--stack", self.layout.environment, "--yes")
        folder = self.access.folder
        if folder and pending.nothing_pending(folder, self.project_name, self.layout.environment):
            return
        exported = self._stack.export_stack()
        if operations := pending.pending(exported):
            self._complete(operations, pending.known_names(exported))
            self._stack.import_stack(pending.without_pending(exported))
            begun = ", ".join(one.label for one in operations)
            steps.line(f"an up was killed in the midst of {begun}: begun anew")

    def _complete(self, operations: list[pending.Pending], known: set[tuple[str, str]]) -> None:
        from ops.docker_host import open_host  # noqa: PLC0415 - only after a killed call is Docker needed here

        with open_host(self.layout) as host:
            pending.clear_remains(operations, known, host.remove)

    @contextlib.contextmanager
    def _told(self, progress: Progress | None) -> Iterator[None]:
        """Have every failure of the CLI told in one line, with the details above it."""
        try:
            yield
        except ConcurrentUpdateError as error:
            raise locks.refusal(self.layout.environment, locks.holders_named(str(error))) from None
        except CommandError as error:
            raise self._failure(error, progress) from None

    def _failure(self, error: CommandError, progress: Progress | None) -> SlipwayError:
        environment = self.layout.environment
        text = str(error)
        if WRONG_PASSPHRASE in text:
            return UsageError(
                f"the passphrase does not open the secrets of {environment}: they were made with another one"
            )
        if NO_PASSPHRASE in text:
            return UsageError(missing_passphrase(self.layout))
        if isinstance(error, StackNotFoundError):
            return UsageError(
                f"there is no stack {environment} in {self.access.backend}: make it with slipway init {environment}, "
                "or set PULUMI_BACKEND_URL to where it is"
            )
        if progress is not None and progress.troubles:
            return self._trouble(progress)
        line = _last_error(text)
        if any(word in line for word in NO_BACKEND):
            return UnreachableError(f"Pulumi's backend {self.access.backend} cannot be reached: {line}")
        return CheckFailedError(f"pulumi: {line}")

    def _trouble(self, progress: Progress) -> SlipwayError:
        first = progress.troubles[0]
        for trouble in progress.troubles:
            for line in (
                f"{trouble.resource}: {trouble.lines[0]}".removeprefix(": "),
                *(f"  {line}" for line in trouble.lines[1 : DETAIL_LINES + 1]),
            ):
                progress.steps.line(escape(line))
        if any(word in str(first) for word in UNREACHABLE_DOCKER):
            return UnreachableError(f"Docker does not answer: {first}")
        kind = CheckFailedError if first.resource else UsageError  # the program itself refuses only what it was told
        more = f" (and {len(progress.troubles) - 1} more above)" if len(progress.troubles) > 1 else ""
        return kind(f"{first}{more}")


class _QuietStack(Stack):
    """A stack that exists, without making it the one that plain `pulumi` acts on next.

    After each run the Automation API asks the CLI three times more, for outputs, for them with secrets, and for the
    history. The events have told all that already (see progress.py).
    """

    def __init__(self, name: str, workspace: Workspace) -> None:
        self.name = name
        self.workspace = workspace

    def outputs(self) -> OutputMap:
        return {}

    def info(self, show_secrets: bool = True) -> UpdateSummary | None:  # noqa: ARG002, FBT001, FBT002 - its signature
        now = datetime.now(UTC)
        return UpdateSummary(kind="", start_time=now, message="", environment={}, config={}, result="succeeded")


def _last_error(text: str) -> str:
    """The line of a CLI's output that says what is wrong."""
    lines = [STREAM.sub("", " ".join(line.split())) for line in text.splitlines()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    said = [line for line in lines if line and not line.startswith("code: ")]
    return (errors or said or ["it said nothing"])[-1]

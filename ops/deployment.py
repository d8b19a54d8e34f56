"""What every deploy has in common, wherever it goes: steps in order, a record, and an outcome whatever happens."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from infra.embedded.layout import Layout
from ops import smoke
from ops.errors import CheckFailedError, SlipwayError
from ops.record import Record
from ops.steps import Step, Steps


class Deployment:
    """One release entering one environment.

    Args:
        layout: the environment's folders.
        steps: where its steps are shown.
    """

    record: Record
    release_name: str

    def __init__(self, layout: Layout, steps: Steps) -> None:
        self.layout = layout
        self.steps = steps
        self.started_at = datetime.now(UTC)
        self.step_name = ""

    @contextlib.contextmanager
    def step(self, name: str, *, spin: bool = True) -> Iterator[Step]:
        """One step; the outcome names it when it fails."""
        self.step_name = name
        with self.steps.step(name, spin=spin) as step:
            yield step

    def begin(self, release: str) -> None:
        """Make the record's folder."""
        self.release_name = release
        self.record = Record.begin(self.layout.records, release, self.started_at)

    def recorded(self, work: Callable[[], None]) -> None:
        """Do the work; when it fails, the record says where and why.

        Raises:
            CheckFailedError: something failed that is no failure of ours.
        """
        try:
            work()
        except Exception as error:
            self.end("failed", str(error))
            if isinstance(error, SlipwayError):
                raise
            raise CheckFailedError(f"{self.step_name} failed: {error}") from error
        except BaseException:
            self.end("interrupted", f"interrupted during {self.step_name}")
            raise

    def smoke(self, http: Any, file: str, release: str | None, *, show: bool) -> int:
        """The smoke checks, a line each; their number.

        Raises:
            CheckFailedError: one failed.
        """
        results = []
        for check in smoke.run(http, release):
            results.append(check)
            if show or not check.passed:
                self.steps.line(smoke.line(check))
        self.record.write(file, [check.as_dict() for check in results])
        if not results[-1].passed:
            raise CheckFailedError(f"smoke check failed: {results[-1].name}: {results[-1].reason}")
        return len(results)

    def report(self) -> str:
        """The page to look at, drawn from the finished record; its path."""
        with self.step("report") as step:
            from loadtests.report import write_report  # noqa: PLC0415 - drawing is heavy, and only this step draws

            step.say(str(write_report(self.record.folder)))
        return step.said

    def end(self, outcome: str, reason: str | None) -> dict[str, Any]:
        """Close the record with its outcome."""
        content = {
            "deploy": self.record.folder.name,
            "environment": self.layout.environment,
            "release": self.release_name,
            "started_at": rfc3339(self.started_at),
            "finished_at": rfc3339(datetime.now(UTC)),
            "outcome": outcome,
            "failed_step": None if outcome == "passed" else self.step_name,
            "reason": reason,
            "steps": self.steps.as_list(),
        }
        self.record.write("outcome.json", content)
        return content | {"record": str(self.record.folder)}


def rfc3339(moment: datetime) -> str:
    """A moment in UTC, to the millisecond."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

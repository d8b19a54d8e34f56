"""The steps of a deploy, shown as they go: a spinner with its time in a terminal, a line each elsewhere."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text


class Step:
    """One step while it runs; what it says ends up in its closing line."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seconds = 0.0
        self.failed = True  # until it has ended well
        self.said = ""
        self.now = ""

    def say(self, text: str) -> None:
        """What the step found or did, for its closing line."""
        self.said = text

    def show(self, text: str) -> None:
        """What it is at now, beside its spinner in a terminal."""
        self.now = text


class _Now(ProgressColumn):
    """What a step is at now."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step

    def render(self, task: Task) -> Text:  # noqa: ARG002 - rich's signature
        return Text(self.step.now, style="dim")


class Steps:
    """The steps of one deploy, in the order they ran, with their times in seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.done: list[Step] = []

    @contextlib.contextmanager
    def step(self, name: str, *, spin: bool = True) -> Iterator[Step]:
        """Run one step. A step that shows its own progress asks for no spinner."""
        step, start = Step(name), time.monotonic()
        mark = "[red]✗[/]"
        try:
            with self._spinner(step) if spin else contextlib.nullcontext():
                yield step
            mark = "[green]✓[/]"
            step.failed = False
        finally:
            step.seconds = time.monotonic() - start
            self.done.append(step)
            self.console.print(f"{mark} {name:<10}{step.seconds:7.1f} s  {step.said}", highlight=False, soft_wrap=True)

    def line(self, text: str) -> None:
        """A line of detail below the current step."""
        self.console.print(f"  {text}", highlight=False, soft_wrap=True)

    def as_list(self) -> list[dict[str, Any]]:
        """The finished steps, for the record."""
        return [{"name": step.name, "seconds": round(step.seconds, 3), "said": step.said} for step in self.done]

    @contextlib.contextmanager
    def _spinner(self, step: Step) -> Iterator[None]:
        if not self.console.is_terminal:
            yield
            return
        columns = (SpinnerColumn(), TextColumn("{task.description:<10}"), TimeElapsedColumn(), _Now(step))
        progress = Progress(*columns, console=self.console, transient=True)
        progress.add_task(step.name, total=None)
        try:
            # Inside the try: Ctrl-C may come while it starts, when the cursor is hidden already.
            progress.start()
            yield
        finally:
            progress.stop()
            self.console.show_cursor()

"""The drills as a picture: every request that a steady reader sent, by when it was due and how long it took."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from loadtests.files import write_atomically
from loadtests.recorder import Samples

__all__ = ["Seen", "draw"]

INK, MUTED, BAD, SHADE, GRID = "#1f4e79", "#555555", "#c0392b", "#f6e3df", "#e4e4e4"
COLUMNS = 2
DRILL_INCHES = (6.2, 2.1)
LOWEST_MS, HIGHEST_MS = 0.25, 12_000.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What the reader saw of one drill.

    Args:
        name: of the drill.
        samples: of the reader.
        began_us: when the fault began, on the samples' clock.
        ended_us: when it was over.
    """

    name: str
    samples: Samples
    began_us: int
    ended_us: int


def draw(path: Path, drills: Sequence[Seen]) -> None:
    """Write a PNG with a small drawing for each drill.

    Args:
        path: of the file, replaced as a whole.
        drills: at least one.

    Raises:
        OSError: the file cannot be written.
    """
    rows = -(-len(drills) // COLUMNS)
    width, height = DRILL_INCHES
    figure = Figure(figsize=(width * COLUMNS, height * rows + 0.5), dpi=110, layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for place, seen in zip(axes, drills, strict=False):
        _draw_one(place, seen)
    for place in axes[len(drills) :]:
        place.set_visible(False)
    figure.suptitle(
        "Each dot is a request: seconds since the fault began, and how long its answer took (red: an error; "
        "shaded: the fault)",
        fontsize=9,
        color=MUTED,
    )
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture)  # type: ignore[no-untyped-call] # matplotlib leaves it so
    write_atomically(path, picture.getvalue())


def _draw_one(axes: Axes, seen: Seen) -> None:
    columns = seen.samples.columns
    seconds = (columns["start_us"] - seen.began_us) / 1e6
    latencies_ms = np.clip(columns["latency_us"] / 1e3, LOWEST_MS, HIGHEST_MS)
    failed = columns["error"] > 0
    axes.axvspan(0, (seen.ended_us - seen.began_us) / 1e6, color=SHADE, linewidth=0, zorder=0)
    for chosen, color, size in ((~failed, INK, 3), (failed, BAD, 6)):
        axes.scatter(seconds[chosen], latencies_ms[chosen], s=size, color=color, linewidths=0, zorder=2)
    axes.set_yscale("log")
    axes.set_ylim(LOWEST_MS, HIGHEST_MS)
    axes.set_yticks([1, 10, 100, 1_000, 10_000])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f} ms"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=7, colors=MUTED, length=0, which="both")
    axes.grid(axis="y", color=GRID, linewidth=0.7, zorder=1)
    axes.spines[:].set_visible(False)
    axes.set_title(f"{seen.name}: {int(failed.sum()):,} of {len(failed):,} failed", fontsize=9, loc="left")

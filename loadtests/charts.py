"""The report's drawings: inline SVG made by matplotlib, in colours and fonts that the page decides.

A drawing is made of placeholder colours, which become CSS variables: so one drawing serves light and dark. Wide ones
are drawn once for a desktop and once for a phone, because a drawing that is scaled down is not legible.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from loadtests.stats import Floats, ecdf, quantiles

__all__ = ["Chart", "Series", "distribution", "over_time", "overview", "say_ms"]

NEAR = 50.0  # a latency axis whose ends differ by less gets more labels
WIDE, NARROW = (10.0, 3.6), (3.6, 3.6)  # inches; 100 units of the view box each
INK, MUTED, GRID, BAD = "#010101", "#020202", "#030303", "#040404"
GROUPS = ("#050505", "#060606", "#070707")
VARIABLES: Final = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    BAD: "var(--bad)",
    GROUPS[0]: "var(--group-1)",
    GROUPS[1]: "var(--group-2)",
    GROUPS[2]: "var(--group-3)",
}
STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "path.simplify": True,
}


@dataclass(frozen=True, slots=True)
class Chart:
    """One drawing as SVG, for a wide page and for a narrow one (the same where one is enough)."""

    wide: str
    narrow: str


@dataclass(frozen=True, slots=True)
class Series:
    """The latencies of one request kind.

    Args:
        kind: its name.
        group: index of the journey that it belongs to, which gives it its colour.
        latencies_ms: of the requests without error, any order, at least one.
    """

    kind: str
    group: int
    latencies_ms: Floats

    @property
    def label(self) -> str:
        """The name in words."""
        return self.kind.replace("_", " ")


def say_ms(milliseconds: float) -> str:
    """Two or three digits that matter, with the unit."""
    if milliseconds >= 999.5:
        return f"{milliseconds / 1e3:.3g} s"
    return f"{milliseconds:.0f} ms" if milliseconds >= 99.5 else f"{milliseconds:.2g} ms"


def _svg(figure: Figure, title: str, description: str) -> str:
    """The drawing as an element to stand in a page, without ids that another drawing could have too."""
    name = re.sub(r"\W+", "-", title.lower())
    with mpl.rc_context({**STYLE, "svg.hashsalt": f"{name} {figure.get_figwidth()}"}):
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    text = re.sub(r"\n\s*", "\n", text)
    text = re.sub(r"(\d\.\d\d)\d+", r"\1", text)  # a hundredth of a unit is finer than any screen
    view_box = re.search(r'viewBox="[^"]*"', text)
    assert view_box
    head = f'<svg {view_box[0]} role="img" xmlns:xlink="http://www.w3.org/1999/xlink">'
    body = text[text.index(">") + 1 :]
    return f"{head}<title>{escape(title)}</title><desc>{escape(description)}</desc>{body}"


def _figure(inches: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=inches)
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    return figure, axes


def _latency_axis(axes: Axes, *, vertical: bool = False) -> None:
    """A logarithmic axis with a label at each power of ten, and between them where the limits lie near each other."""
    axis = axes.yaxis if vertical else axes.xaxis
    (axes.set_yscale if vertical else axes.set_xscale)("log")
    low, high = axes.get_ylim() if vertical else axes.get_xlim()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < NEAR else (1,), numticks=9))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: say_ms(value)))


def limits_ms(series: Sequence[Series]) -> tuple[float, float]:
    """Ends of a latency axis that all the series fit on."""
    low = min(float(one.latencies_ms.min()) for one in series)
    high = max(float(one.latencies_ms.max()) for one in series)
    return max(low, 1e-3) / 1.3, max(high, 2e-3) * 1.3


def overview(series: Sequence[Series]) -> Chart:
    """For each request kind p50, p95 and p99 on one logarithmic axis."""
    title = "Latency of each request kind"
    values = {one.kind: quantiles(one.latencies_ms, [0.5, 0.95, 0.99]) for one in series}
    description = "; ".join(
        f"{one.label}: p50 {say_ms(values[one.kind][0])}, p95 {say_ms(values[one.kind][1])}, "
        f"p99 {say_ms(values[one.kind][2])}"
        for one in series
    )
    drawings = [_svg(_overview(series, values, inches), title, description) for inches in (WIDE, NARROW)]
    return Chart(*drawings)


def _overview(series: Sequence[Series], values: Mapping[str, Floats], inches: tuple[float, float]) -> Figure:
    with mpl.rc_context(STYLE):
        figure, axes = _figure((inches[0], 0.31 * len(series) + 0.75))
        for row, one in enumerate(series):
            p50, p95, p99 = values[one.kind].tolist()
            colour = GROUPS[one.group % len(GROUPS)]
            axes.plot([p50, p99], [row, row], color=colour, linewidth=1.2, alpha=0.55)
            axes.plot([p50, p95], [row, row], color=colour, linewidth=4.5, alpha=0.35, solid_capstyle="round")
            axes.plot([p50], [row], "o", color=colour, markersize=6)
            axes.plot([p95], [row], "D", color=colour, markersize=5.5)
            axes.plot([p99], [row], "|", color=colour, markersize=10, markeredgewidth=2)
            axes.annotate(
                say_ms(p99), (p99, row), (6, 0), textcoords="offset points", va="center", color=MUTED, fontsize=8
            )
        low = min(float(found[0]) for found in values.values())
        high = max(float(found[2]) for found in values.values())
        span = max(high / low, 2.0)
        axes.set_xlim(low / span**0.06, high * span ** (0.1 if inches == WIDE else 0.3))
        axes.set_ylim(len(series) - 0.4, -0.6)
        axes.set_yticks(range(len(series)), [one.label for one in series])
        axes.tick_params(axis="y", labelcolor=INK, pad=2)
        _latency_axis(axes)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        figure.subplots_adjust(
            left=0.13 if inches == WIDE else 0.3, right=0.99, top=0.995, bottom=0.36 / figure.get_figheight()
        )
        return figure


def over_time(
    starts_seconds: Floats, latencies_ms: Floats, failed_seconds: Floats, *, bin_seconds: float = 1.0
) -> Chart:
    """p50, p95 and p99 of all requests second by second, and where requests failed.

    Args:
        starts_seconds: shape (n,), when the successful requests were due.
        latencies_ms: shape (n,), what they took.
        failed_seconds: shape (m,), when the failed ones were due.
        bin_seconds: what is taken together.
    """
    title = "Latency over time"
    bins = np.floor(starts_seconds / bin_seconds)
    middles = np.unique(bins)
    lines = np.stack([quantiles(latencies_ms[bins == one], [0.5, 0.95, 0.99]) for one in middles])
    seconds = (middles + 0.5) * bin_seconds
    description = (
        f"Over {seconds[-1]:.0f} s the p50 of a second lay between {say_ms(lines[:, 0].min())} and "
        f"{say_ms(lines[:, 0].max())}, the p95 between {say_ms(lines[:, 1].min())} and {say_ms(lines[:, 1].max())}; "
        f"{len(failed_seconds)} requests failed."
    )
    drawings = [
        _svg(_over_time(seconds, lines, failed_seconds, inches), title, description)
        for inches in ((WIDE[0], 2.6), (NARROW[0], 2.6))
    ]
    return Chart(*drawings)


def _over_time(seconds: Floats, lines: Floats, failed_seconds: Floats, inches: tuple[float, float]) -> Figure:
    with mpl.rc_context(STYLE):
        figure, axes = _figure(inches)
        styles = (("p50", 1.8, 1.0), ("p95", 1.8, 0.65), ("p99", 1.2, 0.4))
        for index, (name, width, alpha) in enumerate(styles):
            axes.plot(seconds, lines[:, index], color=GROUPS[0], linewidth=width, alpha=alpha)
            lift = 5 * (index - 1)  # p95 and p99 may end at one height
            axes.annotate(
                name, (seconds[-1], lines[-1, index]), (5, lift), textcoords="offset points", va="center", color=INK
            )
        if len(failed_seconds):
            when = np.unique(np.floor(failed_seconds)) + 0.5  # thousands of marks would tell no more
            foot = float(lines.min()) / 1.25
            axes.plot(when, np.full(len(when), foot), "x", color=BAD, markersize=4)
            axes.annotate("failed requests", (when[0], foot), (-2, 5), textcoords="offset points", color=BAD)
        low, high = float(lines.min()), float(lines.max())
        axes.set_ylim(low / 2, max(high * 1.6, low * 10))
        _latency_axis(axes, vertical=True)
        axes.set_xlim(0, max(float(seconds[-1]) + 0.5, 1.0))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} s"))
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        is_wide = inches[0] == WIDE[0]
        figure.subplots_adjust(left=0.06 if is_wide else 0.15, right=0.965 if is_wide else 0.9, top=0.97, bottom=0.12)
        return figure


def distribution(one: Series, limits: tuple[float, float]) -> str:
    """The empirical distribution function of one request kind, with p50, p95 and p99 named where they lie.

    Args:
        one: the request kind.
        limits: ends of the axis in ms; the same for all kinds, so that the drawings can be compared.
    """
    values, shares = ecdf(one.latencies_ms, points=160)
    marks = dict(zip(("p50", "p95", "p99"), quantiles(one.latencies_ms, [0.5, 0.95, 0.99]).tolist(), strict=True))
    colour = GROUPS[one.group % len(GROUPS)]
    with mpl.rc_context(STYLE):
        figure, axes = _figure((3.4, 1.9))
        axes.fill_between(values, shares, step="post", color=colour, alpha=0.12, linewidth=0)
        axes.step(values, shares, where="post", color=colour, linewidth=1.8)
        axes.set_xlim(limits)
        axes.set_ylim(0, 1.14)
        for (name, value), share, drop in zip(marks.items(), (0.5, 0.95, 0.99), (0, -7, 8), strict=True):
            to_left = value > (limits[0] * limits[1] ** 3) ** 0.25
            axes.plot([value], [share], "o", color=colour, markersize=4.5)
            axes.annotate(
                f"{name} {say_ms(value)}",
                (value, share),
                (-7 if to_left else 7, drop),
                textcoords="offset points",
                va="center",
                ha="right" if to_left else "left",
                fontsize=8,
            )
        _latency_axis(axes)
        axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"], fontsize=8)
        axes.tick_params(axis="x", labelsize=8)
        axes.grid()
        axes.set_axisbelow(True)
        figure.subplots_adjust(left=0.13, right=0.985, top=0.97, bottom=0.14)
    described = ", ".join(f"{name} {say_ms(value)}" for name, value in marks.items())
    return _svg(figure, f"Distribution of {one.label}", f"{len(one.latencies_ms)} requests: {described}")

"""Baselines as lines for people; `--json` has the same for programs."""

from collections.abc import Sequence
from typing import Any

SHORT = 8  # letters of a fingerprint that tell it from the others of one environment


def listed_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each baseline, below a header."""
    if not rows:
        return ["no baselines yet: deploy with its load"]
    width = max(len(row["deploy"]) for row in rows)
    head = f"{'deploy':<{width}}  {'profile':<8}{'outcome':<9}{'req/s':>8}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}"
    lines = [f"{head}  fingerprint"]
    for row in rows:
        figures = "".join(_ms(row[name]) for name in ("p50_ms", "p95_ms", "p99_ms"))
        lines.append(
            f"{row['deploy']:<{width}}  {row['profile']:<8}{row['outcome']:<9}{row['requests_per_second']:>8,.0f}"
            f"{figures}  {row['fingerprint'][:SHORT]}"
        )
    return lines


def shown_lines(found: dict[str, Any]) -> list[str]:
    """The outcome, a line for each request kind, and the conditions."""
    reasons = f": {'; '.join(map(str, found['failures']))}" if found["failures"] else ""
    lines = [f"{found['deploy']}: {found['outcome']}{reasons}, {found['requests_per_second']:,.0f} requests/s"]
    lines.append(f"  {'kind':<22}{'count':>9}{'errors':>8}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    for kind, figures in {**found["kinds"], "all": found["all"]}.items():
        ms = "".join(_ms(figures[name]) for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms"))
        lines.append(f"  {kind:<22}{figures['count']:>9,}{figures['errors']:>8,}{ms}")
    lines.append(f"conditions, fingerprint {found['fingerprint']}")
    return lines + [f"  {name:<14}{value}" for name, value in found["conditions"].items()]


def compared_lines(found: dict[str, Any]) -> list[str]:
    """A line for each request kind: the later value, its change in ms, its ratio to the earlier."""
    lines = [f"from {found['before']} to {found['after']}"]
    lines.append(f"  {'kind':<22}" + "".join(f"{name:<30}" for name in ("p50", "p95", "p99")).rstrip())
    for kind, figures in found["kinds"].items():
        cells = "".join(f"{_cell(change):<30}" for change in figures.values())
        lines.append(f"  {kind:<22}{cells}".rstrip())
    return [*lines, "This describes what was measured; whether a change means anything, only the gate says."]


def _cell(change: dict[str, float | None]) -> str:
    if change["change_ms"] is None:
        return "-"
    ratio = f" ({change['ratio']:.2f}x)" if change["ratio"] is not None else ""
    return f"{change['after_ms']:.1f} ms {change['change_ms']:+.1f} ms{ratio}"


def _ms(value: float | None) -> str:
    return f"{'-' if value is None else format(value, ',.1f'):>9}"

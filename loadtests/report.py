"""The page that a deploy leaves: what was deployed, what was checked, how fast it answered. One self-contained file.

Reads the record's folder and nothing else, and shows what is there: a deploy without load, or one that failed half-way,
gets a page too.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from loadtests import charts
from loadtests.baseline import BaselineError, read_baseline
from loadtests.files import write_atomically
from loadtests.journeys import JOURNEYS
from loadtests.recorder import Samples, SamplesError, read_samples

__all__ = ["main", "write_report"]

TEMPLATE = "report.html.j2"
PAGE = "report.html"
QUANTILES = ("min_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms")


@dataclass(frozen=True, slots=True)
class Drawings:
    """The drawings of one run, as markup; by request kind for the distributions."""

    overview_wide: Markup
    overview_narrow: Markup
    time_wide: Markup
    time_narrow: Markup
    distributions: Mapping[str, Markup]


def _json(path: Path, notes: list[str]) -> Any:
    """The file's content, or None when it is not there; a damaged one is noted."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        notes.append(f"{path.name} cannot be read: {error}")
        return None


def _object(path: Path, notes: list[str]) -> dict[str, Any]:
    content = _json(path, notes)
    if content is None or isinstance(content, dict):
        return content or {}
    notes.append(f"{path.name} does not hold a JSON object")
    return {}


def _smoke(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    content = _json(path, notes)
    if content is None or (isinstance(content, list) and all(isinstance(check, dict) for check in content)):
        return content or []
    notes.append(f"{path.name} does not hold a list of checks")
    return []


def _baseline(record: Path, notes: list[str]) -> dict[str, Any]:
    path = record / "baseline.json"
    if not path.exists():
        return {}
    try:
        return read_baseline(path)
    except BaselineError as error:
        notes.append(str(error))
        return {}


def _samples(record: Path, notes: list[str]) -> Samples | None:
    path = record / "samples.bin"
    if not path.exists():
        return None
    try:
        samples = read_samples(path)
    except SamplesError as error:
        notes.append(str(error))
        return None
    if samples.done is None:
        notes.append("the recording has no end: the run was cut short, and what follows is what it had measured")
    return samples.measured()


def _series(samples: Samples) -> list[charts.Series]:
    """The request kinds in the order of the journeys' table, unknown ones after them."""
    groups = {kind: index for index, journey in enumerate(JOURNEYS) for kind in journey.requests}
    known = [kind for kind in groups if kind in samples.kinds]
    others = [kind for kind in sorted(samples.kinds) if kind not in groups]
    series = []
    for kind in known + others:
        latencies_us = samples.of_kind(kind).succeeded().columns["latency_us"]
        if len(latencies_us):
            series.append(charts.Series(kind, groups.get(kind, 0), latencies_us / 1e3))
    return series


def _drawings(samples: Samples | None) -> Drawings | None:
    series = _series(samples) if samples else []
    if not samples or not series:
        return None
    succeeded = samples.succeeded()
    failed = samples.where(samples.columns["error"] > 0)
    overview = charts.overview(series)
    over_time = charts.over_time(
        succeeded.columns["start_us"] / 1e6, succeeded.columns["latency_us"] / 1e3, failed.columns["start_us"] / 1e6
    )
    limits = charts.limits_ms(series)
    return Drawings(
        overview_wide=Markup(overview.wide),  # noqa: S704 - our own drawing; its texts are escaped
        overview_narrow=Markup(overview.narrow),  # noqa: S704 - likewise
        time_wide=Markup(over_time.wide),  # noqa: S704 - likewise
        time_narrow=Markup(over_time.narrow),  # noqa: S704 - likewise
        distributions={one.kind: Markup(charts.distribution(one, limits)) for one in series},  # noqa: S704 - likewise
    )


def _headline(outcome: Mapping[str, Any], baseline: Mapping[str, Any]) -> str:
    """What the page says, in one sentence."""
    if outcome.get("outcome") == "failed":
        return f"The deploy failed in the step {outcome.get('failed_step')}: {outcome.get('reason')}."
    if baseline.get("outcome") == "failed":
        return "The load run does not count."
    overall = baseline.get("all") or {}
    if not overall.get("count"):
        return "Deployed. No load was run, so nothing is known of its latency."
    errors = overall["errors"]
    failed = "none failed" if not errors else f"{errors:,} failed"
    return (
        f"Half of {overall['count']:,} requests were answered within {charts.say_ms(overall['p50_ms'])}, 95 % within "
        f"{charts.say_ms(overall['p95_ms'])}; {failed}."
    )


def _is_good(outcome: Mapping[str, Any], baseline: Mapping[str, Any], smoke: Sequence[Mapping[str, Any]]) -> bool:
    return (
        outcome.get("outcome", "passed") == "passed"
        and baseline.get("outcome", "passed") == "passed"
        and all(check.get("passed", True) for check in smoke)
    )


def _milliseconds(value: Any) -> str:
    """A table's figure: always in milliseconds, so that a column can be compared at a glance."""
    if not isinstance(value, int | float):
        return "–"  # noqa: RUF001 - typography
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def _moment(value: Any) -> str:
    try:
        return f"{datetime.fromisoformat(str(value)):%Y-%m-%d %H:%M:%S %Z}"
    except ValueError:
        return str(value)


def _context(record: Path) -> dict[str, Any]:
    """Everything that the template shows."""
    notes: list[str] = []
    outcome = _object(record / "outcome.json", notes)
    baseline = _baseline(record, notes)
    smoke = _smoke(record / "smoke.json", notes)
    conditions = _object(record / "conditions.json", notes) | (baseline.get("conditions") or {})
    release = _object(record / "release.json", notes)
    samples = _samples(record, notes)
    kinds = baseline.get("kinds") or {}
    return {
        "headline": _headline(outcome, baseline),
        "reasons": baseline.get("failures") or [],
        "is_good": _is_good(outcome, baseline, smoke),
        "release": release,
        "name": release.get("release") or conditions.get("release") or "unknown release",
        "environment": outcome.get("environment") or conditions.get("environment") or "",
        "migration": _object(record / "migration.json", notes),
        "smoke": smoke,
        "outcome": outcome,
        "steps": outcome.get("steps") or [],
        "slowest_step": max((float(step.get("seconds") or 0) for step in outcome.get("steps") or []), default=0.0),
        "baseline": baseline,
        "conditions": conditions,
        "journeys": [
            {"name": journey.name, "kinds": [kind for kind in journey.requests if kind in kinds]}
            for journey in JOURNEYS
        ],
        "quantiles": QUANTILES,
        "drawings": _drawings(samples),
        "notes": notes,
    }


def write_report(record_dir: Path) -> Path:
    """Make `report.html` in a record's folder from what the folder holds.

    Args:
        record_dir: the record; may hold any of release.json, migration.json, smoke.json, conditions.json,
            baseline.json, samples.bin and outcome.json. A missing file leaves its section out, a damaged one is named.

    Returns:
        Path of the page: one file under 500 kB that loads nothing.

    Raises:
        OSError: the page cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"ms": _milliseconds, "moment": _moment, "words": lambda text: str(text).replace("_", " ")}
    page = environment.get_template(TEMPLATE).render(_context(record_dir))
    path = record_dir / PAGE
    write_atomically(path, page.encode())
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m loadtests.report RECORD`: make the page again; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 1 or not Path(given[0]).is_dir():
        sys.stderr.write("usage: python -m loadtests.report RECORD (the folder of a deploy)\n")
        return 2
    sys.stdout.write(f"{write_report(Path(given[0]))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A deploy's latency baseline: what the samples of one run amount to, and whether the run measured anything at all.

`baseline.json`, schema version 1 (all latencies in milliseconds):

    schema_version, outcome ("passed" | "failed"), failures [reason], profile, started_at, ended_at,
    kinds {kind: {count, errors, min_ms, p50_ms, p90_ms, p95_ms, p99_ms, max_ms}}, all {the same over all requests},
    errors [{kind, error, count}], requests_per_second,
    generator {cpu_share, lag_p99_ms, lag_max_ms, arrivals, unfinished_journeys}, conditions {...}, fingerprint

Latencies are those of requests without error, and null when there are none: a refused connection is quick, and would
make a dead service look fast.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.conditions import fingerprint
from loadtests.files import write_atomically
from loadtests.profiles import Profile
from loadtests.recorder import Samples
from loadtests.stats import quantiles

__all__ = [
    "FIELDS",
    "QUANTILES",
    "SCHEMA_VERSION",
    "BaselineError",
    "failures",
    "make_baseline",
    "parse_baseline",
    "read_baseline",
    "write_baseline",
]

SCHEMA_VERSION = 1
QUANTILES = {"min_ms": 0.0, "p50_ms": 0.5, "p90_ms": 0.9, "p95_ms": 0.95, "p99_ms": 0.99, "max_ms": 1.0}
FIELDS: dict[str, Any] = {
    "schema_version": int,
    "outcome": str,
    "failures": list,
    "profile": str,
    "started_at": str | None,
    "ended_at": str | None,
    "kinds": dict,
    "all": dict,
    "errors": list,
    "requests_per_second": int | float,
    "generator": dict,
    "conditions": dict,
    "fingerprint": str,
}
"""Every field of schema version 1, with its type."""
MANY = 3  # so many request kinds are named in a reason


class BaselineError(Exception):
    """A baseline cannot be read; the message names the file and what is wrong, in one line."""


def _summary(samples: Samples) -> dict[str, Any]:
    latencies_us = samples.succeeded().columns["latency_us"]
    summary: dict[str, Any] = {"count": len(samples), "errors": len(samples) - len(latencies_us)}
    if not len(latencies_us):
        return summary | dict.fromkeys(QUANTILES)
    values = quantiles(latencies_us, list(QUANTILES.values())) / 1e3
    return summary | {name: round(float(value), 3) for name, value in zip(QUANTILES, values, strict=True)}


def _errors(samples: Samples) -> list[dict[str, Any]]:
    """How often each error occurred with each request kind, the most frequent first."""
    pairs = np.stack([samples.columns["kind"], samples.columns["error"]], axis=1)
    distinct, counts = np.unique(pairs[pairs[:, 1] > 0], axis=0, return_counts=True)
    found = [
        {"kind": samples.kinds[kind], "error": samples.errors[error], "count": times}
        for (kind, error), times in zip(distinct.tolist(), counts.tolist(), strict=True)
    ]
    return sorted(found, key=lambda entry: -int(entry["count"]))


def _generator(samples: Samples) -> dict[str, Any]:
    lag_us = samples.columns["lag_us"][samples.columns["lag_us"] > 0]
    p99, largest = quantiles(lag_us, [0.99, 1.0]) / 1e3 if len(lag_us) else (0.0, 0.0)
    done = samples.done or {}
    return {
        "cpu_share": done.get("generator_cpu_share"),
        "lag_p99_ms": round(float(p99), 3),
        "lag_max_ms": round(float(largest), 3),
        "arrivals": done.get("arrivals"),
        "unfinished_journeys": done.get("unfinished_journeys"),
    }


def failures(samples: Samples, profile: Profile, kinds: Sequence[str]) -> list[str]:
    """Why a run must not count, one line each; nothing when it may.

    Args:
        samples: of the whole run, warm-up included.
        profile: what the run was meant to be.
        kinds: request kinds of the scenario, each of which must have been measured.
    """
    if samples.done is None:
        return ["the load generator was cut short: its recording has no end"]
    if samples.done.get("failure"):
        return [str(samples.done["failure"])]
    measured = samples.measured()
    if not len(measured):
        return ["no samples: not one request was measured"]
    found = []
    errors = [entry for entry in _errors(measured) if _too_many(measured, entry["kind"], profile)]
    if errors:
        named = "; ".join(f"{entry['kind']}: {entry['count']} x {entry['error']}" for entry in errors[:MANY])
        found.append(f"more than {profile.error_limit:.1%} of the requests of a kind failed: {named}")
    counts = {kind: len(measured.of_kind(kind)) for kind in kinds}
    scarce = [f"{kind} {count:,}" for kind, count in counts.items() if count < profile.minimum_samples]
    if scarce:
        named = ", ".join(scarce[:MANY]) + (f" and {len(scarce) - MANY} more" if len(scarce) > MANY else "")
        found.append(f"too few samples (at least {profile.minimum_samples:,} of each request kind): {named}")
    generator = _generator(measured)
    if generator["lag_p99_ms"] > profile.lag_limit_ms:
        found.append(
            f"void: the load generator lagged behind its clock (p99 {generator['lag_p99_ms']:.0f} ms, limit "
            f"{profile.lag_limit_ms:.0f} ms): give it a core of its own, or lower the rate"
        )
    if generator["unfinished_journeys"]:
        found.append(f"{generator['unfinished_journeys']} journeys had not ended when the run was over")
    return found


def _too_many(samples: Samples, kind: str, profile: Profile) -> bool:
    of_kind = samples.of_kind(kind)
    return len(of_kind) - len(of_kind.succeeded()) > profile.error_limit * len(of_kind)


def make_baseline(
    samples: Samples, *, profile: Profile, reasons: Sequence[str], conditions: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of baseline.json.

    Args:
        samples: of the whole run.
        profile: that the run followed; it belongs to the conditions.
        reasons: why the run failed; empty when it passed.
        conditions: as observed and as told by whoever deployed.
    """
    measured = samples.measured()
    all_conditions = {**conditions, "profile": asdict(profile)}
    kinds = sorted(samples.kinds)
    return {
        "schema_version": SCHEMA_VERSION,
        "outcome": "failed" if reasons else "passed",
        "failures": list(reasons),
        "profile": profile.name,
        "started_at": samples.head.get("started_at"),
        "ended_at": (samples.done or {}).get("ended_at"),
        "kinds": {kind: _summary(measured.of_kind(kind)) for kind in kinds},
        "all": _summary(measured),
        "errors": _errors(measured),
        "requests_per_second": round(len(measured) / profile.measure_seconds, 1),
        "generator": _generator(measured),
        "conditions": all_conditions,
        "fingerprint": fingerprint(all_conditions),
    }


def write_baseline(path: Path, baseline: Mapping[str, Any]) -> None:
    """Write it, whole or not at all."""
    write_atomically(path, (json.dumps(baseline, indent=1, ensure_ascii=False) + "\n").encode())


def read_baseline(path: Path) -> dict[str, Any]:
    """Read it.

    Raises:
        BaselineError: no such file, or none that `parse_baseline` accepts.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BaselineError(f"{path}: {error.strerror}") from error
    return parse_baseline(content, str(path))


def parse_baseline(content: bytes, name: str) -> dict[str, Any]:
    """The baseline that a file holds.

    Args:
        content: of the file.
        name: of the file, for the message.

    Raises:
        BaselineError: not JSON, no whole baseline, or of another schema.
    """
    try:
        baseline = json.loads(content)
        version = baseline["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BaselineError(f"{name} is damaged or no baseline ({error!r}): take it from another copy") from error
    if version != SCHEMA_VERSION:
        raise BaselineError(f"{name} has schema version {version}, this code reads {SCHEMA_VERSION}: use a newer one")
    if lack := _lack(baseline):
        raise BaselineError(f"{name} is damaged or no baseline ({lack}): take it from another copy")
    assert isinstance(baseline, dict)
    return baseline


def _lack(baseline: Mapping[str, Any]) -> str:
    """What a reader would stumble over; empty when the file is whole."""
    for name, kind in FIELDS.items():
        if not isinstance(baseline.get(name), kind):
            return f"{name} is not as it should be"
    summaries = {"all": baseline["all"], **baseline["kinds"]}
    for name, summary in summaries.items():
        if not isinstance(summary, dict) or not {"count", "errors", *QUANTILES} <= summary.keys():
            return f"the figures of {name} are not all there"
        if not all(summary[figure] is None or isinstance(summary[figure], int | float) for figure in QUANTILES):
            return f"the figures of {name} are no numbers"
    return ""

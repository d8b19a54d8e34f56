"""What a steady reader saw before, during and after something went wrong, as pure functions on its samples."""

from typing import Any

import numpy as np

from loadtests.recorder import Samples
from loadtests.stats import quantiles

__all__ = ["CALM_MS", "phases", "recovery_seconds"]

CALM_MS = 250.0
"""An answer that takes longer is a sign that the service is not well."""
QUANTILES = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99, "max_ms": 1.0}


def phases(samples: Samples, began_us: int, ended_us: int) -> dict[str, dict[str, Any]]:
    """Sum up the requests that were due before, during and after a fault.

    Args:
        samples: of the steady reader.
        began_us: when the fault began, on the samples' clock.
        ended_us: when it was over.

    Returns:
        For `before`, `during`, `after`: `requests`, `errors` {what: how often}, and of all requests, failed ones too,
        because somebody waited for them: `p50_ms`, `p95_ms`, `p99_ms`, `max_ms` (null without requests).
    """
    starts_us = samples.columns["start_us"]
    return {
        "before": _summary(samples.where(starts_us < began_us)),
        "during": _summary(samples.where((starts_us >= began_us) & (starts_us < ended_us))),
        "after": _summary(samples.where(starts_us >= ended_us)),
    }


def recovery_seconds(samples: Samples, ended_us: int) -> float:
    """How long after the end of a fault the last request ended that failed or was slower than `CALM_MS`; 0 for none."""
    columns = samples.columns
    finished_us = columns["start_us"] + columns["latency_us"].astype(np.int64)
    unwell = (columns["error"] > 0) | (columns["latency_us"] > CALM_MS * 1e3)
    late_us = finished_us[unwell & (finished_us > ended_us)] - ended_us
    return round(float(late_us.max()) / 1e6, 3) if len(late_us) else 0.0


def _summary(samples: Samples) -> dict[str, Any]:
    codes, counts = np.unique(samples.columns["error"], return_counts=True)
    errors = {samples.errors[code]: times for code, times in zip(codes.tolist(), counts.tolist(), strict=True) if code}
    summary: dict[str, Any] = {"requests": len(samples), "errors": errors}
    if not len(samples):
        return summary | dict.fromkeys(QUANTILES)
    values = quantiles(samples.columns["latency_us"], list(QUANTILES.values())) / 1e3
    return summary | {name: round(float(value), 2) for name, value in zip(QUANTILES, values, strict=True)}

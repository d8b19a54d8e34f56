"""`slipway baseline`: what was measured for each deploy, listed, shown, and laid beside another's.

Descriptive only: whether a change means anything is for the gate to say.
"""

import json
from typing import Any, Final

from loadtests.baseline import BaselineError, parse_baseline
from loadtests.conditions import differences
from ops.errors import CheckFailedError, UsageError
from ops.record_store import RecordStore

FILE: Final = "baseline.json"
FIGURES: Final = ("p50_ms", "p95_ms", "p99_ms")
PASSED: Final = "passed"


def baselines(store: RecordStore) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Every deploy's baseline, by the deploy's name, oldest first; and a line for each that cannot be read.

    Raises:
        UnreachableError: the records cannot be reached.
    """
    found, damaged = {}, []
    for deploy in store.deploys():
        content = store.read(deploy, FILE)
        if content is None:
            continue
        try:
            found[deploy] = parse_baseline(content, f"{deploy}/{FILE}")
        except BaselineError as error:
            damaged.append(str(error))
    return found, damaged


def listed(store: RecordStore) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for each deploy with a baseline, oldest first; and a line for each that cannot be read."""
    found, damaged = baselines(store)
    rows = [
        {
            "deploy": deploy,
            "release": baseline["conditions"].get("release"),
            "profile": baseline["profile"],
            "outcome": baseline["outcome"],
            "requests_per_second": baseline["requests_per_second"],
            **{figure: baseline["all"][figure] for figure in FIGURES},
            "fingerprint": baseline["fingerprint"],
        }
        for deploy, baseline in found.items()
    ]
    return rows, damaged


def shown(store: RecordStore, deploy: str | None) -> dict[str, Any]:
    """One deploy's baseline, with the deploy's name; the newest where none is named.

    Raises:
        UsageError: there is none, or the name fits none or several.
        CheckFailedError: it is damaged.
    """
    name = _named(store, deploy) if deploy else _newest(store)
    return {"deploy": name, **_baseline(store, name)}


def compared(store: RecordStore, before: str | None, after: str | None) -> dict[str, Any]:
    """How two deploys' latencies differ, kind by kind; by default the last two that passed, else `before` and the last.

    Returns:
        `before` and `after` (deploys), `fingerprint`, and `kinds`: for each kind and for `all`, each figure's
        `before_ms`, `after_ms`, `change_ms` and `ratio` (None where a figure is missing, or is 0 before).

    Raises:
        UsageError: no two such baselines, or their conditions differ: one line names each differing one.
        CheckFailedError: a run failed or was cut short, or its file is damaged.
    """
    names = [_named(store, name) for name in (before, after) if name]
    if len(names) < 2:
        found, _ = baselines(store)
        passing = [name for name, one in found.items() if one["outcome"] == PASSED and name not in names]
        wanted = 2 - len(names)
        if len(passing) < wanted:
            raise UsageError(f"{store.url} holds too few passing baselines to compare: deploy again with its load")
        names += passing[-wanted:]
    first, second = (_passing(store, name) for name in names)
    if first["fingerprint"] != second["fingerprint"]:
        raise UsageError(f"measured under different conditions, so not compared: {_differing(first, second)}")
    sides = [{"all": one["all"], **one["kinds"]} for one in (first, second)]
    kinds = {kind: _changes(sides[0][kind], sides[1][kind]) for kind in sides[0] if kind in sides[1]}
    return {"before": names[0], "after": names[1], "fingerprint": first["fingerprint"], "kinds": kinds}


def _changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    return {figure: _change(before[figure], after[figure]) for figure in FIGURES}


def _change(before: float | None, after: float | None) -> dict[str, float | None]:
    known = before is not None and after is not None
    return {
        "before_ms": before,
        "after_ms": after,
        "change_ms": round(after - before, 3) if before is not None and after is not None else None,
        "ratio": round(after / before, 3) if known and before and after is not None else None,
    }


def _differing(first: dict[str, Any], second: dict[str, Any]) -> str:
    found = differences(first["conditions"], second["conditions"])
    fields = [f"{name} {json.dumps(a)} against {json.dumps(b)}" for name, (a, b) in found.items()]
    return "; ".join(fields) or "the fingerprints differ, though no condition does: one of the files was changed"


def _passing(store: RecordStore, deploy: str) -> dict[str, Any]:
    baseline = _baseline(store, deploy)
    if baseline["outcome"] != PASSED:
        raise CheckFailedError(
            f"{deploy} must not be compared, its run failed: {'; '.join(map(str, baseline['failures']))}"
        )
    return baseline


def _baseline(store: RecordStore, deploy: str) -> dict[str, Any]:
    content = store.read(deploy, FILE)
    if content is None:
        raise UsageError(f"{deploy} has no baseline: no load was run, or it was cut short")
    try:
        return parse_baseline(content, f"{deploy}/{FILE}")
    except BaselineError as error:
        raise CheckFailedError(str(error)) from error


def _newest(store: RecordStore) -> str:
    found, damaged = baselines(store)
    if not found:
        said = f" ({'; '.join(damaged)})" if damaged else ""
        raise UsageError(f"{store.url} holds no baseline that can be read{said}: deploy with its load")
    return list(found)[-1]


def _named(store: RecordStore, part: str) -> str:
    """The one deploy whose name holds `part`."""
    deploys = store.deploys()
    fitting = [part] if part in deploys else [deploy for deploy in deploys if part in deploy]
    if len(fitting) != 1:
        said = f"fits {len(fitting)} deploys ({', '.join(fitting[:3])}, ...)" if fitting else "fits no deploy"
        raise UsageError(f"{part!r} {said}: slipway baseline list says which there are")
    return fitting[0]

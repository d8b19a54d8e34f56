"""Under which conditions a load run measured: what must be equal before two baselines may be compared."""

import ast
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from loadtests.credentials import Credentials

__all__ = [
    "ConditionsError",
    "differences",
    "fingerprint",
    "machine",
    "observed_conditions",
    "read_conditions",
    "scenario_digest",
]

HERE = Path(__file__).parent
SCENARIO_FILES = tuple(HERE / name for name in ("journeys.py", "locustfile.py"))
LOCK_FILE = HERE.parent / "requirements" / "service.txt"
# They say what was measured and where, not how: two releases of one environment are there to be compared.
NOT_COMPARED = frozenset({"release", "version", "digest", "environment", "deploy", "started_at", "host", "schema"})


class ConditionsError(Exception):
    """The conditions file cannot be used; the message names file and cause in one line."""


def _digest(files: Iterable[Path]) -> str | None:
    """Of the contents; None when one is missing."""
    total = hashlib.sha256()
    for file in files:
        if not file.is_file():
            return None
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:16]


def scenario_digest(files: Iterable[Path] = SCENARIO_FILES) -> str:
    """Names the scenario: equal digests, equal journeys sent in an equal way.

    Only code counts: comments, docstrings and layout change nothing that is sent, and must cost no baseline.
    """
    total = hashlib.sha256()
    for file in files:
        total.update(hashlib.sha256(_code(file.read_bytes()).encode()).digest())
    return total.hexdigest()[:16]


def _code(source: bytes) -> str:
    """What Python makes of the source, without what it does not run: comments, docstrings, layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def machine() -> dict[str, Any]:
    """What this process runs on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu_model": _cpu_model(),
        "python": platform.python_version(),
    }


def observed_conditions(credentials: Credentials) -> dict[str, Any]:
    """What this process can see by itself."""
    return machine() | {
        "dependencies": _digest([LOCK_FILE]),
        "scenario": scenario_digest(),
        "dataset": credentials.dataset,
        "accounts": credentials.accounts,
        "tasks": credentials.tasks,
    }


def read_conditions(path: Path) -> dict[str, Any]:
    """What whoever deployed the service knows of it: release, workers, target, version of PostgreSQL, ...

    Raises:
        ConditionsError: no such file, or no JSON object in it.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ConditionsError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConditionsError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConditionsError(f"{path} does not hold a JSON object")
    return content


def fingerprint(conditions: Mapping[str, Any]) -> str:
    """One word for all conditions that a comparison needs equal."""
    compared = {name: value for name, value in conditions.items() if name not in NOT_COMPARED}
    return hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()[:16]


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The compared conditions that are not equal, by name, each with both values; None where one side has none."""
    left, right = _flat(before), _flat(after)
    return {
        name: (left.get(name), right.get(name))
        for name in sorted(left.keys() | right.keys())
        if left.get(name) != right.get(name)
    }


def _flat(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Compared conditions only; a mapping's own entries under `name.entry`."""
    flat: dict[str, Any] = {}
    for name, value in conditions.items():
        if name in NOT_COMPARED:
            continue
        if isinstance(value, Mapping):
            flat |= {f"{name}.{entry}": inner for entry, inner in value.items()}
        else:
            flat[name] = value
    return flat

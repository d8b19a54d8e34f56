"""What verbs found, as lines for people; `--json` has the same for programs."""

import json
from typing import Any, Final

MARKS: Final = {"ok": "✓", "warning": "!", "failed": "✗", "skipped": "-"}
WINDOWS: Final = ("day", "week", "month")
DAY_SECONDS: Final = 86_400


def doctor_lines(checks: list[dict[str, Any]]) -> list[str]:
    """A line for each check, and its remedy below it."""
    lines = []
    for check in checks:
        lines.append(f"{MARKS[check['state']]} {check['name']:<14}{check['said']}")
        if check["remedy"]:
            lines.append(f"{'':16}→ {check['remedy']}")
    return lines


def config_lines(found: dict[str, Any]) -> list[str]:
    """Each key with its present value, type and default, and what it means below it."""
    lines = []
    for key in found["keys"]:
        value = key["value"] if key["secret"] else _shown(key["value"])
        kind = "secret" if key["secret"] else f"{key['type']}, default {key['default']}"
        lines += [f"{key['name']}{f' = {value}' if value else ''}  [{kind}]", f"    {key['meaning']}"]
    return lines


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def docker_status_lines(state: dict[str, Any]) -> list[str]:
    """Release and schema, the parts, the machines, uptime and alerts, and the last deploy."""
    release = state["release"] or "no answer"
    lines = [f"{state['environment']} ({state['target']}): release {release}, schema {state['schema']}, {state['url']}"]
    for name, part in state["parts"].items():
        lines.append(f"  {name:<18}{_part(part)}")
        if part["trouble"]:
            lines.append(f"  {'':<18}{part['trouble']}")
    if not state["parts"]:
        lines.append("  nothing runs")
    if len(state["nodes"]) > 1:
        lines.append(f"  nodes: {', '.join(f'{name} ({node})' for name, node in state['nodes'].items())}")
    lines += _uptime_lines(state["uptime"])
    if last := state["last_deploy"]:
        reason = f": {last['reason']}" if last["reason"] else ""
        lines.append(f"  last deploy {last['outcome']}{reason} ({last['record']})")
    return lines


def _part(part: dict[str, Any]) -> str:
    since = f", since {part['since']}" if part["since"] else ""
    on = f" on {', '.join(part['nodes'])}" if part["nodes"] else ""
    return f"{part['running']} of {part['wanted']} running{on}{since}"


def _uptime_lines(uptime: dict[str, Any] | None) -> list[str]:
    if uptime is None:
        return []
    if problem := uptime.get("problem"):
        return [f"  uptime unknown: {problem}"]
    ready, observed = uptime["ready_share"], uptime["observed_seconds"]
    shares = [
        f"{window} {ready[window]:.3%} (of {_span(observed.get(window, 0))})" for window in WINDOWS if window in ready
    ]
    lines = [f"  uptime {', '.join(shares)}" if shares else "  uptime: no measurement yet"]
    if (left := uptime["budget_left"]) is not None:
        lines.append(_budget(left))
    if (seconds := uptime["certificate_seconds"]) is not None:
        lines.append(f"  certificate valid for {seconds / DAY_SECONDS:.1f} more days")
    if (age := uptime["backup_age_seconds"]) is not None:
        lines.append(f"  last good backup {_span(age)} ago")
    for alert in uptime["alerts"]:
        lines.append(f"  {alert['state']} alert {alert['name']} since {alert['since'][:19]}Z: {alert['summary']}")
        lines.append(f"    → {alert['remedy']}")
    return lines if uptime["alerts"] else [*lines, "  no open alerts"]


def _budget(left: float) -> str:
    if left < 0:
        return f"  the month's error budget is overspent: {1 - left:.1f} times what the objective allows"
    return f"  {left:.0%} of the month's error budget is left"


def _span(seconds: float) -> str:
    """A length of time in its largest unit."""
    for unit, length in (("days", DAY_SECONDS), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"

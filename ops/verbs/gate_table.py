"""A verdict as a compact table for the terminal."""

from typing import Any, Final

MARKS: Final = {"pass": "✓", "regressed": "✗", "inconclusive": "?"}
HEADING: Final = (
    f"{'':2}{'kind':<18}{'measure':<15}{'current':>10}{'candidate':>11}{'change':>9}{'interval':>19}"
    f"{'allowed':>9}{'detectable':>12}"
)


def lines(content: dict[str, Any]) -> list[str]:
    """A line for each comparison of verdict.json, then what it means."""
    told = [HEADING]
    told += [_row(one) for one in content["comparisons"]]
    if noise := content["noise"]:
        between = ", ".join(f"{measure} {share:.1%}" for measure, share in noise.items())
        told.append(f"two starts of one release differ by (standard deviation): {between}")
    told += ["", f"{content['verdict']} after {content['seconds']:.0f} s and {content['requests']:,} requests"]
    return [*told, *(f"  {reason}" for reason in content["reasons"]), f"  samples and verdict: {content['record']}"]


def _row(one: dict[str, Any]) -> str:
    share = one["unit"] == "share"
    values = [f"{one[side]:.2%}" if share else f"{one[side]:.2f} ms" for side in ("before", "after")]
    interval = f"{_percent(one['low'])} to {_percent(one['high'])}"
    return (
        f"{MARKS[one['verdict']]} {one['kind']:<18}{one['measure']:<15}{values[0]:>10}{values[1]:>11}"
        f"{_percent(one['change']):>9}{interval:>19}{_percent(one['allowed']):>9}{_percent(one['detectable']):>12}"
    )


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{share:+.1%}"

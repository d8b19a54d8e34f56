"""`slipway config`: every key that a stack may have, and what this one says; never a secret."""

from typing import Any

from infra.embedded.layout import Layout
from infra.stack import PROJECT, StackError, keys
from infra.stack import read as check
from ops import stack

SET, UNSET = "set", "not set"


def config(layout: Layout) -> dict[str, Any]:
    """All keys with type, default and meaning, and their present values.

    Returns:
        environment, keys (name, type, default, meaning, secret, value), problem (what the program would refuse, or
        None). The value of a secret is whether it is set; of another key None where the default holds.

    Raises:
        UsageError: the stack's file cannot be read.
    """
    values, secret_names = stack.values(layout)
    try:
        check(values, secret_names, layout.environment)
        problem = None
    except StackError as error:
        problem = str(error)
    shown = [
        {
            "name": key.name,
            "type": key.type,
            "default": key.default,
            "meaning": key.meaning,
            "secret": key.secret,
            "value": _presence(key.name, values) if key.secret else _value(key.name, values),
        }
        for key in keys()
    ]
    return {"environment": layout.environment, "keys": shown, "problem": problem}


def _presence(name: str, values: dict[str, Any]) -> str:
    return SET if name.removeprefix(f"{PROJECT}:") in values else UNSET


def _value(name: str, values: dict[str, Any]) -> Any:
    """The value at `slipway:section.key`; None where nothing stands there."""
    found: Any = values
    for word in name.removeprefix(f"{PROJECT}:").split("."):
        if not isinstance(found, dict) or word not in found:
            return None
        found = found[word]
    return found

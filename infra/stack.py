"""An environment's configuration, typed and checked: what stands in Pulumi.<environment>.yaml, and what may.

`read` is pure: no engine, no files. Whatever is wrong becomes one line that names the key and the choices, and fails
the preview.
"""

import difflib
import json
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from infra.managed_database import managed_database
from infra.stack_budget import Budget, connection_budget
from infra.stack_keys import (
    KINDS,
    PROJECT,
    SECRETS,
    Api,
    Backups,
    Cache,
    Database,
    Docker,
    Edge,
    Images,
    Kind,
    Mail,
    Network,
    Secret,
    Stack,
    Uptime,
)
from infra.stack_rules import broken_rules

__all__ = [
    "KINDS",
    "PROJECT",
    "SECRETS",
    "Api",
    "Backups",
    "Budget",
    "Cache",
    "Database",
    "Docker",
    "Edge",
    "Images",
    "Key",
    "Kind",
    "Mail",
    "Network",
    "Secret",
    "Stack",
    "StackError",
    "Uptime",
    "connection_budget",
    "keys",
    "read",
]

_PASSWORD = re.compile(r"[A-Za-z0-9_-]{16,}")
_NO_DEFAULT: Final = "(required)"


class StackError(Exception):
    """The stack's configuration cannot be used; one line with the key, what is wrong and what may stand there."""


def read(config: Mapping[str, Any], secret_names: AbstractSet[str], environment: str) -> Stack:
    """Check a stack's configuration and make it one object.

    Args:
        config: by key without `slipway:`, as Pulumi hands it over: text, or a section as a mapping or its JSON.
            Secrets are only checked, and in no message; one may be empty where its value is not known.
        secret_names: the keys that are encrypted.
        environment: the stack's name.

    Raises:
        StackError: a key is unknown, missing, of the wrong type or impossible beside another.
    """
    _refuse_unknown(config)
    for key in SECRETS.keys() & config.keys():
        if key not in secret_names:
            raise StackError(
                f"{PROJECT}:{key} stands in the clear: set it with "
                f"`pulumi config set --stack {environment} --secret {PROJECT}:{key}`"
            )
    for key in sorted(secret_names & config.keys() - SECRETS.keys()):
        raise StackError(f"{PROJECT}:{key} is encrypted but no secret: the secrets are {', '.join(SECRETS)}")
    _check_secrets(config)
    values = {key: _parsed(key, value) for key, value in config.items() if key not in SECRETS}
    values.setdefault("kind", environment if environment in KINDS else None)
    if values["kind"] is None:
        raise StackError(
            f"{PROJECT}:kind is not set, and {environment} is no kind by itself: choose one of {', '.join(KINDS)}"
        )
    try:
        stack = Stack.model_validate({**values, "environment": environment, "secrets": SECRETS.keys() & config.keys()})
    except ValidationError as error:
        raise StackError("; ".join(_line(detail) for detail in error.errors(include_url=False))) from None
    if broken := broken_rules(stack):
        raise StackError("; ".join(f"{PROJECT}:{line}" for line in broken))
    return stack


def _refuse_unknown(config: Mapping[str, Any]) -> None:
    known = sorted({_alias(Stack, name) for name in Stack.model_fields} - {"environment", "secrets"} | SECRETS.keys())
    for key in sorted(config.keys() - set(known)):
        raise StackError(f"{PROJECT}:{key} is unknown{_nearest(key, known)}; the keys are {', '.join(known)}")


def _check_secrets(config: Mapping[str, Any]) -> None:
    for key in SECRETS.keys() & config.keys():
        value = str(config[key])
        if not value:
            continue
        if SECRETS[key].password and not _PASSWORD.fullmatch(value):
            raise StackError(f"{PROJECT}:{key} must be 16 or more of A-Z, a-z, 0-9, _ and -: choose another")
        if key == "databaseUrl":
            try:
                managed_database(value)
            except ValueError as error:
                raise StackError(f"{PROJECT}:{key} {error}") from None


def _nearest(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f": did you mean {near[0]}?" if near else ""


def _parsed(key: str, value: Any) -> Any:
    """A section as a mapping; whatever is not one is left for the check of its type."""
    field = next(field for name, field in Stack.model_fields.items() if _alias(Stack, name) == key)
    if not isinstance(value, str) or not _is_section(field.annotation):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _line(detail: ErrorDetails) -> str:
    """One error of the model as `slipway:section.key ...`; a section's name is a key of the model, too."""
    path = ".".join(str(part) for part in detail["loc"])
    where = f"{PROJECT}:{path}" if path else "the configuration"
    section = _section_of(detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = sorted(_alias(section, name) for name in section.model_fields)
        return f"{where} is unknown{_nearest(str(detail['loc'][-1]), known)}; its section has {', '.join(known)}"
    if detail["type"] == "missing":
        return f"{where} is not set: {_meaning(section, str(detail['loc'][-1]))}"
    if detail["type"] in {"model_type", "model_attributes_type"}:
        inside = _section_of((*detail["loc"], ""))
        inner = sorted(_alias(inside, name) for name in inside.model_fields)
        return f"{where} must be a section with {', '.join(inner)}, not {detail['input']!r}"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where}: {message[0].lower()}{message[1:]}, not {detail['input']!r}"


def _section_of(path: tuple[str | int, ...]) -> type[BaseModel]:
    """The model whose key stands last in this path."""
    section: type[BaseModel] = Stack
    for part in path[:-1]:
        field = next((f for name, f in section.model_fields.items() if _alias(section, name) == part), None)
        if field is None or not _is_section(field.annotation):
            break
        assert isinstance(field.annotation, type)
        section = field.annotation
    return section


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _alias(model: type[BaseModel], name: str) -> str:
    return model.model_fields[name].alias or name


def _meaning(model: type[BaseModel], alias: str) -> str:
    found = (field.description for name, field in model.model_fields.items() if _alias(model, name) == alias)
    return next(found, None) or "it has no default"


@dataclass(frozen=True)
class Key:
    """One key of the configuration, as documented.

    Args:
        name: with the project before it: `slipway:api.replicas`.
        type: its type, in words.
        default: as it would stand in the file; `(required)` where there is none.
        meaning: one line.
        secret: whether it is encrypted in the file.
    """

    name: str
    type: str
    default: str
    meaning: str
    secret: bool


def keys() -> tuple[Key, ...]:
    """Every key there is, sections in the file's order, secrets last."""
    plain = tuple(_keys_of(Stack, PROJECT + ":"))
    secret = tuple(
        Key(f"{PROJECT}:{name}", "text", _NO_DEFAULT if secret.required else "(none)", secret.meaning, secret=True)
        for name, secret in SECRETS.items()
    )
    return plain + secret


def _keys_of(model: type[BaseModel], prefix: str) -> list[Key]:
    found: list[Key] = []
    for name, field in model.model_fields.items():
        if model is Stack and name in {"environment", "secrets"}:
            continue
        path = prefix + _alias(model, name)
        if _is_section(field.annotation):
            assert isinstance(field.annotation, type)
            found += _keys_of(field.annotation, path + ".")
        else:
            required = "(the stack's name)" if path == f"{PROJECT}:kind" else _NO_DEFAULT
            default = required if field.is_required() else _shown(field.get_default(call_default_factory=True))
            found.append(Key(path, _type(field.annotation), default, field.description or "", secret=False))
    return found


def _shown(value: Any) -> str:
    if value is None:
        return "(none)"
    return json.dumps(value) if isinstance(value, bool | dict) else str(value)


def _type(annotation: Any) -> str:
    words = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    if annotation in words:
        return words[annotation]
    if get_origin(annotation) is dict:
        return "names and texts"
    choices = [part for part in get_args(annotation) if part is not type(None)]
    if all(isinstance(choice, str) for choice in choices):
        return " or ".join(choices)
    return " or ".join(_type(choice) for choice in choices)

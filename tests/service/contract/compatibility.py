"""Which changes of an OpenAPI document would break a client that was written for the older one; pure.

One question answers both directions: can there be a value of one schema that does not fit another? What a client may
send by the old document must fit the new one; what the service may answer by the new document must fit the old one,
and no field of an answer may go. An enumeration in an answer may grow: clients are told so.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

Schema = Mapping[str, Any]
_METHODS = ("get", "put", "post", "delete", "patch")
_UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_EXACT = ("pattern", "format", "multipleOf", "uniqueItems", "contentMediaType", "allOf", "not")


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Say what a client of `old` could trip over in `new`, one line each; empty if nothing.

    Args:
        old: the OpenAPI document that clients were written for.
        new: the one that shall take its place.
    """
    return sorted({f"{name}: {change}" for name, change in _changes(old, new)})


def may_break(old: Schema, new: Schema) -> bool:
    """Whether the version of `new` says that it breaks with `old`: its major part is higher."""
    old_major, new_major = (int(document["info"]["version"].split(".")[0]) for document in (old, new))
    return new_major > old_major


def _changes(old: Schema, new: Schema) -> Iterator[tuple[str, str]]:
    for path, item in old["paths"].items():
        for method in _METHODS:
            if method not in item:
                continue
            name = f"{method.upper()} {path}"
            after = new["paths"].get(path, {}).get(method)
            if after is None:
                yield name, "is gone"
                continue
            requests, answers = _Fit(old, new), _Fit(new, old, answers=True)
            for compare in (_operation, _parameters, _body, _responses):
                for change in compare(item[method], after, requests, answers):
                    yield name, change


def _operation(before: Schema, after: Schema, *_: "_Fit") -> Iterator[str]:
    if before.get("operationId") != after.get("operationId"):
        yield f"its operation id was {before.get('operationId')} and is {after.get('operationId')}"
    if after.get("security") and not before.get("security"):
        yield "it asks for authentication now"


def _parameters(before: Schema, after: Schema, requests: "_Fit", _: "_Fit") -> Iterator[str]:
    earlier, later = (
        {(one["in"], one["name"]): one for one in (read(entry) for entry in operation.get("parameters", ()))}
        for read, operation in ((requests.of_inner, before), (requests.of_outer, after))
    )
    for key, one in later.items():
        if one.get("required") and not earlier.get(key, {}).get("required"):
            yield f"{' '.join(key)} is required now"
    for key, one in earlier.items():
        if key not in later:
            yield f"{' '.join(key)} is gone"
        else:
            yield from requests.misfits(one.get("schema", {}), later[key].get("schema", {}), " ".join(key))


def _body(before: Schema, after: Schema, requests: "_Fit", _: "_Fit") -> Iterator[str]:
    body = requests.of_outer(after.get("requestBody", {}))
    earlier = requests.of_inner(before.get("requestBody", {}))
    if body.get("required") and not earlier.get("required"):
        yield "its body is required now"
    for media_type, content in earlier.get("content", {}).items():
        if media_type not in body.get("content", {}):
            yield f"it takes no {media_type} any more"
        else:
            yield from requests.misfits(
                content.get("schema", {}), body["content"][media_type].get("schema", {}), "body"
            )


def _responses(before: Schema, after: Schema, _: "_Fit", answers: "_Fit") -> Iterator[str]:
    for status, entry in before.get("responses", {}).items():
        if not status.startswith(("2", "3")):
            continue  # which refusals are possible may change; their form is one for all
        earlier, later = answers.of_outer(entry), answers.of_inner(after.get("responses", {}).get(status, {}))
        if not later:
            yield f"it does not answer {status} any more"
            continue
        for header in earlier.get("headers", {}):
            if header not in later.get("headers", {}):
                yield f"{status} has no header {header} any more"
        for media_type, content in earlier.get("content", {}).items():
            if media_type not in later.get("content", {}):
                yield f"{status} has no {media_type} any more"
            else:
                schema = later["content"][media_type].get("schema", {})
                yield from answers.misfits(schema, content.get("schema", {}), status)


@dataclass(frozen=True)
class _Fit:
    """Compares schemas of one document with schemas of another.

    Args:
        inner_document: what the schemas of values belong to.
        outer_document: what the schemas that they should fit belong to.
        answers: whether a service answers with the values, so that fields must stay and enumerations may grow.
    """

    inner_document: Schema
    outer_document: Schema
    answers: bool = False
    seen: frozenset[tuple[int, int]] = frozenset()

    def of_inner(self, schema: Schema) -> Schema:
        return _resolved(self.inner_document, schema)

    def of_outer(self, schema: Schema) -> Schema:
        return _resolved(self.outer_document, schema)

    def misfits(self, inner: Schema, outer: Schema, where: str) -> Iterator[str]:
        """Why a value of `inner` might not fit `outer`."""
        choices = _choices(outer, self.of_outer)
        for value in _choices(inner, self.of_inner):
            # A value fits if any of the choices takes it; if none does, the nearest one tells why.
            yield from min((self._of_one(value, choice, where) for choice in choices), key=len)

    def _of_one(self, inner: Schema, outer: Schema, where: str) -> list[str]:
        pair = (id(inner), id(outer))  # a schema may hold itself
        if not outer or pair in self.seen:
            return []
        return [*replace(self, seen=self.seen | {pair})._of_values(inner, outer, where)]

    def _of_values(self, inner: Schema, outer: Schema, where: str) -> Iterator[str]:
        if more := _types(inner) - _types(outer):
            yield (
                f"{where} may be {_listed(more)} now"
                if self.answers
                else f"{where} may not be {_listed(more)} any more"
            )
            return
        yield from self._enumerations(inner, outer, where)
        yield from self._bounds(inner, outer, where)
        if "object" in _types(inner):
            yield from self._fields(inner, outer, where)
        if "items" in outer:
            yield from self.misfits(inner.get("items", {}), outer["items"], f"{where}[]")

    def _enumerations(self, inner: Schema, outer: Schema, where: str) -> Iterator[str]:
        known, possible = _enumeration(outer), _enumeration(inner)
        if known is None:
            return
        if possible is None:
            yield f"{where} may be anything now" if self.answers else f"{where} may only be {_listed(known)} now"
        elif possible - known and not self.answers:
            yield f"{where} may not be {_listed(possible - known)} any more"

    def _bounds(self, inner: Schema, outer: Schema, where: str) -> Iterator[str]:
        tighter = [
            *(key for key in _UPPER_BOUNDS if key in outer and inner.get(key, math.inf) > outer[key]),
            *(key for key in _LOWER_BOUNDS if key in outer and inner.get(key, -math.inf) < outer[key]),
            *(key for key in _EXACT if outer.get(key) and inner.get(key) != outer[key]),
        ]
        for key in tighter:
            before, after = (outer, inner) if self.answers else (inner, outer)
            yield f"{where} had {key} {before.get(key, 'unset')} and has {after.get(key, 'unset')}"

    def _fields(self, inner: Schema, outer: Schema, where: str) -> Iterator[str]:
        for name in sorted(set(outer.get("required", ())) - set(inner.get("required", ()))):
            yield f"{where}.{name} may be missing now" if self.answers else f"{where}.{name} is required now"
        mine, others = inner.get("properties", {}), outer.get("properties", {})
        if self.answers:
            for name in sorted(others.keys() - mine.keys()):
                yield f"{where}.{name} is gone"
        more, rest = outer.get("additionalProperties", True), inner.get("additionalProperties", True)
        for name, schema in mine.items():
            if name in others:
                yield from self.misfits(schema, others[name], f"{where}.{name}")
            elif more is False:
                yield f"{where}.{name} is gone"
            elif more is not True:
                yield from self.misfits(schema, more, f"{where}.{name}")
        if more is False and rest is not False:
            yield f"{where} may not have other fields any more"
        elif isinstance(rest, Mapping) and isinstance(more, Mapping):
            yield from self.misfits(rest, more, f"{where}.*")


def _resolved(document: Schema, schema: Schema) -> Schema:
    while "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def _choices(schema: Schema, resolve: Callable[[Schema], Schema]) -> list[Schema]:
    """The alternatives of a schema, flat; types that are listed are alternatives too."""
    schema = resolve(schema)
    listed = schema.get("anyOf") or schema.get("oneOf")
    if listed:
        return [choice for entry in listed for choice in _choices(entry, resolve)]
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": one} for one in schema["type"]]
    return [schema]


def _types(schema: Schema) -> set[str]:
    every = {"null", "boolean", "number", "string", "array", "object"}
    if "type" in schema:
        return {"integer", "number"} if schema["type"] == "number" else {schema["type"]}
    return {"object"} if "properties" in schema else every | {"integer"}


def _enumeration(schema: Schema) -> set[str] | None:
    if "const" in schema:
        return {json.dumps(schema["const"])}
    return {json.dumps(value) for value in schema["enum"]} if "enum" in schema else None


def _listed(values: set[str]) -> str:
    return "anything else" if len(values) > 3 else " or ".join(sorted(values))

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.service.contract.compatibility import breaking_changes, may_break

Document = dict[str, Any]

OLD: Document = {
    "info": {"version": "1.4.0"},
    "paths": {
        "/tasks": {
            "post": {
                "operationId": "create_task",
                "parameters": [
                    {"in": "header", "name": "Idempotency-Key", "schema": {"type": "string", "maxLength": 50}},
                    {"in": "query", "name": "sort", "schema": {"$ref": "#/components/schemas/Sort"}},
                ],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewTask"}}}},
                "responses": {
                    "201": {
                        "headers": {"ETag": {"schema": {"type": "string"}}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Task"}}},
                    },
                    "422": {"content": {"application/problem+json": {"schema": {}}}},
                },
            }
        },
    },
    "components": {
        "schemas": {
            "Sort": {"type": "string", "enum": ["title", "due_at"]},
            "NewTask": {
                "type": "object",
                "additionalProperties": False,
                "required": ["title"],
                "properties": {
                    "title": {"type": "string", "maxLength": 200},
                    "due_at": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
                    "rank": {"type": "number", "minimum": 0},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
            },
            "Task": {
                "type": "object",
                "required": ["title", "state"],
                "properties": {
                    "title": {"type": "string"},
                    "state": {"type": "string", "enum": ["todo", "done"]},
                    "parent": {"anyOf": [{"$ref": "#/components/schemas/Task"}, {"type": "null"}]},
                    "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
                },
            },
        }
    },
}


def operation(document: Document) -> Document:
    found: Document = document["paths"]["/tasks"]["post"]
    return found


def schema(document: Document, name: str) -> Document:
    found: Document = document["components"]["schemas"][name]
    return found


def changed(change: Callable[[Document], Any]) -> list[str]:
    new = copy.deepcopy(OLD)
    change(new)
    return breaking_changes(OLD, new)


def test_the_same_document_breaks_nothing() -> None:
    assert breaking_changes(OLD, OLD) == []


BREAKING: dict[str, Callable[[Document], Any]] = {
    "is gone": lambda new: new["paths"].clear(),
    "its operation id was create_task and is add_task": lambda new: operation(new).update(operationId="add_task"),
    "it asks for authentication now": lambda new: operation(new).update(security=[{"account": []}]),
    "query sort is gone": lambda new: operation(new)["parameters"].pop(),
    "query sort is required now": lambda new: operation(new)["parameters"][1].update(required=True),
    "header If-Match is required now": lambda new: operation(new)["parameters"].append(
        {"in": "header", "name": "If-Match", "required": True, "schema": {"type": "string"}}
    ),
    'query sort may not be "title" any more': lambda new: schema(new, "Sort").update(enum=["due_at"]),
    "header Idempotency-Key had maxLength 50 and has 20": lambda new: operation(new)["parameters"][0]["schema"].update(
        maxLength=20
    ),
    "its body is required now": lambda new: operation(new)["requestBody"].update(required=True),
    "it takes no application/json any more": lambda new: operation(new)["requestBody"]["content"].clear(),
    "body.rank is required now": lambda new: schema(new, "NewTask")["required"].append("rank"),
    "body.tags is gone": lambda new: schema(new, "NewTask")["properties"].pop("tags"),
    "body.rank may not be number any more": lambda new: schema(new, "NewTask")["properties"].update(
        rank={"type": "integer"}
    ),
    "body.rank had minimum 0 and has 1": lambda new: schema(new, "NewTask")["properties"]["rank"].update(minimum=1),
    "body.rank had exclusiveMinimum unset and has 0": lambda new: schema(new, "NewTask")["properties"]["rank"].update(
        exclusiveMinimum=0
    ),
    "body.title had minLength unset and has 3": lambda new: schema(new, "NewTask")["properties"]["title"].update(
        minLength=3
    ),
    "body.title had pattern unset and has ^x": lambda new: schema(new, "NewTask")["properties"]["title"].update(
        pattern="^x"
    ),
    'body.title may only be "a" now': lambda new: schema(new, "NewTask")["properties"]["title"].update(const="a"),
    "201.state may be anything now": lambda new: schema(new, "Task")["properties"]["state"].pop("enum"),
    "body.due_at may not be null any more": lambda new: schema(new, "NewTask")["properties"]["due_at"]["anyOf"].pop(),
    "body.tags[] may not be string any more": lambda new: schema(new, "NewTask")["properties"]["tags"]["items"].update(
        type="integer"
    ),
    "it does not answer 201 any more": lambda new: operation(new)["responses"].pop("201"),
    "201 has no header ETag any more": lambda new: operation(new)["responses"]["201"]["headers"].clear(),
    "201 has no application/json any more": lambda new: operation(new)["responses"]["201"]["content"].clear(),
    "201.title may be missing now": lambda new: schema(new, "Task")["required"].remove("title"),
    "201.parent is gone": lambda new: schema(new, "Task")["properties"].pop("parent"),
    "201.title may be null now": lambda new: schema(new, "Task")["properties"].update(
        title={"type": ["string", "null"]}
    ),
    "201.counts.* may be string now": lambda new: schema(new, "Task")["properties"]["counts"][
        "additionalProperties"
    ].update(type="string"),
    "201.title may be anything else now": lambda new: schema(new, "Task")["properties"].update(title={}),
}


@pytest.mark.parametrize("line", BREAKING)
def test_a_breaking_change_is_named(line: str) -> None:
    assert f"POST /tasks: {line}" in changed(BREAKING[line])


HARMLESS: dict[str, Callable[[Document], Any]] = {
    "a new path": lambda new: new["paths"].update({"/more": {"get": {"operationId": "more", "responses": {}}}}),
    "a new method": lambda new: new["paths"]["/tasks"].update(get={"operationId": "list", "responses": {}}),
    "a new optional parameter": lambda new: operation(new)["parameters"].append(
        {"in": "query", "name": "q", "schema": {"type": "string"}}
    ),
    "a new value for a request": lambda new: schema(new, "Sort")["enum"].append("created_at"),
    "a new value in an answer": lambda new: schema(new, "Task")["properties"]["state"]["enum"].append("dropped"),
    "a new optional field in a request": lambda new: schema(new, "NewTask")["properties"].update(x={"type": "string"}),
    "a field of a request that may stay out": lambda new: schema(new, "NewTask").update(required=[]),
    "a new field in an answer": lambda new: schema(new, "Task")["properties"].update(x={"type": "string"}),
    "a wider bound": lambda new: schema(new, "NewTask")["properties"]["title"].update(maxLength=300),
    "a wider type": lambda new: schema(new, "NewTask")["properties"]["title"].update(type=["string", "null"]),
    "a request that takes anything": lambda new: schema(new, "NewTask")["properties"].update(title={}),
    "an open request": lambda new: schema(new, "NewTask").pop("additionalProperties"),
    "a refusal more": lambda new: operation(new)["responses"].update({"409": {}}),
    "a refusal less": lambda new: operation(new)["responses"].pop("422"),
    "other words": lambda new: operation(new).update(description="other words"),
    "a field that is always there now": lambda new: schema(new, "Task")["required"].append("counts"),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_helps_a_client_breaks_nothing(what: str) -> None:
    assert changed(HARMLESS[what]) == []


def test_a_schema_that_moves_into_a_component_breaks_nothing() -> None:
    def move(new: Document) -> None:
        new["components"]["schemas"]["Title"] = schema(new, "NewTask")["properties"]["title"]
        schema(new, "NewTask")["properties"]["title"] = {"$ref": "#/components/schemas/Title"}

    assert changed(move) == []


@pytest.mark.parametrize(("old", "new", "may"), [("1.4.0", "1.5.0", False), ("1.4.0", "2.0.0", True)])
def test_only_a_higher_major_version_may_break(old: str, new: str, may: object) -> None:
    assert may_break({"info": {"version": old}}, {"info": {"version": new}}) is may

"""The OpenAPI document: the file says what the service does, whole and in valid form, and breaks no promise."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from fastapi.routing import APIRoute
from schemathesis.specs.openapi.definitions import OPENAPI_31

from service.http import examples
from service.http.documentation import TAGS, operations
from tests.service.contract import openapi
from tests.service.contract.calls import resolved

Document = dict[str, Any]
SERVED = openapi.served()
OPERATIONS = {operation["operationId"]: (path, method, operation) for path, method, operation in operations(SERVED)}


def test_the_file_is_the_document_of_the_source() -> None:
    assert openapi.read(openapi.CURRENT) == SERVED, "run `make openapi` and look at what changed"


def test_nothing_that_was_promised_is_broken() -> None:
    broken = openapi.broken(openapi.read(openapi.RELEASED), SERVED)
    assert not broken, "\n".join(["mend it, or raise the major part of service.http.documentation.VERSION:", *broken])


def test_the_document_is_valid_by_openapi_s_own_schema() -> None:
    # Without formats: the schema calls the URLs of a token flow absolute, where the text lets them be relative.
    validator = jsonschema_rs.Draft202012Validator(OPENAPI_31, validate_formats=False)
    assert [str(error) for error in validator.iter_errors(SERVED)] == []


def test_operation_ids_are_the_functions_names_and_unique() -> None:
    routes = [route for route in openapi.application().routes if isinstance(route, APIRoute)]
    names = [route.name for route in routes if route.include_in_schema]
    assert sorted(OPERATIONS) == sorted(names)


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_an_operation_is_described_whole(operation_id: str) -> None:
    path, _, operation = OPERATIONS[operation_id]
    assert operation["summary"]
    assert len(operation["tags"]) == 1
    assert operation["tags"][0] in TAGS
    assert {"400", "413", "500", "503"} <= operation["responses"].keys()
    if operation.get("security"):
        assert {"401", "429"} <= operation["responses"].keys()
    if "{" in path:
        assert "404" in operation["responses"], "declare responses=problems(NotFoundError)"
    for status, entry in operation["responses"].items():
        response = resolved(entry)
        assert "X-Request-ID" in response["headers"]
        if status >= "400":
            problem = response["content"]["application/problem+json"]
            assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert all(example["value"]["status"] == int(status) for example in problem["examples"].values())
        elif status not in {"202", "204", "304"}:
            schemas = [content.get("schema") for content in response["content"].values()]
            assert all(schemas), f"{status} has no schema: declare response_model"


def referenced(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from referenced(child)
    elif isinstance(node, list):
        for child in node:
            yield from referenced(child)


def test_every_component_is_referred_to_and_every_reference_leads_somewhere() -> None:
    components = {f"#/components/{kind}/{name}" for kind, named in SERVED["components"].items() for name in named}
    schemes = {reference for reference in components if "/securitySchemes/" in reference}
    assert set(referenced(SERVED)) == components - schemes


def bodies() -> Iterator[tuple[str, Document]]:
    """Every schema that a body has, by a name."""
    for operation_id, (_, _, operation) in OPERATIONS.items():
        parts = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for name, part in parts.items():
            for media_type, content in resolved(part).get("content", {}).items():
                if "json" in media_type or name == "request":
                    yield f"{operation_id} {name}", content


@pytest.mark.parametrize(("name", "content"), [*bodies()])
def test_every_body_has_examples_and_they_are_valid(name: str, content: Document) -> None:
    whole = {**content["schema"], "components": SERVED["components"]}
    examples = [example["value"] for example in content.get("examples", {}).values()]
    if "$ref" in content["schema"]:
        examples += SERVED["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]].get("examples", [])
    examples += content["schema"].get("examples", [])
    assert examples, f"{name} has no example: add one to service/http/examples.py"
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    for example in examples:
        validator.validate(example)


def test_every_example_is_of_something() -> None:
    assert examples.SCHEMAS.keys() <= SERVED["components"]["schemas"].keys()
    parameters = {one["name"] for _, _, operation in OPERATIONS.values() for one in operation.get("parameters", ())}
    assert examples.PARAMETERS.keys() <= parameters


def test_every_parameter_has_a_schema_that_bounds_it() -> None:
    unbounded = [
        f"{operation_id} {parameter['name']}"
        for operation_id, (_, _, operation) in OPERATIONS.items()
        for parameter in operation.get("parameters", ())
        # What is only compared needs no bound of its own: all headers together have one.
        if parameter["name"] != "If-None-Match" and not is_bounded(parameter["schema"])
    ]
    assert unbounded == []


def is_bounded(schema: Document) -> bool:
    if "$ref" in schema:
        return is_bounded(SERVED["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return all(is_bounded(choice) for choice in schema["anyOf"])
    if schema.get("type") == "array":
        return is_bounded(schema["items"])
    bounds = {"enum", "const", "maxLength", "maximum", "format"}
    return schema.get("type") in {"boolean", "null"} or bool(bounds & schema.keys())


def test_the_tool_writes_the_file_and_refuses_a_promise_that_breaks(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(openapi, "CURRENT", tmp_path / "current.json")
    monkeypatch.setattr(openapi, "RELEASED", tmp_path / "released.json")
    assert openapi.main(["--released"]) == 0
    assert openapi.read(openapi.CURRENT) == openapi.read(openapi.RELEASED) == SERVED
    promised = json.loads(openapi.RELEASED.read_text())
    promised["paths"]["/gone"] = promised["paths"]["/version"]
    openapi.RELEASED.write_text(openapi.written(promised))
    assert openapi.main(["--released"]) == 1
    assert "GET /gone: is gone" in capsys.readouterr().out
    assert openapi.read(openapi.RELEASED) == promised
    monkeypatch.setattr(openapi, "served", lambda: {**SERVED, "info": {**SERVED["info"], "version": "2.0.0"}})
    assert openapi.main(["--released"]) == 0

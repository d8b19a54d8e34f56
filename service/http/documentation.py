"""The OpenAPI document: what FastAPI reads off the routes, and what holds for all of them without standing at each.

A route declares what is special to it: its parameters, its answer's model, its own errors. Here every operation gets
its function's name as its id, the errors that any request can meet, the headers of every answer, and its schemas get
their examples (examples.py). docs/openapi.json is this document; a test holds the two together.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeAlias

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.errors import (
    BodyTooLargeError,
    ExpectationFailedError,
    HeadersTooLargeError,
    InvalidInputError,
    MalformedHeaderError,
    MalformedRequestError,
    ProblemError,
    RequestTimeoutError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
    UnknownTransferCodingError,
    UnsupportedMediaTypeError,
    UrlTooLongError,
)
from service.http import examples
from service.http.problems import PROBLEM_JSON, problems
from service.http.routing import Route

VERSION = "1.0.0"
"""The version of what is promised here, not of a release. Its major part stands in every path; a breaking change raises
it (`make openapi` refuses one that does not)."""

DESCRIPTION = """
Tasks in categories, for whoever has an account.

* **Errors** are `application/problem+json` (RFC 9457) with a stable `type`, the request's id and, for what breaks a
  rule, the fields at fault.
* **Bodies** are UTF-8 and not compressed. Each operation says how long its body may be.
* **Times** are RFC 3339: send any offset, get UTC. Fields and query parameters that are not known here are refused.
* **Pages**: pass `next_cursor` back as `cursor`, with the same filters and the same `sort`, until it is null. Rows that
  come and go meanwhile neither repeat nor hide others.
* **No lost update**: what can change has an `ETag`. Send it in `If-Match` with a change, and the change is refused with
  412 if somebody was faster; send it in `If-None-Match` with a GET, and get 304 without a body while nothing changed.
* **Safe retries**: a POST that creates takes an `Idempotency-Key`; sent again with the same one, it answers as it did
  the first time and creates nothing more.
* **Limits**: `RateLimit-*` says how much of an account's quota is left; a 429 says in `Retry-After` when to come back.
* Enumerations in answers may get new values, and objects new fields, without a new major version.
"""

TAGS = {
    "auth": "Get an account, log in and out, see where you are logged in, get a lost password back.",
    "me": "The account that the token speaks for.",
    "tasks": "What there is to do.",
    "categories": "Names under which tasks are grouped.",
    "operations": "For load balancers, monitoring and people who run the service; without a token.",
}

Document: TypeAlias = dict[str, Any]

_HEADERS: Document = {
    "X-Request-ID": {
        "description": "the request's id: as sent, if it was well-formed, or made here",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "ETag": {"description": "the version of what is answered", "schema": {"type": "string"}},
    "Location": {"description": "where the new thing is", "schema": {"type": "string", "format": "uri-reference"}},
    "RateLimit-Limit": {"description": "requests in a window", "schema": {"type": "integer"}},
    "RateLimit-Remaining": {"description": "requests left in this window", "schema": {"type": "integer"}},
    "RateLimit-Reset": {"description": "seconds until the next window", "schema": {"type": "integer"}},
    "Retry-After": {"description": "seconds to wait", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "RFC 6750", "schema": {"type": "string"}},
}
_ANYWHERE: list[type[ProblemError]] = [
    MalformedRequestError,
    RequestTimeoutError,
    BodyTooLargeError,
    UrlTooLongError,
    ExpectationFailedError,
    HeadersTooLargeError,
    ProblemError,
    UnknownTransferCodingError,
    UnavailableError,
]
"""What any request can be refused with."""
_UNCONDITIONAL = {"export_me", "list_sessions"}
"""What is got with a token, and has no ETag."""
_UNCOUNTED = {"400", "408", "413", "414", "417", "431", "501"}
"""Refused before anybody looks who asks."""
_RATE_LIMITS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
_IF_NONE_MATCH: Document = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "ETag that the client has; while it is the newest, the answer is 304 without a body",
    "schema": {"type": "string"},
}
_PROBLEM_SCHEMA: Document = {
    "title": "Problem",
    "description": "Why the answer is not the one you hoped for (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "which kind of problem: stable"},
        "title": {"type": "string", "description": "the status in words"},
        "status": {"type": "integer", "description": "the HTTP status"},
        "detail": {"type": "string", "description": "what happened and what to do, for a person"},
        "request_id": {"type": "string", "description": "quote it when you ask for help"},
        "errors": {
            "type": "array",
            "description": "the fields at fault",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {
                    "field": {"type": "string", "description": "where, as a path with dots"},
                    "message": {"type": "string", "description": "what is wrong there, for a person"},
                },
            },
        },
    },
}


def document(app: FastAPI) -> Document:
    """Make the OpenAPI document of an application; takes a tenth of a second, so keep it."""
    made = get_openapi(
        title=app.title,
        version=VERSION,
        description=DESCRIPTION.strip(),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
    )
    routes = {
        (route.path_format, method.lower()): route
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
    }
    schemas = made["components"]["schemas"]
    for path, method, operation in operations(made):
        route = routes[path, method]
        operation["operationId"] = route.name
        if "requestBody" in operation:
            longest = min(route.body_limit_bytes, app.state.settings.body_limit_bytes)
            operation["requestBody"]["description"] = f"at most {longest} bytes"
        operation["tags"] = operation["tags"][-1:]  # a route's own word comes after its router's
        operation["summary"] = operation.get("description", "").partition("\n")[0].rstrip(".")
        _name_form(operation, schemas)
        _add_errors(path, operation)
        _add_conditions(method, operation, schemas)
        for parameter in operation.get("parameters", ()):
            if parameter["name"] in examples.PARAMETERS:
                parameter["example"] = examples.PARAMETERS[parameter["name"]]
        _add_headers(path, operation)
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["Problem"] = _PROBLEM_SCHEMA
    for name in schemas.keys() & examples.SCHEMAS.keys():
        schemas[name]["examples"] = [examples.SCHEMAS[name]]
    made["components"]["headers"] = _HEADERS
    made["components"]["responses"] = _shared(made)
    return made


def operations(made: Document) -> Iterator[tuple[str, str, Document]]:
    """Walk a document: path, method in lower case, operation."""
    for path, item in made["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def _shared(made: Document) -> Document:
    """Put each status's most common error in one place; returns what is there."""
    errors: dict[str, Counter[str]] = {}
    for _, _, operation in operations(made):
        for status, response in operation["responses"].items():
            if status >= "400":
                errors.setdefault(status, Counter())[json.dumps(response)] += 1
    common = {status: found.most_common(1)[0][0] for status, found in errors.items()}
    names = {status: f"Problem{status}" for status in common}
    for _, _, operation in operations(made):
        for status, response in operation["responses"].items():
            if common.get(status) == json.dumps(response):
                operation["responses"][status] = {"$ref": f"#/components/responses/{names[status]}"}
    return {names[status]: json.loads(common[status]) for status in sorted(common)}


def _name_form(operation: Document, schemas: Document) -> None:
    """Call the schema of a form after its operation; FastAPI's name for it has the path in it."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        if name.startswith("Body_"):
            form = f"{operation['operationId'].title().replace('_', '')}Form"
            schemas[form] = {**schemas.pop(name), "title": form}
            content["schema"] = {"$ref": f"#/components/schemas/{form}"}


def _add_errors(path: str, operation: Document) -> None:
    """Add what any request of this shape can be refused with to what the route says of itself."""
    kinds = [*_ANYWHERE]
    if "parameters" in operation or "requestBody" in operation:
        kinds.append(InvalidInputError)
    if "requestBody" in operation:
        kinds.append(UnsupportedMediaTypeError)
    if any(parameter["name"] == "If-Match" for parameter in operation.get("parameters", ())):
        kinds.append(MalformedHeaderError)
    if "security" in operation:
        kinds.append(UnauthenticatedError)
    if path.startswith("/api/"):
        kinds.append(TooManyRequestsError)
    responses = operation["responses"]
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]  # FastAPI's own form, which is not ours
    for status, general in problems(*kinds).items():
        _merge(responses.setdefault(str(status), {}), general)
    for response in responses.values():
        if PROBLEM_JSON in response.get("content", {}):
            response["content"][PROBLEM_JSON]["schema"] = {"$ref": "#/components/schemas/Problem"}
    operation["responses"] = dict(sorted(responses.items()))


def _merge(special: Document, general: Document) -> None:
    """Add a general error to what a route says of its status; nothing twice."""
    special.setdefault("description", "")
    examples = special.setdefault("content", {}).setdefault(PROBLEM_JSON, {}).setdefault("examples", {})
    for code, example in general["content"][PROBLEM_JSON]["examples"].items():
        if code not in examples:
            examples[code] = example
            special["description"] = f"{special['description']}\n\n`{code}`: {example['value']['detail']}".strip()


def _add_conditions(method: str, operation: Document, schemas: Document) -> None:
    """Say where there is an ETag, and what can be done with it."""
    answer = operation["responses"].get("200") or operation["responses"].get("201")
    conditional = method == "get" and "security" in operation and operation["operationId"] not in _UNCONDITIONAL
    if answer is None or not (conditional or _is_versioned(answer, schemas)):
        return
    etag = {"ETag": {"$ref": "#/components/headers/ETag"}}
    answer.setdefault("headers", {}).update(etag)
    if conditional:
        operation.setdefault("parameters", []).append(_IF_NONE_MATCH)
        operation["responses"]["304"] = {"description": "The client has it already.", "headers": etag}


def _is_versioned(answer: Document, schemas: Document) -> bool:
    reference = answer["content"].get("application/json", {}).get("schema", {}).get("$ref", "")
    version = schemas.get(reference.rpartition("/")[2], {}).get("properties", {}).get("version", {})
    return bool(version.get("type") == "integer")


def _add_headers(path: str, operation: Document) -> None:
    for status, response in operation["responses"].items():
        names = ["X-Request-ID"]
        if status == "201":
            names.append("Location")
        if status == "401":
            names.append("WWW-Authenticate")
        if status in {"429", "503"}:
            names.append("Retry-After")
        if path.startswith("/api/") and status not in _UNCOUNTED:
            names += _RATE_LIMITS
        headers = response.setdefault("headers", {})
        headers.update({name: {"$ref": f"#/components/headers/{name}"} for name in names})

"""Errors as HTTP answers: application/problem+json (RFC 9457), for every error there is."""

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.errors import FieldError, NotFoundError, ProblemError

if TYPE_CHECKING:
    from starlette.types import Scope

CODES: Mapping[int, str] = {
    HTTPStatus.BAD_REQUEST: "malformed",
    HTTPStatus.NOT_FOUND: NotFoundError.code,
    HTTPStatus.METHOD_NOT_ALLOWED: "method-not-allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "body-too-large",
}
"""The `type` of what the framework refuses, by status."""

PROBLEM_JSON = "application/problem+json"

# The words of RFC 9110, which Python learned in 3.13; a problem's title must not hang on the interpreter.
_TITLES = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    request_id: str,
    headers: Mapping[str, str] | None = None,
    errors: Iterable[FieldError] = (),
) -> Response:
    """Build a problem+json response; `type` is a stable reference, `/problems/<code>`."""
    content = problem_content(status, code, detail, request_id, errors)
    # ASCII output: what a client sent comes back in field names, and may hold half a surrogate pair.
    return Response(json.dumps(content), status, headers, media_type=PROBLEM_JSON)


def problem_content(
    status: int, code: str, detail: str, request_id: str, errors: Iterable[FieldError] = ()
) -> dict[str, Any]:
    """Lay out a problem (RFC 9457)."""
    content: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": _TITLES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "request_id": request_id,
    }
    if listed := list(errors):
        content["errors"] = listed
    return content


def problem_of(error: Exception, scope: "Scope") -> Response:
    """Turn what a request raised into its answer: our problems, the framework's refusals, and a 500 for the rest."""
    request_id = scope["state"]["request_id"]
    if isinstance(error, ProblemError):
        return problem(
            error.status, error.code, str(error), request_id=request_id, headers=error.headers, errors=error.errors
        )
    if isinstance(error, HTTPException):
        status, headers = error.status_code, error.headers
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers = {"Allow": ", ".join(_allowed(scope))}
        return problem(status, CODES.get(status, "http"), error.detail, request_id=request_id, headers=headers)
    return problem(ProblemError.status, ProblemError.code, ProblemError.detail, request_id=request_id)


def problems(*kinds: type[ProblemError]) -> dict[int | str, dict[str, Any]]:
    """Describe the errors special to an operation, for its `responses`; those of every operation are added to all."""
    described: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        entry = described.setdefault(
            kind.status.value, {"description": "", "content": {PROBLEM_JSON: {"examples": {}}}}
        )
        entry["description"] = f"{entry['description']}\n\n`{kind.code}`: {kind.detail}".strip()
        example = problem_content(kind.status, kind.code, kind.detail, "0191f4c0a5e87c3db0a1c2d3e4f50617")
        entry["content"][PROBLEM_JSON]["examples"][kind.code] = {"value": example}
    return described


def _allowed(scope: "Scope") -> list[str]:
    """The methods of every route of the path; the router itself names those of the first one only."""
    path = scope["path"]
    routes = [route for route in scope["app"].router.routes if route.path_regex.match(path)]
    methods = {method for route in routes for method in route.methods}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)

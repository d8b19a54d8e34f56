r"""Everything the service says no with, and the one place that turns it into an HTTP answer.

    Exception
    ├── StartError                          a process cannot start or go on: one line on stderr, non-zero exit
    │   ├── SettingsError                   a setting is missing, wrong or unknown
    │   ├── DatabaseUnreachableError        PostgreSQL did not answer for as long as a start may wait
    │   ├── SchemaRangeError                the database's schema is not one that this release can run on
    │   └── MigrationError                  the migration job, or the bootstrap of the roles, failed
    └── ProblemError                        an answer to a client, RFC 9457; the status lives on the class
        ├── UnauthenticatedError      401   no token, or one that is not (or no longer) good
        │   └── WrongCredentialsError 401   e-mail and password do not belong together
        ├── NotFoundError             404   no such thing, or another account's
        ├── EmailTakenError           409   an account with this e-mail exists
        ├── InvalidInputError         422   well-formed, but a field breaks a rule; `errors` says which
        └── UnavailableError          503   try again in `retry_after_seconds`
            ├── DatabaseUnavailableError    PostgreSQL is away, or every connection is taken
            └── PasswordQueueFullError      more logins at once than may wait

What the framework refuses (404 and 405 of the router, 413, 422 of a schema) and what nobody foresaw (500) get the same
form from the handlers below. The last is the request log's business: it must write its line first.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response


class StartError(Exception):
    """A process of ours cannot start or go on. Its text is one line: the cause, and what to do."""


class SettingsError(StartError):
    """A setting is missing, wrong or unknown."""


class DatabaseUnreachableError(StartError):
    """PostgreSQL did not answer for as long as a start may wait."""


class SchemaRangeError(StartError):
    """The database's schema is not one that this release can run on."""


class MigrationError(StartError):
    """The migration job, or the bootstrap of the roles, failed."""


class FieldError(TypedDict):
    """One entry of a problem's `errors`: where, as a path with dots, and what is wrong there."""

    field: str
    message: str


class ProblemError(Exception):
    """An answer that is not the one the client hoped for (RFC 9457).

    Args:
        detail: what happened this time, for a person; the class's own text if empty.
        errors: the fields at fault.
    """

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    code: ClassVar[str] = "internal"
    detail: ClassVar[str] = "Something went wrong on our side."

    def __init__(self, detail: str = "", errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail or self.detail)
        self.errors = errors

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that belong to the answer besides its body's."""
        return {}


class UnauthenticatedError(ProblemError):
    """No token, or one that is not (or no longer) good."""

    status = HTTPStatus.UNAUTHORIZED
    code = "unauthenticated"
    detail = "A valid bearer token is needed: log in and send it in the Authorization header."

    @property
    def headers(self) -> Mapping[str, str]:
        """RFC 6750 asks for the scheme in every 401."""
        return {"WWW-Authenticate": "Bearer"}


class WrongCredentialsError(UnauthenticatedError):
    """E-mail and password do not belong together; never says which of the two is wrong."""

    code = "wrong-credentials"
    detail = "The e-mail or the password is wrong."


class NotFoundError(ProblemError):
    """No such thing, or another account's: the answer does not tell the two apart."""

    status = HTTPStatus.NOT_FOUND
    code = "not-found"
    detail = "There is nothing here."


class EmailTakenError(ProblemError):
    """An account with this e-mail exists."""

    status = HTTPStatus.CONFLICT
    code = "email-taken"
    detail = "An account with this e-mail exists: log in instead."


class InvalidInputError(ProblemError):
    """Well-formed, but a field breaks a rule."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "validation"
    detail = "The request breaks a rule: see errors."

    @classmethod
    def of(cls, field: str, message: str) -> "InvalidInputError":
        """The problem of a single field."""
        return cls(errors=[FieldError(field=field, message=message)])


class UnavailableError(ProblemError):
    """Cannot answer now, but soon."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "unavailable"
    detail = "The service is busy: try again in a moment."
    retry_after_seconds: ClassVar[int] = 1

    @property
    def headers(self) -> Mapping[str, str]:
        """When to try again."""
        return {"Retry-After": str(self.retry_after_seconds)}


class DatabaseUnavailableError(UnavailableError):
    """PostgreSQL is away, or every connection is taken."""


class PasswordQueueFullError(UnavailableError):
    """More logins at once than may wait."""


# ---------------------------------------------------------------------------------------------------------------------

CODES: Mapping[int, str] = {
    **{kind.status: kind.code for kind in (UnauthenticatedError, NotFoundError, InvalidInputError, UnavailableError)},
    HTTPStatus.BAD_REQUEST: "malformed",
    HTTPStatus.METHOD_NOT_ALLOWED: "method-not-allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "body-too-large",
}
"""The `type` of what the framework refuses, by status."""


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    request_id: str,
    headers: Mapping[str, str] | None = None,
    errors: Iterable[FieldError] = (),
) -> "Response":
    """Build a problem+json response; `type` is a stable reference, `/problems/<code>`."""
    from starlette.responses import Response  # noqa: PLC0415 - store imports this module and must not load HTTP

    content: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "request_id": request_id,
    }
    if listed := list(errors):
        content["errors"] = listed
    # ASCII output: what a client sent comes back in field names, and may hold half a surrogate pair.
    return Response(json.dumps(content), status, headers, media_type="application/problem+json")


def install(app: "FastAPI") -> None:
    """Make every refusal of `app` a problem: ours, the router's and the schemas'."""
    from fastapi.exceptions import RequestValidationError  # noqa: PLC0415 - as above
    from starlette.exceptions import HTTPException  # noqa: PLC0415 - as above

    async def refused(request: "Request", error: Exception) -> "Response":
        assert isinstance(error, ProblemError)
        if error.__cause__ is not None:
            request.state.log = {"cause": repr(error.__cause__)}
        return problem(
            error.status,
            error.code,
            str(error),
            request_id=request.state.request_id,
            headers=error.headers,
            errors=error.errors,
        )

    async def refused_by_framework(request: "Request", error: Exception) -> "Response":
        assert isinstance(error, HTTPException)
        headers = error.headers
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers = {"Allow": ", ".join(_allowed(request))}
        code = CODES.get(error.status_code, "http")
        return problem(error.status_code, code, error.detail, request_id=request.state.request_id, headers=headers)

    async def invalid(request: "Request", error: Exception) -> "Response":
        assert isinstance(error, RequestValidationError)
        # Neither the input nor the context is repeated: they may be a password, or not serializable.
        errors = [FieldError(field=_path(item["loc"]), message=item["msg"]) for item in error.errors()]
        return await refused(request, InvalidInputError(errors=errors))

    app.add_exception_handler(ProblemError, refused)
    app.add_exception_handler(HTTPException, refused_by_framework)
    app.add_exception_handler(RequestValidationError, invalid)


def _allowed(request: "Request") -> list[str]:
    """The methods of every route of the path; the router itself names those of the first one only."""
    path = request.scope["path"]
    routes = [route for route in request.app.router.routes if route.path_regex.match(path)]
    return sorted({method for route in routes for method in route.methods})


def _path(location: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in location[1:]) or str(location[0])

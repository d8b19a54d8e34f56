r"""Everything the service says no with, and the one place that turns it into an HTTP answer.

    Exception
    ├── StartError                          a process cannot start or go on: one line on stderr, non-zero exit
    │   ├── SettingsError                   a setting is missing, wrong or unknown
    │   ├── DatabaseUnreachableError        PostgreSQL did not answer for as long as a start may wait
    │   ├── SchemaRangeError                the database's schema is not one that this release can run on
    │   └── MigrationError                  the migration job, or the bootstrap of the roles, failed
    └── ProblemError                        an answer to a client, RFC 9457; the status lives on the class
        ├── RefusedRequestError             refused before it is read to its end; the connection closes
        │   ├── MalformedRequestError 400   not HTTP/1.1
        │   ├── RequestTimeoutError   408   it comes too slowly
        │   ├── BodyTooLargeError     413   declared or sent too long a body
        │   ├── UrlTooLongError       414   too long a path and query
        │   ├── ExpectationFailedError 417  it expects more than 100-continue
        │   ├── HeadersTooLargeError  431   too many headers, or too long ones
        │   └── UnknownTransferCodingError 501  its body comes in a coding that is not decoded here
        ├── MalformedHeaderError      400   a header is not written as its grammar has it
        ├── InvalidMailTokenError     400   a token from a mail that is wrong, used or too old
        ├── UnauthenticatedError      401   no token, or one that is not (or no longer) good
        │   ├── WrongCredentialsError 401   e-mail and password do not belong together
        │   └── InvalidRefreshTokenError 401  it is wrong, used before, or its session has ended
        ├── WrongPasswordError        403   the current password, asked for again, is wrong
        ├── UnverifiedEmailError      403   a login has to wait until the e-mail is verified
        ├── NotFoundError             404   no such thing, or another account's
        ├── EmailTakenError           409   an account with this e-mail exists
        ├── CategoryNameTakenError    409   the account has a category of this name
        ├── IdempotencyKeyReusedError 422   the key belongs to another request
        ├── PreconditionFailedError   412   somebody else changed it first
        ├── UnsupportedMediaTypeError 415   the body is of another type
        │   └── UnsupportedCodingError 415      it is compressed
        ├── InvalidInputError         422   well-formed, but a field breaks a rule; `errors` says which
        ├── TooManyRequestsError      429   over a rate limit; try again in `retry_after_seconds`
        └── UnavailableError          503   try again in `retry_after_seconds`
            ├── DatabaseUnavailableError    PostgreSQL is away, or every connection is taken
            └── PasswordQueueFullError      more logins at once than may wait

What the framework refuses (404 and 405 of the router, 413, 422 of a schema) and what nobody foresaw (500) get the same
form in problems.py.
"""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import ClassVar, TypedDict


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


class RefusedRequestError(ProblemError):
    """Refused before it is read to its end; the connection closes, to spare both sides the rest."""

    status = HTTPStatus.BAD_REQUEST
    code = "malformed"

    @property
    def headers(self) -> Mapping[str, str]:
        """That nothing more is read here."""
        return {"Connection": "close"}


class MalformedRequestError(RefusedRequestError):
    """Not HTTP/1.1, or in more than one way."""

    detail = "This is not HTTP/1.1 as RFC 9112 has it."


class RequestTimeoutError(RefusedRequestError):
    """It comes too slowly."""

    status = HTTPStatus.REQUEST_TIMEOUT
    code = "request-timeout"
    detail = "The request did not arrive in time: send it again."


class BodyTooLargeError(RefusedRequestError):
    """A body longer than what we take, declared or sent."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "body-too-large"
    detail = "The body is too large."


class UrlTooLongError(RefusedRequestError):
    """A longer path and query than we take."""

    status = HTTPStatus.REQUEST_URI_TOO_LONG
    code = "url-too-long"
    detail = "The URL is too long."


class ExpectationFailedError(RefusedRequestError):
    """It expects something else than 100-continue."""

    status = HTTPStatus.EXPECTATION_FAILED
    code = "expectation-failed"
    detail = "Nothing but 100-continue can be expected here."


class HeadersTooLargeError(RefusedRequestError):
    """More headers, or longer ones, than we take."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    code = "headers-too-large"
    detail = "The headers are too many or too long."


class UnknownTransferCodingError(RefusedRequestError):
    """The body comes in a transfer coding that is not decoded here."""

    status = HTTPStatus.NOT_IMPLEMENTED
    code = "unknown-transfer-coding"
    detail = "The only transfer coding that is known here is chunked."


class MalformedHeaderError(ProblemError):
    """A header is not written as its grammar has it; the request as a whole is HTTP."""

    status = HTTPStatus.BAD_REQUEST
    code = "malformed-header"
    detail = "A header is not written as RFC 9110 has it."


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


class InvalidRefreshTokenError(UnauthenticatedError):
    """A refresh token that is wrong, was used before, or whose session has ended."""

    code = "invalid-refresh-token"
    detail = "The refresh token is not (or no longer) good: log in again."


class InvalidMailTokenError(ProblemError):
    """A token from a mail that is wrong, was used before, or is too old."""

    status = HTTPStatus.BAD_REQUEST
    code = "invalid-token"
    detail = "The token is wrong, was used before or is too old: ask for a new mail."


class WrongPasswordError(ProblemError):
    """The current password, which some changes ask for again, is wrong."""

    status = HTTPStatus.FORBIDDEN
    code = "wrong-password"
    detail = "The current password is wrong."


class UnverifiedEmailError(ProblemError):
    """The password is right, but here nobody logs in before the e-mail is verified."""

    status = HTTPStatus.FORBIDDEN
    code = "unverified-email"
    detail = "Verify the e-mail first: follow the mail that you got, or ask for another one."


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


class CategoryNameTakenError(ProblemError):
    """The account has a category of this name."""

    status = HTTPStatus.CONFLICT
    code = "category-name-taken"
    detail = "You have a category of this name: take that one, or another name."


class PreconditionFailedError(ProblemError):
    """The thing has another version than the client expects: somebody else changed it first."""

    status = HTTPStatus.PRECONDITION_FAILED
    code = "precondition-failed"
    detail = "It was changed meanwhile: get it again, and send the change with its new ETag in If-Match."


class UnsupportedMediaTypeError(ProblemError):
    """The body is of another type than the operation reads."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code = "unsupported-media-type"
    detail = "The body is of a type that is not read here."


class UnsupportedCodingError(UnsupportedMediaTypeError):
    """The body is compressed, or otherwise encoded."""

    detail = "The body has to be sent as it is, without Content-Encoding."

    @property
    def headers(self) -> Mapping[str, str]:
        """What would be read (RFC 9110, section 12.5.3)."""
        return {"Accept-Encoding": "identity"}


class IdempotencyKeyReusedError(ProblemError):
    """The Idempotency-Key belongs to another request."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "idempotency-key-reused"
    detail = "This Idempotency-Key was sent with another request before: make a new one for each request."


class InvalidInputError(ProblemError):
    """Well-formed, but a field breaks a rule."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "validation"
    detail = "The request breaks a rule: see errors."

    @classmethod
    def of(cls, field: str, message: str) -> "InvalidInputError":
        """The problem of a single field."""
        return cls(errors=[FieldError(field=field, message=message)])


class TooManyRequestsError(ProblemError):
    """Over a rate limit.

    Args:
        limit: requests that the limit allows in its time.
        retry_after_seconds: when it allows the next one.
    """

    status = HTTPStatus.TOO_MANY_REQUESTS
    code = "too-many-requests"
    detail = "Too many requests: wait as many seconds as Retry-After says."

    def __init__(self, limit: int, retry_after_seconds: float) -> None:
        super().__init__()
        self._limit = limit
        self._retry_after_seconds = max(1, math.ceil(retry_after_seconds))

    @property
    def headers(self) -> Mapping[str, str]:
        """When to try again (RFC 9110, section 10.2.3), and what is left (draft-ietf-httpapi-ratelimit-headers-06)."""
        wait = str(self._retry_after_seconds)
        return {
            "Retry-After": wait,
            "RateLimit-Limit": str(self._limit),
            "RateLimit-Remaining": "0",
            "RateLimit-Reset": wait,
        }


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

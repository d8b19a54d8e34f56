"""FastAPI's route with a shorter way from the request to its endpoint.

Endpoints are declared as FastAPI's always are, and its OpenAPI document reads them; only reading a request's parameters
is done here, by a plan that each route makes once. FastAPI solves the declaration again for every request, inside exit
stacks and exception handlers of its own: 0.1 ms that a list of tasks does not have (docs/decisions/0007).

An endpoint may ask for: the request; dependencies that take the request alone; path parameters; one model of query
parameters; headers; one JSON body, or fields of a form. Anything else is refused when the route is made.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import parse_qsl

from fastapi import params
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.routing import BaseRoute

from service.errors import FieldError, InvalidInputError
from service.http.bodies import form_body, json_body
from service.http.body_limit import LEAST_BYTES, limited, longest_json

if TYPE_CHECKING:
    from fastapi._compat import ModelField
    from starlette.types import Receive, Scope, Send

_Values: TypeAlias = dict[str, Any]
_Read: TypeAlias = Callable[[Request, _Values, list[FieldError]], Awaitable[None]]

_MOST_QUERY_PARAMETERS = 200
_MOST_ERRORS = 100
"""Of one body, so that a megabyte of unknown fields is not answered with several."""
_UNCOUNTED_ERRORS = 1000
"""Above that many none is told: Pydantic can only list them all."""


class Route(APIRoute):
    """One operation: a path, a method, an endpoint that returns a Response."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        # Starlette's ends with $, which a line end may follow.
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z")
        self._plan = _plan(self.dependant)
        self._request_name = self.dependant.request_param_name
        self.app = self._serve

    @cached_property
    def body_limit_bytes(self) -> int:
        """How long a body it takes; worked out with its first request, for a start has no time."""
        declared = [cast("Any", field.field_info.annotation) for field in self.dependant.body_params]
        return max(LEAST_BYTES, *(longest_json(TypeAdapter(one).json_schema()) for one in declared))

    async def _serve(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if self.dependant.body_params:
            receive = limited(scope, receive, self.body_limit_bytes)
        request = Request(scope, receive, send)
        values: _Values = {self._request_name: request} if self._request_name else {}
        errors: list[FieldError] = []
        for read in self._plan:
            await read(request, values, errors)
        if errors:
            raise InvalidInputError(errors=errors)
        response = await self.endpoint(**values)
        await response(scope, receive, send)


def own_literal_paths(routes: Iterable[BaseRoute]) -> None:
    """Let a path without parameters belong to its own routes alone.

    Otherwise a request for /tasks/bulk by another method would be one for the task of the id `bulk`.
    """
    found = [route for route in routes if isinstance(route, Route)]
    literal = {route.path for route in found if not route.param_convertors}
    for route in found:
        others = [re.escape(path) for path in sorted(literal) if route.path_regex.match(path)]
        if route.param_convertors and others:
            route.path_regex = re.compile(rf"(?!(?:{'|'.join(others)})\Z){route.path_regex.pattern}")


def _plan(dependant: Dependant) -> list[_Read]:
    """The readers of an endpoint's parameters; who asks comes first, so that nobody else learns what is valid."""
    plan: list[_Read] = [_dependency(one) for one in dependant.dependencies]
    if dependant.path_params:
        plan.append(_path(dependant.path_params))
    if dependant.query_params:
        plan.append(_query(dependant.query_params))
    if dependant.header_params:
        plan.append(_headers(dependant.header_params))
    if dependant.body_params:
        is_form = isinstance(dependant.body_params[0].field_info, params.Form)
        plan.append(_form(dependant.body_params) if is_form else _json(dependant.body_params))
    if dependant.cookie_params or dependant.background_tasks_param_name or dependant.response_param_name:
        raise TypeError(f"{dependant.call} declares what service/http/routing.py does not read")
    return plan


def _dependency(dependant: Dependant) -> _Read:
    name, call = dependant.name, dependant.call
    assert call is not None

    async def read(request: Request, values: _Values, errors: list[FieldError]) -> None:
        del errors
        found = await call(request)
        if name is not None:  # one of the route's own, which gives nothing
            values[name] = found

    return read


def _path(fields: "list[ModelField]") -> _Read:
    async def read(request: Request, values: _Values, errors: list[FieldError]) -> None:
        given = request.scope["path_params"]
        for field in fields:
            _validate(field, given[field.alias], values, errors)

    return read


def _query(fields: "list[ModelField]") -> _Read:
    model = fields[0].field_info.annotation
    if len(fields) != 1 or not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise TypeError("query parameters are declared as one model: Annotated[Model, Query()]")
    name, validate = fields[0].name, model.model_validate
    lists = {key for key, info in model.model_fields.items() if getattr(info.annotation, "__origin__", None) is list}

    async def read(request: Request, values: _Values, errors: list[FieldError]) -> None:
        given: dict[str, Any] = {}
        try:
            pairs = parse_qsl(
                request.scope["query_string"].decode("latin-1"),
                keep_blank_values=True,
                max_num_fields=_MOST_QUERY_PARAMETERS,
            )
        except ValueError:
            raise InvalidInputError.of("query", f"has more than {_MOST_QUERY_PARAMETERS} parameters") from None
        for key, value in pairs:
            if key in lists:
                given.setdefault(key, []).append(value)
            else:
                given[key] = value
        try:
            values[name] = validate(given)
        except ValidationError as error:
            errors += _invalid(error, "query")

    return read


def _headers(fields: "list[ModelField]") -> _Read:
    async def read(request: Request, values: _Values, errors: list[FieldError]) -> None:
        for field in fields:
            lines = request.headers.getlist(field.alias)
            if lines:
                _validate(field, ", ".join(lines), values, errors)  # RFC 9110, section 5.3
            else:
                values[field.name] = field.get_default()

    return read


def _json(fields: "list[ModelField]") -> _Read:
    if len(fields) != 1:
        raise TypeError("a JSON body is declared as one model")
    name, adapter = fields[0].name, TypeAdapter[Any](cast("Any", fields[0].field_info.annotation))

    async def read(request: Request, values: _Values, errors: list[FieldError]) -> None:
        body = await json_body(request)
        try:
            # From the bytes: Pydantic's own parser, which bounds the depth.
            values[name] = adapter.validate_json(body)
        except ValidationError as error:
            errors += _invalid(error, "body")

    return read


def _form(fields: "list[ModelField]") -> _Read:
    async def read(request: Request, values: _Values, errors: list[FieldError]) -> None:
        form = await form_body(request)
        for field in fields:
            value = form.get(field.alias)
            if value is not None:
                _validate(field, value, values, errors)
            elif field.field_info.is_required():
                errors.append(FieldError(field=field.alias, message="Field required"))
            else:
                values[field.name] = field.get_default()

    return read


def _validate(field: "ModelField", value: Any, values: _Values, errors: list[FieldError]) -> None:
    values[field.name], found = field.validate(value, loc=(field.alias,))
    if found:
        errors += [FieldError(field=_where(item["loc"]), message=item["msg"]) for item in found]


def _invalid(error: ValidationError, whole: str) -> list[FieldError]:
    if error.error_count() > _UNCOUNTED_ERRORS:
        return [FieldError(field=whole, message=f"has more than {_UNCOUNTED_ERRORS} faults")]
    # Neither the input nor the context is repeated: they may be a password, or not serializable.
    details = error.errors(include_url=False, include_context=False, include_input=False)[:_MOST_ERRORS]
    return [FieldError(field=_where(item["loc"]) or whole, message=item["msg"]) for item in details]


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location))

"""Accounts over HTTP: register, log in, who am I; and the token that every other route asks for."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Form
from fastapi.openapi.models import OAuth2, OAuthFlowPassword, OAuthFlows
from fastapi.security.base import SecurityBase
from pydantic import StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from service.accounts import store
from service.accounts.models import NO_NUL, AccessToken, AccountView, Registration
from service.errors import UnauthenticatedError
from service.parts import Parts, json_response

router = APIRouter(prefix="/api/v1", tags=["accounts"])

FormText = Annotated[str, StringConstraints(max_length=254, pattern=NO_NUL)]


class _BearerToken(SecurityBase):
    """The account that a request's token speaks for.

    One dependency does it all - reading the header, checking the token, documenting the scheme - because each one
    that a route asks for is paid for with every request.
    """

    def __init__(self) -> None:
        self.model = OAuth2(flows=OAuthFlows(password=OAuthFlowPassword(tokenUrl="/api/v1/auth/login")))
        self.scheme_name = "account"

    async def __call__(self, request: Request) -> UUID:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise UnauthenticatedError
        account_id = Parts.of(request).tokens.verify(token.strip())
        request.state.account_id = account_id
        return account_id


CurrentAccount = Annotated[UUID, Depends(_BearerToken())]


@router.post("/auth/register", status_code=201, response_model=AccountView)
async def register(request: Request, registration: Registration) -> Response:
    """Create an account."""
    parts = Parts.of(request)
    view = await store.register(parts.database, parts.passwords, registration)
    return json_response(view, 201, {"Location": "/api/v1/me"})


@router.post("/auth/login", response_model=AccessToken)
async def login(
    request: Request, username: Annotated[FormText, Form()], password: Annotated[FormText, Form()]
) -> Response:
    """Trade e-mail (as `username`) and password for an access token (OAuth2 password grant)."""
    parts = Parts.of(request)
    account_id = await store.login(parts.database, parts.passwords, username, password)
    token = AccessToken(access_token=parts.tokens.issue(account_id), expires_in=parts.tokens.lifetime_seconds)
    return json_response(token.model_dump_json(), headers={"Cache-Control": "no-store"})


@router.get("/me", response_model=AccountView)
async def me(request: Request, account_id: CurrentAccount) -> Response:
    """Get the account that the token speaks for."""
    return json_response(await store.get(Parts.of(request).database, account_id))

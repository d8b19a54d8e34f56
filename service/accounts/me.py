"""The account that asks, over HTTP: get it, change it, its password, delete it."""

from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.accounts import store
from service.accounts.models import AccountPatch, AccountView, Farewell, PasswordChange
from service.accounts.routes import CurrentAccount, limit
from service.errors import (
    EmailTakenError,
    NotFoundError,
    PreconditionFailedError,
    WrongPasswordError,
)
from service.http.conditional import IfMatch, etag, versioned, versions_of
from service.http.problems import problems
from service.http.routing import Route
from service.parts import Parts, json_response

router = APIRouter(prefix="/api/v1", tags=["me"], route_class=Route)


@router.get("/me", response_model=AccountView)
async def get_me(request: Request, who: CurrentAccount) -> Response:
    """Get the account that the token speaks for."""
    row = await store.get(Parts.of(request).database, who)
    return versioned(request, row["version"], row["view"])


@router.get("/accounts/{account_id}", response_model=AccountView, responses=problems(NotFoundError))
async def get_account(request: Request, who: CurrentAccount, account_id: UUID) -> Response:
    """Get an account by its id; to everybody there is one account only, their own."""
    row = await store.get(Parts.of(request).database, who)
    if account_id != who.account_id:
        raise NotFoundError
    return versioned(request, row["version"], row["view"])


@router.patch(
    "/me",
    response_model=AccountView,
    responses=problems(WrongPasswordError, EmailTakenError, PreconditionFailedError),
)
async def change_me(request: Request, who: CurrentAccount, patch: AccountPatch, if_match: IfMatch = None) -> Response:
    """Change the account.

    A new e-mail takes effect at once and is not verified: a mail asks for that, and another one tells the old address.
    """
    if "email" in patch:
        await limit(request, "login", str(who.account_id))  # it takes a password, which might be guessed
    parts = Parts.of(request)
    row = await store.change(parts.database, parts.passwords, who, patch, versions_of(if_match))
    parts.delivery.wake()
    return json_response(row["view"], headers={"ETag": etag(row["version"])})


@router.put("/me/password", status_code=204, responses=problems(WrongPasswordError, PreconditionFailedError))
async def change_password(request: Request, who: CurrentAccount, change: PasswordChange) -> Response:
    """Change the password; every other session ends, and a mail tells of it."""
    await limit(request, "login", str(who.account_id))
    parts = Parts.of(request)
    await store.change_password(parts.database, parts.passwords, who, change)
    parts.delivery.wake()
    return Response(status_code=204)


@router.delete("/me", status_code=204, responses=problems(WrongPasswordError, PreconditionFailedError))
async def delete_me(request: Request, who: CurrentAccount, farewell: Farewell) -> Response:
    """Delete the account and everything in it, for good."""
    await limit(request, "login", str(who.account_id))
    parts = Parts.of(request)
    await store.remove(parts.database, parts.passwords, who, farewell.password.get_secret_value())
    return Response(status_code=204)

"""Getting in and out over HTTP: registration, login, sessions, mailed tokens; and who asks, on every other route."""

import hashlib
from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Form
from fastapi.openapi.models import OAuth2, OAuthFlowPassword, OAuthFlows
from fastapi.security.base import SecurityBase
from pydantic import StringConstraints
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.accounts import mail_tokens, sessions, store
from service.accounts.models import (
    NO_NUL,
    AccountView,
    EmailAddress,
    Identity,
    Login,
    MailedToken,
    Origin,
    PasswordReset,
    PublicKeys,
    RefreshGrant,
    Registration,
    SessionList,
    SessionPolicy,
    TokenPair,
    normalized,
)
from service.database import Runner
from service.errors import (
    EmailTakenError,
    IdempotencyKeyReusedError,
    InvalidMailTokenError,
    InvalidRefreshTokenError,
    NotFoundError,
    UnauthenticatedError,
    UnverifiedEmailError,
    WrongCredentialsError,
)
from service.http.client_address import client_address
from service.http.conditional import etag
from service.http.problems import problems
from service.http.routing import Route
from service.idempotency import Answer, IdempotencyKey, once
from service.mail.queue import enqueue
from service.parts import Parts, json_response
from service.rate_limits.limits import Operation

router = APIRouter(route_class=Route, tags=["auth"])

_CLIENT_CHARACTERS = 200

FormText = Annotated[str, StringConstraints(max_length=254, pattern=NO_NUL)]


class _BearerToken(SecurityBase):
    """The account that a request's token speaks for.

    One dependency does it all - reading the header, checking the token, counting the request, documenting the scheme -
    because each one that a route asks for is paid for with every request.
    """

    def __init__(self) -> None:
        flow = OAuthFlowPassword(tokenUrl="/api/v1/auth/login", refreshUrl="/api/v1/auth/refresh")
        self.model = OAuth2(flows=OAuthFlows(password=flow))
        self.scheme_name = "account"

    async def __call__(self, request: Request) -> Identity:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise UnauthenticatedError
        parts, state = Parts.of(request), request.scope["state"]
        who = parts.tokens.verify(token.strip())
        state["account_id"] = who.account_id
        state["headers"] = (await parts.limits.account(who.account_id)).headers
        return who


CurrentAccount = Annotated[Identity, Depends(_BearerToken())]


async def limit(request: Request, operation: Operation, account: str | None = None) -> None:
    """Count an attempt at a sensitive operation, at an account named by its e-mail or id.

    The address of an attempt that is already `counted` is not counted again.

    Raises:
        TooManyRequestsError: a limit is reached.
    """
    parts, state = Parts.of(request), request.scope["state"]
    address = client_address(request.scope, parts.proxies)
    # An answer has one RateLimit: this one, not that of the account's quota, and none beside a refusal's own.
    state.pop("headers", None)
    standing = await parts.limits.check(operation, address=address, account=account, before=state.get("standing"))
    state["standing"], state["headers"] = standing, standing.headers


def counted(operation: Operation) -> list[Any]:
    """Compose dependencies of a route: an attempt counts for its address before its body is read, whatever is in it."""

    async def count(request: Request) -> None:
        await limit(request, operation)

    return [Depends(count)]


@router.post(
    "/api/v1/auth/register",
    status_code=201,
    response_model=AccountView,
    responses=problems(EmailTakenError, IdempotencyKeyReusedError),
    dependencies=counted("registration"),
)
async def register(request: Request, registration: Registration, idempotency_key: IdempotencyKey = None) -> Response:
    """Create an account; a mail asks to verify its e-mail."""
    parts = Parts.of(request)
    password_hash = await parts.passwords.hash(registration.password.get_secret_value())
    is_first = idempotency_key is None

    async def work(runner: Runner) -> Answer:
        nonlocal is_first
        is_first = True
        view = await store.register(runner, registration, password_hash)
        return Answer(view, headers={"Location": "/api/v1/me", "ETag": etag(1)})

    # Nothing that is stored may be computed from a password, but by Argon2: what a retry gives is compared with that.
    content = registration.model_dump_json(exclude={"password"})
    answer = await once(parts.database, None, idempotency_key, hashlib.sha256(content.encode()).digest(), work)
    if not is_first and not await store.has_password(parts.database, parts.passwords, registration):
        raise IdempotencyKeyReusedError
    parts.delivery.wake()
    return answer.response()


@router.post(
    "/api/v1/auth/verify-email",
    status_code=204,
    responses=problems(InvalidMailTokenError),
    dependencies=counted("confirmation"),
)
async def verify_email(request: Request, mailed: MailedToken) -> Response:
    """Verify an e-mail with the token that was sent there; it is good for 24 hours."""
    await mail_tokens.verify_email(Parts.of(request).database, mailed.token.get_secret_value())
    return Response(status_code=204)


@router.post(
    "/api/v1/auth/resend-verification", status_code=202, response_class=Response, dependencies=counted("resend")
)
async def resend_verification(request: Request, address: EmailAddress) -> Response:
    """Send the mail that verifies an e-mail again. The answer does not tell whether there is such an account."""
    await limit(request, "resend", address.email)
    return await _queued(request, "verification", address.email)


@router.post(
    "/api/v1/auth/login",
    response_model=TokenPair,
    responses=problems(WrongCredentialsError, UnverifiedEmailError),
    dependencies=counted("login"),
)
async def login(
    request: Request,
    username: Annotated[FormText, Form(description="the e-mail")],
    password: Annotated[FormText, Form()],
    grant_type: Annotated[Literal["password"] | None, Form(description="as OAuth2 has it; may be left out")] = None,
) -> Response:
    """Trade e-mail (as `username`) and password for a pair of tokens (OAuth2 password grant); this begins a session."""
    del grant_type
    email = normalized(username)
    await limit(request, "login", email)
    parts = Parts.of(request)
    began = await sessions.log_in(
        parts.database, parts.passwords, email, password, _origin(request), _session_policy(parts)
    )
    return _token_pair(parts, began)


@router.post(
    "/api/v1/auth/refresh",
    response_model=TokenPair,
    responses=problems(InvalidRefreshTokenError),
    dependencies=counted("refresh"),
)
async def refresh(request: Request, grant: RefreshGrant) -> Response:
    """Trade a refresh token for the next pair of tokens.

    It is good once, and for ten seconds more, for requests that crossed on their way; used again later, it ends the
    session.
    """
    parts = Parts.of(request)
    token = grant.refresh_token.get_secret_value()
    return _token_pair(parts, await sessions.refresh(parts.database, token, _origin(request), _session_policy(parts)))


@router.post("/api/v1/auth/logout", status_code=204)
async def logout(request: Request, who: CurrentAccount) -> Response:
    """End this session: its tokens open nothing any more, from now on."""
    await sessions.end(Parts.of(request).database, who, who.session_id)
    return Response(status_code=204)


@router.post("/api/v1/auth/logout-everywhere", status_code=204)
async def logout_everywhere(request: Request, who: CurrentAccount) -> Response:
    """End all sessions of the account, this one too."""
    await sessions.end_all(Parts.of(request).database, who)
    return Response(status_code=204)


@router.get("/api/v1/auth/sessions", response_model=SessionList)
async def list_sessions(request: Request, who: CurrentAccount) -> Response:
    """List where the account is logged in, the session used last first."""
    return json_response(await sessions.get_list(Parts.of(request).database, who))


@router.delete("/api/v1/auth/sessions/{session_id}", status_code=204, responses=problems(NotFoundError))
async def end_session(request: Request, who: CurrentAccount, session_id: UUID) -> Response:
    """End a session of the account; it may be this one."""
    await sessions.end(Parts.of(request).database, who, session_id)
    return Response(status_code=204)


@router.post("/api/v1/auth/password-reset", status_code=202, response_class=Response, dependencies=counted("reset"))
async def request_password_reset(request: Request, address: EmailAddress) -> Response:
    """Send a mail that allows a new password. The answer does not tell whether there is such an account."""
    await limit(request, "reset", address.email)
    return await _queued(request, "reset", address.email)


@router.post(
    "/api/v1/auth/password-reset/confirm",
    status_code=204,
    responses=problems(InvalidMailTokenError),
    dependencies=counted("confirmation"),
)
async def confirm_password_reset(request: Request, reset: PasswordReset) -> Response:
    """Set a new password with the token from the mail, good for 30 minutes; all sessions of the account end."""
    parts = Parts.of(request)
    token, new_password = reset.token.get_secret_value(), reset.new_password.get_secret_value()
    await mail_tokens.reset_password(parts.database, parts.passwords, token, new_password)
    parts.delivery.wake()
    return Response(status_code=204)


@router.get("/.well-known/jwks.json", response_model=PublicKeys, tags=["operations"])
async def public_keys(request: Request) -> Response:
    """Get the public keys that verify access tokens (RFC 7517); none where all keys are secret ones."""
    return JSONResponse(Parts.of(request).tokens.public_keys(), headers={"Cache-Control": "public, max-age=300"})


async def _queued(request: Request, kind: str, email: str) -> Response:
    # The same for everybody; whether there is an account matters to nobody before the mail is written.
    parts = Parts.of(request)
    await enqueue(parts.database, kind, email)
    parts.delivery.wake()
    return Response(status_code=202)


def _origin(request: Request) -> Origin:
    client = "".join(filter(str.isprintable, request.headers.get("user-agent", "")))
    return Origin(client[:_CLIENT_CHARACTERS] or None, client_address(request.scope, Parts.of(request).proxies))


def _session_policy(parts: Parts) -> SessionPolicy:
    settings = parts.settings
    return SessionPolicy(timedelta(seconds=settings.session_lifetime_seconds), settings.login_needs_verified_email)


def _token_pair(parts: Parts, login: Login) -> Response:
    pair = TokenPair(
        access_token=parts.tokens.issue(login.who),
        expires_in=parts.tokens.lifetime_seconds,
        refresh_token=login.refresh_token,
        refresh_expires_in=parts.settings.session_lifetime_seconds,
    )
    return json_response(pair.model_dump_json(), headers={"Cache-Control": "no-store"})

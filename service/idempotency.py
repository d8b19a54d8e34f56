"""Idempotency-Key: a POST that creates can be sent again, and happens once.

The key is written in the transaction of what it guards: a concurrent retry waits for that transaction, and a crash
leaves neither. Keys are an account's own, and are kept for a day (draft-ietf-httpapi-idempotency-key-header).
"""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import asyncpg
from fastapi import Header
from sqlalchemy import Column, Index, LargeBinary, SmallInteger, Text, Uuid, bindparam, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field as Attribute
from sqlmodel import SQLModel
from starlette.requests import Request
from starlette.responses import Response

from service.accounts.models import Identity
from service.accounts.store import ACTING
from service.database import Database, Runner, Statement, moment_column
from service.errors import IdempotencyKeyReusedError, UnauthenticatedError

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]+$",
        description="a new random text for each thing to create; a retry with the same one gets the first answer",
    ),
]


class KeptAnswer(SQLModel, table=True):
    """A request that was made under a key, and its first answer. Whoever has no account yet has the scope of zeros."""

    __tablename__ = "idempotency_key"
    __table_args__ = (Index("idempotency_key_created_at_idx", "created_at"),)

    scope: UUID = Attribute(sa_column=Column(Uuid, primary_key=True))
    key: str = Attribute(sa_column=Column(Text, primary_key=True))
    request_digest: bytes = Attribute(sa_column=Column(LargeBinary, nullable=False))
    status: int | None = Attribute(sa_column=Column(SmallInteger))
    headers: str | None = Attribute(sa_column=Column(Text))
    body: str | None = Attribute(sa_column=Column(Text))
    created_at: datetime = Attribute(sa_column=moment_column(server_default=func.now()))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request that creates is answered with."""

    body: str
    status: int = 201
    headers: dict[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """As HTTP."""
        return Response(self.body, self.status, self.headers, media_type="application/json")


_kept = SQLModel.metadata.tables["idempotency_key"]


class _Statements:
    """The statements of one kind of scope: the account that acts, or nobody."""

    def __init__(self, scope: Any) -> None:
        this_one = (_kept.c.scope == scope, _kept.c.key == bindparam("key"))
        self.begin = Statement(
            insert(_kept)
            .values(scope=scope, key=bindparam("key"), request_digest=bindparam("request_digest"))
            .on_conflict_do_nothing()
            .returning(_kept.c.key)
        )
        self.first = Statement(
            select(_kept.c.request_digest, _kept.c.body, _kept.c.status, _kept.c.headers).where(*this_one)
        )
        self.keep = Statement(
            update(_kept)
            .where(*this_one)
            .values(status=bindparam("status"), headers=bindparam("headers"), body=bindparam("body"))
        )


_OF_ACCOUNT = _Statements(ACTING)
_OF_NOBODY = _Statements(literal(UUID(int=0), Uuid))


async def once(
    database: Database,
    who: Identity | None,
    key: str | None,
    request_digest: bytes,
    work: Callable[[Runner], Awaitable[Answer]],
) -> Answer:
    """Do the work, unless this key has done it: then return the first answer. An error keeps nothing.

    Args:
        database: where the work happens.
        who: whose key it is; None for whoever has no account yet.
        key: as the client sent it; None to do the work without one.
        request_digest: of all that makes the request what it is, see `digest`.
        work: what creates, given where to run its statements, and nothing slow besides.

    Raises:
        IdempotencyKeyReusedError: the key was used for another request.
        UnauthenticatedError: the session has ended.
    """
    if key is None:
        return await work(database)
    statements = _OF_ACCOUNT if who else _OF_NOBODY
    name = {"key": key} | ({"session_id": who.session_id} if who else {})
    async with database.transaction() as transaction:
        try:
            begun = await transaction.fetch_value(statements.begin, request_digest=request_digest, **name)
        except asyncpg.NotNullViolationError:
            raise UnauthenticatedError from None
        if begun is None:
            first = await transaction.fetch_row(statements.first, **name)
            if first is None or first["request_digest"] != request_digest:
                raise IdempotencyKeyReusedError
            return Answer(first["body"], first["status"], json.loads(first["headers"]))
        answer = await work(transaction)
        await transaction.fetch_row(
            statements.keep, status=answer.status, headers=json.dumps(answer.headers), body=answer.body, **name
        )
        return answer


async def digest(request: Request) -> bytes:
    """Compute the digest of a request: method, path and body. Not for bodies that hold a password."""
    head = f"{request.method} {request.scope['path']}\n".encode()
    return hashlib.sha256(head + await request.body()).digest()

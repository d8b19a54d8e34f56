"""The ceiling: the least that can answer the same requests from the same rows, to measure the service against.

Bare ASGI on uvicorn (uvloop, httptools, one process), PyJWT, asyncpg with one prepared statement for each request, and
JSON that PostgreSQL builds. No validation, no sessions, no limits, no logs, no metrics: what the service does more is
what it costs.
"""

import argparse
import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import jwt
import uvicorn

__all__ = ["Ceiling", "main"]

Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
Statements: TypeAlias = tuple["asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]", ...]

CONNECTIONS = 8
TASKS_PATH = "/api/v1/tasks"
VIEW = """id, title, description, status, (ARRAY['low', 'medium', 'high', 'urgent'])[priority + 1] AS priority,
    due_at, category_id, completed_at, created_at, updated_at"""
TASK = f"SELECT {VIEW} FROM task WHERE account_id = $1::text::uuid"  # noqa: S608 - our own constant
LIST_20 = f"""SELECT '{{"items":' || coalesce(json_agg(t)::text, '[]') || ',"next_cursor":null}}'
    FROM ({TASK} ORDER BY created_at DESC, id DESC LIMIT 20) AS t"""  # noqa: S608 - our own constant
GET_ONE = f"SELECT row_to_json(t)::text FROM ({TASK} AND id = $2::text::uuid) AS t"  # noqa: S608 - likewise
CREATE = f"""INSERT INTO task (account_id, title, description, status, priority, due_at)
    VALUES ($1::text::uuid, $2, $3, 'todo', array_position(ARRAY['low', 'medium', 'high', 'urgent'], $4) - 1,
        $5::text::timestamptz)
    RETURNING (SELECT row_to_json(t) FROM (SELECT {VIEW}) AS t)::text"""  # noqa: S608 - likewise


class Ceiling:
    """The ASGI application.

    Args:
        database_url: of the application's role, without password.
        password: that role's.
        keys: the service's key ring; tokens signed with any of its HS256 keys are taken.
    """

    def __init__(self, database_url: str, password: str, keys: dict[str, Any]) -> None:
        self.database_url, self.password = database_url, password
        self.keys = {key["kid"]: base64.urlsafe_b64decode(key["key"] + "==") for key in keys["keys"]}
        self.idle: asyncio.LifoQueue[Statements] = asyncio.LifoQueue()

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Send) -> None:
        """Answer one request, or connect when the server starts."""
        if scope["type"] == "lifespan":
            await receive()
            await self._connect()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        status, body = await self._answer(scope, receive)
        length = (b"content-length", b"%d" % len(body))
        headers = [(b"content-type", b"application/json"), length]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _connect(self) -> None:
        for _ in range(CONNECTIONS):
            connection = await asyncpg.connect(
                self.database_url, password=self.password, server_settings={"timezone": "UTC"}
            )
            self.idle.put_nowait(tuple([await connection.prepare(sql) for sql in (LIST_20, GET_ONE, CREATE)]))

    async def _answer(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]]) -> tuple[int, bytes]:
        path: str = scope["path"]
        if path == "/health/live":
            return 200, b'{"status":"ok"}'
        if not path.startswith(TASKS_PATH):
            return 404, b"{}"
        try:
            account_id = self._account_id(dict(scope["headers"])[b"authorization"])
        except (KeyError, jwt.PyJWTError):
            return 401, b"{}"
        task = json.loads(await _body(receive)) if scope["method"] == "POST" else None
        list_20, get_one, create = statements = await self.idle.get()
        try:
            if task:
                values = [task.get(name) for name in ("title", "description", "priority", "due_at")]
                return 201, (await create.fetchval(account_id, *values)).encode()
            if path == TASKS_PATH:
                found = await list_20.fetchval(account_id)
            else:
                found = await get_one.fetchval(account_id, path.rpartition("/")[2])
        except asyncpg.DataError:
            found = None
        finally:
            self.idle.put_nowait(statements)
        return (404, b"{}") if found is None else (200, found.encode())

    def _account_id(self, authorization: bytes) -> str:
        token = authorization.decode().removeprefix("Bearer ")
        key = self.keys[jwt.get_unverified_header(token)["kid"]]
        claims = jwt.decode(token, key, algorithms=["HS256"], options={"verify_aud": False, "require": ["exp", "sub"]})
        return str(claims["sub"])


async def _body(receive: Callable[[], Awaitable[Any]]) -> bytes:
    message = await receive()
    body: bytes = message["body"]
    while message["more_body"]:
        message = await receive()
        body += message["body"]
    return body


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve on 127.0.0.1 until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.ceiling", description=__doc__)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--database-url", required=True, help="of the application's role, without password")
    parser.add_argument("--password-file", required=True, type=Path, help="holds that role's password")
    parser.add_argument("--token-keys", required=True, type=Path, help="the service's key ring")
    options = parser.parse_args(arguments)
    application = Ceiling(
        options.database_url, options.password_file.read_text().strip(), json.loads(options.token_keys.read_bytes())
    )
    uvicorn.run(
        application,
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()

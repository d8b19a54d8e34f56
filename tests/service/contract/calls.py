"""How to call each operation of the OpenAPI document so that it succeeds, read from the document itself.

A path parameter is filled with the id of a row of somebody's (`Resident.ids`), a body is the schema's own example with
such ids put in. So a new operation is known here as soon as its schema has an example; what an example cannot know, a
password or a token of the moment, stands in `Resident.secrets`.
"""

import copy
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import jwt

from service.accounts import mail_tokens
from service.http.documentation import operations
from tests.service.contract import openapi

Document = dict[str, Any]
PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Operation:
    """One operation of the document."""

    path: str
    method: str
    described: Document

    @property
    def name(self) -> str:
        """Its operation id."""
        found: str = self.described["operationId"]
        return found

    @property
    def needs_token(self) -> bool:
        """Whether it is for those who are logged in."""
        return bool(self.described.get("security"))

    @property
    def path_parameters(self) -> list[str]:
        """The names in its path."""
        return re.findall(r"{(\w+)}", self.path)

    def parameters(self, place: str) -> list[Document]:
        """Its parameters in `query` or `header`."""
        return [one for one in self.described.get("parameters", ()) if one["in"] == place]

    @property
    def media_type(self) -> str | None:
        """The type of its body, or None."""
        return next(iter(self.described.get("requestBody", {}).get("content", {})), None)

    @property
    def body(self) -> Document | None:
        """A copy of the example of its body."""
        if self.media_type is None:
            return None
        schema = self.described["requestBody"]["content"][self.media_type]["schema"]
        example: Document = copy.deepcopy(resolved(schema)["examples"][0])
        return example


SERVED = openapi.served()
OPERATIONS = {
    operation["operationId"]: Operation(path, method.upper(), operation)
    for path, method, operation in operations(SERVED)
}


def resolved(part: Document) -> Document:
    """A part of the document, or what it refers to."""
    if "$ref" not in part:
        return part
    _, _, kind, name = part["$ref"].split("/")
    found: Document = SERVED["components"][kind][name]
    return found


@dataclass
class Resident:
    """Somebody with an account and one of everything in it."""

    http: httpx.AsyncClient
    email: str
    token: str
    ids: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, Document] = field(default_factory=dict)

    @classmethod
    async def settle(cls, http: httpx.AsyncClient) -> "Resident":
        """Register, log in twice, make one of everything."""
        email = f"{uuid4().hex}@example.com"
        account = await _expect(201, http.post("/api/v1/auth/register", json={"email": email, "password": PASSWORD}))
        resident = cls(http, email, "")
        other_session = await resident.log_in()
        pair = await resident.log_in()
        category = await resident.make("/api/v1/categories", {"name": f"category of {email}"})
        task = {"title": f"task of {email}", "category_id": category["id"], "description": "nobody else's"}
        made = await resident.make("/api/v1/tasks", task)
        resident.ids = {
            "account_id": account["id"],
            "session_id": claims(other_session["access_token"])["sid"],
            "category_id": category["id"],
            "task_id": made["id"],
        }
        resident.secrets = {
            "login": {"username": email, "password": PASSWORD},
            "register": {"email": f"friend.of.{email}"},
            "refresh": {"refresh_token": pair["refresh_token"]},
            "change_password": {"current_password": PASSWORD},
            "delete_me": {"password": PASSWORD},
            "verify_email": {"token": await _mailed(http, "verification", email)},
            "confirm_password_reset": {"token": await _mailed(http, "reset", email)},
        }
        return resident

    async def log_in(self) -> Document:
        """Begin a new session, and act in it from now on."""
        form = {"username": self.email, "password": PASSWORD}
        pair = await _expect(200, self.http.post("/api/v1/auth/login", data=form))
        self.token = pair["access_token"]
        return pair

    async def make(self, path: str, content: Document) -> Document:
        """Create something."""
        return await _expect(201, self.http.post(path, json=content, headers=self.headers))

    @property
    def headers(self) -> dict[str, str]:
        """Those that say who asks."""
        return {"Authorization": f"Bearer {self.token}"}

    def request(self, operation: Operation, owner: "Resident | None" = None, **changes: Any) -> httpx.Request:
        """A request that succeeds, but that it is about the owner's rows where they are another's.

        Args:
            operation: what to call.
            owner: whose ids stand in path, query and body; oneself if None.
            changes: `path_ids`, `query`, `content`, `headers` to take in place of the valid ones.
        """
        ids = (owner or self).ids
        headers = {**(self.headers if operation.needs_token else {}), **changes.get("headers", {})}
        content, media_type = changes.get("content"), operation.media_type
        body = self.body_of(operation, ids)
        if media_type is not None:
            headers.setdefault("Content-Type", media_type)
        if content is None and body is not None:
            content = httpx.Request("POST", "/", json=body).content if "json" in (media_type or "") else urlencode(body)
        path = operation.path.format(**{**ids, **changes.get("path_ids", {})})
        query = changes.get("query", _query(operation, ids))
        return self.http.build_request(operation.method, path, params=query, content=content, headers=headers)

    def body_of(self, operation: Operation, ids: dict[str, str]) -> Document | None:
        """The body of a request that succeeds."""
        body = operation.body
        if body is None:
            return None
        known: Document = _with_ids({**body, **self.secrets.get(operation.name, {})}, ids)
        return known


def _query(operation: Operation, ids: dict[str, str]) -> Document:
    """Ids of ours wherever a query takes one, and what it cannot do without."""
    query = {}
    for parameter in operation.parameters("query"):
        if parameter["name"] in ids:
            query[parameter["name"]] = ids[parameter["name"]]
        elif parameter.get("required"):
            query[parameter["name"]] = parameter["example"]
    return query


def _with_ids(value: Any, ids: dict[str, str]) -> Any:
    """The value with our ids in place of the example's, wherever a field has the name of one."""
    if isinstance(value, dict):
        return {key: ids[key] if key in ids and item else _with_ids(item, ids) for key, item in value.items()}
    return [_with_ids(item, ids) for item in value] if isinstance(value, list) else value


def claims(token: str) -> Document:
    """What a token says, whether it is right or not."""
    found: Document = jwt.decode(token, options={"verify_signature": False})
    return found


async def _mailed(http: httpx.AsyncClient, purpose: mail_tokens.Purpose, email: str) -> str | None:
    """The token of a mail, from the application itself where it runs in this process."""
    if not isinstance(http._transport, httpx.ASGITransport):
        return None
    database = http._transport.app.state.parts.database  # type: ignore[attr-defined] # it is ours
    return await mail_tokens.make(database, purpose, email)


async def _expect(status: int, call: Any) -> Document:
    answer: httpx.Response = await call
    assert answer.status_code == status, answer.text
    found: Document = answer.json()
    return found

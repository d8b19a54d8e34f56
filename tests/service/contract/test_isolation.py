"""Nobody reaches another account's rows: every operation of the document, as every kind of outsider.

A new operation is walked as soon as it is in the document. It fails here until it can be called (see calls.py), and,
if it asks for no token, until it stands in `FOR_EVERYBODY`.
"""

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest

from tests.service.conftest import TOKEN_KEYS, Host
from tests.service.contract.calls import OPERATIONS, Operation, Resident, claims

FOR_EVERYBODY = {
    "confirm_password_reset",
    "live",
    "login",
    "public_keys",
    "ready",
    "refresh",
    "register",
    "request_password_reset",
    "resend_verification",
    "verify_email",
    "version",
}
OURS = [name for name, operation in OPERATIONS.items() if operation.needs_token]
ABOUT_A_ROW = [name for name in OURS if OPERATIONS[name].path_parameters]
# As many requests as there are outsiders for each operation, through lines that others have covered.
pytestmark = pytest.mark.no_cover
TABLES = {"account": "id"} | dict.fromkeys(("category", "task", "session"), "account_id")


@pytest.fixture
async def owner(http: httpx.AsyncClient) -> Resident:
    return await Resident.settle(http)


@pytest.fixture
async def neighbour(http: httpx.AsyncClient) -> Resident:
    return await Resident.settle(http)


@pytest.fixture
async def rows(host: Host, shared_database: str, owner: Resident) -> AsyncIterator[Callable[[], Any]]:
    """Reads all rows of the owner as they stand in the database."""
    connection = await host.connect("slipway_admin", shared_database)
    account_id = await connection.fetchval("SELECT id FROM account WHERE email = $1", owner.email)

    async def read() -> dict[str, list[str]]:
        return {
            table: [
                str(dict(row))
                for row in await connection.fetch(f"SELECT * FROM {table} WHERE {column} = $1 ORDER BY id", account_id)
            ]
            for table, column in TABLES.items()
        }

    yield read
    await connection.close()


def test_only_these_ask_for_no_token() -> None:
    assert {name for name, operation in OPERATIONS.items() if not operation.needs_token} == FOR_EVERYBODY


@pytest.mark.parametrize("name", OPERATIONS)
async def test_everybody_can_do_it_to_what_is_theirs(name: str, owner: Resident) -> None:
    """Without this the tests below could pass because the call itself is wrong."""
    answer = await owner.http.send(owner.request(OPERATIONS[name]))
    assert answer.is_success, f"calls.py does not know how to call {name}: {answer.text}"


@pytest.mark.parametrize("name", OURS)
async def test_another_account_finds_nothing_and_changes_nothing(
    name: str, owner: Resident, neighbour: Resident, rows: Callable[[], Any]
) -> None:
    before = await rows()
    answer = await neighbour.http.send(neighbour.request(OPERATIONS[name], owner))
    if name in ABOUT_A_ROW:
        assert answer.status_code == 404, answer.text
        assert answer.json() == nothing_here(answer)
    elif names_a_row(neighbour.body_of(OPERATIONS[name], owner.ids), owner):
        assert answer.status_code in {404, 422}, answer.text
    assert not tells_about(owner, answer.text)
    assert await rows() == before


def nothing_here(answer: httpx.Response) -> dict[str, Any]:
    """What the same request is told about a row that never was."""
    return {
        "type": "/problems/not-found",
        "title": "Not Found",
        "status": 404,
        "detail": "There is nothing here.",
        "request_id": answer.headers["x-request-id"],
    }


def tells_about(owner: Resident, text: str) -> bool:
    return any(word in text for word in (owner.email, *owner.ids.values()))


def names_a_row(body: Any, owner: Resident) -> bool:
    return any(row_id in json.dumps(body) for row_id in owner.ids.values())


@pytest.mark.parametrize("name", ABOUT_A_ROW)
async def test_a_row_of_another_and_none_at_all_look_alike(name: str, owner: Resident, neighbour: Resident) -> None:
    operation = OPERATIONS[name]
    never = {parameter: str(uuid4()) for parameter in operation.path_parameters}
    others = await neighbour.http.send(neighbour.request(operation, owner))
    nobodys = await neighbour.http.send(neighbour.request(operation, path_ids=never))
    assert (others.status_code, without_id(others)) == (nobodys.status_code, without_id(nobodys))


def without_id(answer: httpx.Response) -> dict[str, Any]:
    return {key: value for key, value in answer.json().items() if key != "request_id"}


def signed(token: str, key: bytes, **changes: Any) -> dict[str, str]:
    """A header with the claims of a token, changed, under a signature."""
    made = jwt.encode({**claims(token), **changes}, key, headers={"kid": jwt.get_unverified_header(token)["kid"]})
    return {"Authorization": f"Bearer {made}"}


RIGHT_KEY, WRONG_KEY = bytes(range(32)), bytes(32)

BAD_TOKENS: dict[str, Callable[[Resident], dict[str, str]]] = {
    "no header": lambda _: {},
    "an empty token": lambda _: {"Authorization": "Bearer "},
    "another scheme": lambda owner: {"Authorization": f"Basic {owner.token}"},
    "no JWT": lambda _: {"Authorization": "Bearer not.a.token"},
    "half a token": lambda owner: {"Authorization": f"Bearer {owner.token[: len(owner.token) // 2]}"},
    "another key": lambda owner: signed(owner.token, WRONG_KEY),
    "the past": lambda owner: signed(owner.token, RIGHT_KEY, exp=time.time() - 60),
    "another issuer": lambda owner: signed(owner.token, RIGHT_KEY, iss="somebody"),
    "another audience": lambda owner: signed(owner.token, RIGHT_KEY, aud="something"),
    "no session": lambda owner: signed(owner.token, RIGHT_KEY, sid=str(uuid4())),
    "no signature": lambda owner: {"Authorization": f"Bearer {owner.token.rpartition('.')[0]}."},
}


@pytest.mark.parametrize("kind", BAD_TOKENS)
async def test_without_a_good_token_nothing_is_reached(kind: str, owner: Resident, rows: Callable[[], Any]) -> None:
    before = await rows()
    headers = BAD_TOKENS[kind](owner)
    for name in OURS:
        request = owner.request(OPERATIONS[name])
        del request.headers["Authorization"]
        request.headers.update(headers)
        await assert_refused(owner.http, request, OPERATIONS[name])
    assert await rows() == before


WHOSE = "(SELECT id FROM account WHERE email = $1)"
ENDS = {
    "the session was ended": f"DELETE FROM session WHERE account_id = {WHOSE}",
    "the session ran out": f"UPDATE session SET expires_at = now() WHERE account_id = {WHOSE}",
    "the account was deleted": f"DELETE FROM account WHERE id = {WHOSE}",
}


@pytest.mark.parametrize("why", ENDS)
async def test_a_token_ends_at_once_with_what_it_stands_for(
    why: str, host: Host, shared_database: str, owner: Resident, rows: Callable[[], Any]
) -> None:
    connection = await host.connect("slipway_admin", shared_database)
    await connection.execute(ENDS[why], owner.email)
    await connection.close()
    before = await rows()
    for name in OURS:
        await assert_refused(owner.http, owner.request(OPERATIONS[name]), OPERATIONS[name])
    assert await rows() == before


def test_the_keys_of_this_test_are_the_right_ones() -> None:
    """Or its tokens would be refused for their signature alone."""
    assert base64.urlsafe_b64encode(RIGHT_KEY).decode() in TOKEN_KEYS


async def assert_refused(http: httpx.AsyncClient, request: httpx.Request, operation: Operation) -> None:
    answer = await http.send(request)
    assert answer.status_code == 401, f"{operation.name}: {answer.status_code} {answer.text}"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Content-Type"] == "application/problem+json"

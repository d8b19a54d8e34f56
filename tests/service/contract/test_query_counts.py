"""How many statements each operation sends to PostgreSQL, BEGIN and COMMIT among them: each is a round trip.

A new operation fails here until its count is written down. The account has many rows of each kind, so that a statement
for each row would show.
"""

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from service.main import build_app
from service.release import Release
from tests.service.conftest import Host, running
from tests.service.contract.calls import OPERATIONS, Resident

ROUND_TRIPS = {
    "change_category": 1,
    "change_me": 4,
    "change_password": 7,
    "change_task": 1,
    "change_task_priority": 1,
    "change_task_status": 1,
    "change_tasks": 1,
    "confirm_password_reset": 8,
    "create_category": 1,
    "create_task": 1,
    "create_tasks": 1,
    "delete_category": 5,
    "delete_me": 6,
    "delete_task": 1,
    "delete_tasks": 1,
    "end_session": 1,
    "export_me": 4,  # and one more for each further batch of tasks
    "get_account": 1,
    "get_category": 1,
    "get_category_statistics": 1,
    "get_me": 1,
    "get_task": 1,
    "get_task_statistics": 1,
    "list_categories": 1,
    "list_category_statistics": 1,
    "list_sessions": 1,
    "list_tasks": 1,
    "live": 0,
    "login": 2,
    "logout": 1,
    "logout_everywhere": 1,
    "public_keys": 0,
    "ready": 1,
    "refresh": 5,
    "register": 4,
    "replace_task": 1,
    "request_password_reset": 1,
    "resend_verification": 1,
    "verify_email": 4,
    "version": 1,
}
WITH_A_KEY = {
    "create_category": 5,
    "create_task": 5,
    "create_tasks": 5,
    "register": 6,
}
"""With an Idempotency-Key: BEGIN, the key, the work, the answer, COMMIT."""


ASYNCPGS = ("typeinfo_tree", "current_setting('jit')")
"""In what asyncpg itself asks, once for each connection, about a type that it meets for the first time."""
KEYED = [
    name for name, one in OPERATIONS.items() if any(p["name"] == "Idempotency-Key" for p in one.parameters("header"))
]

_counted: ContextVar[list[str] | None] = ContextVar("counted", default=None)
"""Of the request that is looked at; what the application does besides, mail for example, does not inherit it."""


@pytest.fixture
def observed_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make connections tell what they send."""
    connect = asyncpg.connect

    def note(record: Any) -> None:
        if (counted := _counted.get()) is not None and not any(word in record.query for word in ASYNCPGS):
            counted.append(record.query)

    async def connect_observed(*arguments: Any, **options: Any) -> Any:
        connection = await connect(*arguments, **options)
        connection.add_query_logger(note)
        return connection

    monkeypatch.setattr(asyncpg, "connect", connect_observed)


@pytest.fixture
async def resident(
    host: Host, shared_database: str, release: Release, observed_connections: None
) -> AsyncIterator[Resident]:
    """Somebody with ten tasks and ten categories: more than any count below."""
    async with running(build_app(host.settings(shared_database), release)) as http:
        resident = await Resident.settle(http)
        for number in range(10):
            category = await resident.make("/api/v1/categories", {"name": f"{number}"})
            await resident.make("/api/v1/tasks", {"title": f"{number}", "category_id": category["id"]})
        yield resident


async def statements_of(resident: Resident, request: httpx.Request) -> tuple[list[str], httpx.Response]:
    """What a request makes the application send, in order."""
    counted: list[str] = []
    token = _counted.set(counted)
    answer = await resident.http.send(request)
    await asyncio.sleep(0)  # asyncpg tells of the last one in the loop's next round
    _counted.reset(token)
    assert answer.is_success, answer.text
    return counted, answer


@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_operation_makes_so_many_round_trips(name: str, resident: Resident) -> None:
    statements, _ = await statements_of(resident, resident.request(OPERATIONS[name]))
    assert name in ROUND_TRIPS, f"write down that {name} makes {len(statements)} round trips: {statements}"
    assert len(statements) == ROUND_TRIPS[name], statements


@pytest.mark.parametrize("name", KEYED)
async def test_a_key_costs_so_many_round_trips(name: str, resident: Resident) -> None:
    request = resident.request(OPERATIONS[name], headers={"Idempotency-Key": uuid4().hex})
    statements, first = await statements_of(resident, request)
    assert name in WITH_A_KEY, f"write down that {name} makes {len(statements)} round trips: {statements}"
    assert len(statements) == WITH_A_KEY[name], statements
    statements, again = await statements_of(resident, request)
    assert again.content == first.content
    assert len(statements) <= 5, statements


def test_nothing_is_written_down_that_is_no_operation() -> None:
    assert ROUND_TRIPS.keys() == OPERATIONS.keys()
    assert WITH_A_KEY.keys() == set(KEYED)

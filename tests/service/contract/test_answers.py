"""What the document says of an answer is what is answered: status, headers, body, and 304 where there is an ETag."""

from typing import Any

import httpx
import jsonschema_rs
import pytest

from tests.service.contract.calls import OPERATIONS, SERVED, Operation, Resident, resolved

HEADERS = set(SERVED["components"]["headers"])


@pytest.fixture
async def resident(http: httpx.AsyncClient) -> Resident:
    return await Resident.settle(http)


def described(operation: Operation, answer: httpx.Response) -> Any:
    return resolved(operation.described["responses"][str(answer.status_code)])


def assert_described(operation: Operation, answer: httpx.Response) -> None:
    found = described(operation, answer)
    sent = {name for name in HEADERS if name in answer.headers}
    assert sent <= set(found["headers"])
    assert sent == set(found["headers"]) or not answer.is_success
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    if not found.get("content"):
        assert not answer.content
        return
    schema = {**found["content"][media_type]["schema"], "components": SERVED["components"]}
    if media_type.endswith("json"):
        jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(answer.json())


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_success_is_as_described(name: str, resident: Resident) -> None:
    operation = OPERATIONS[name]
    answer = await resident.http.send(resident.request(operation))
    assert answer.is_success
    assert_described(operation, answer)
    if "304" in operation.described["responses"]:
        request = resident.request(operation, headers={"If-None-Match": answer.headers["ETag"]})
        answer = await resident.http.send(request)
        assert answer.status_code == 304
        assert_described(operation, answer)


@pytest.mark.parametrize("name", [name for name, one in OPERATIONS.items() if one.needs_token])
async def test_a_refusal_without_a_token_is_as_described(name: str, resident: Resident) -> None:
    request = resident.request(OPERATIONS[name])
    del request.headers["Authorization"]
    answer = await resident.http.send(request)
    assert answer.status_code == 401
    assert_described(OPERATIONS[name], answer)


@pytest.mark.parametrize("name", [name for name, one in OPERATIONS.items() if one.media_type])
async def test_a_refusal_of_a_body_is_as_described(name: str, resident: Resident) -> None:
    answer = await resident.http.send(resident.request(OPERATIONS[name], content=b"{}"))
    assert answer.status_code in {200, 422}  # nothing to change is fine with a PATCH
    assert_described(OPERATIONS[name], answer)

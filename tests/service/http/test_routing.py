import json
from typing import Annotated, Any
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter, Cookie, Depends, FastAPI, Form, Header, Query, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse

from service.errors import UnauthenticatedError
from service.http.envelope import Envelope
from service.http.routing import Route, own_literal_paths
from service.http.security_headers import SecurityHeaders
from tests.service.conftest import User

ID = "0197b1f0-0000-7000-8000-000000000000"


class Filter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    status: list[str] = []
    limit: Annotated[int, Field(ge=1)] = 20


class Thing(BaseModel):
    name: str
    size: int = 1
    inner: Any = None


class Note(BaseModel):
    text: Annotated[str, Field(max_length=3000)]


class Book(BaseModel):
    model_config = ConfigDict(extra="forbid")

    lines: Annotated[list[Annotated[str, Field(max_length=10_000)]], Field(max_length=100)]


async def who(request: Request) -> str:
    if request.headers.get("authorization") is None:
        raise UnauthenticatedError
    return "somebody"


async def read(
    request: Request, thing_id: UUID, query: Annotated[Filter, Query()], x_mark: Annotated[str | None, Header()] = None
) -> Response:
    return JSONResponse({"id": str(thing_id), "mark": x_mark, **query.model_dump(), "path": request.url.path})


async def write(
    name: Annotated[str, Depends(who)], thing: Thing, if_match: Annotated[str, Header(max_length=3)] = "*"
) -> Response:
    return JSONResponse({"who": name, "if_match": if_match, **thing.model_dump()})


async def login(username: Annotated[str, Form(max_length=5)], scope: Annotated[str, Form()] = "all") -> Response:
    return JSONResponse({"username": username, "scope": scope})


async def note(note: Note) -> Response:
    return JSONResponse({"characters": len(note.text)})


async def book(book: Book) -> Response:
    return JSONResponse({"characters": sum(map(len, book.lines))})


@pytest.fixture
def api() -> httpx.AsyncClient:
    router = APIRouter(route_class=Route)
    router.get("/things/{thing_id}")(read)
    router.post("/things/new")(write)
    router.post("/things")(write)
    router.post("/login")(login)
    router.post("/notes")(note)
    router.post("/books")(book)
    router.post("/guarded", dependencies=[Depends(who)])(note)
    app = FastAPI(redirect_slashes=False)
    app.router.routes.extend(router.routes)
    own_literal_paths(app.router.routes)
    app.middleware_stack = Envelope(app.router, SecurityHeaders(behind_tls=False))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")


def fields(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [error["field"] for error in answer.json()["errors"]]


async def test_reads_path_query_and_headers(api: httpx.AsyncClient) -> None:
    answer = await api.get(f"/things/{ID}?status=a&limit=3&status=b", headers={"X-Mark": "m"})
    assert answer.json() == {
        "id": ID,
        "mark": "m",
        "status": ["a", "b"],
        "limit": 3,
        "path": f"/things/{ID}",
    }
    answer = await api.get(f"/things/{ID}")
    assert answer.json() == answer.json() | {"mark": None, "status": [], "limit": 20}


async def test_names_every_wrong_parameter_at_once(api: httpx.AsyncClient) -> None:
    assert fields(await api.get("/things/none?limit=0&other=1&status=a")) == ["thing_id", "limit", "other"]


async def test_bounds_the_number_of_query_parameters(api: httpx.AsyncClient) -> None:
    assert (await api.get(f"/things/{ID}?" + "&".join(["status=a"] * 200))).status_code == 200
    assert fields(await api.get(f"/things/{ID}?" + "&".join(["status=a"] * 201))) == ["query"]


async def test_reads_a_json_body(api: httpx.AsyncClient) -> None:
    headers = {"Authorization": "x", "Content-Type": "application/json; charset=utf-8"}
    answer = await api.post("/things", content='{"name":"é","size":2}', headers=headers)
    assert answer.json() == {"who": "somebody", "if_match": "*", "name": "é", "size": 2, "inner": None}


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"", ["body"]),
        (b"{", ["body"]),
        (b"[]", ["body"]),
        (b'{"size":"x"}', ["name", "size"]),
        (b'{"name":"\\ud800"}', ["body"]),
        (b'{"name":"\xff"}', ["body"]),
        (b'{"name":"a","inner":' + b"[" * 10_000, ["body"]),
    ],
)
async def test_says_what_is_wrong_with_a_body(api: httpx.AsyncClient, content: bytes, where: list[str]) -> None:
    headers = {"Authorization": "x", "Content-Type": "application/json"}
    assert fields(await api.post("/things", content=content, headers=headers)) == where


async def test_names_no_more_than_a_hundred_faults(api: httpx.AsyncClient) -> None:
    assert len(fields(await api.get(f"/things/{ID}?" + "&".join(f"other{n}=1" for n in range(150))))) == 100


async def test_nobody_learns_what_is_valid_without_a_token(api: httpx.AsyncClient) -> None:
    answer = await api.post("/things", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 401


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_refuses_other_media_types(api: httpx.AsyncClient, media_type: str) -> None:
    headers = {"Authorization": "x", "Content-Type": media_type}
    answer = await api.post("/things", content=b'{"name":"a"}', headers=headers)
    assert answer.status_code == 415
    assert answer.json()["type"] == "/problems/unsupported-media-type"


async def test_reads_a_form(api: httpx.AsyncClient) -> None:
    assert (await api.post("/login", data={"username": "me"})).json() == {"username": "me", "scope": "all"}
    assert fields(await api.post("/login", data={"scope": "x"})) == ["username"]
    assert fields(await api.post("/login", data={"username": "longer"})) == ["username"]
    many = await api.post("/login", data={str(number): "x" for number in range(21)})
    assert fields(many) == ["body"]


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize("content", ["username=p%C3%A4ss", "username=päss", "username=pa&username=p%c3%a4s%73"])
async def test_a_form_is_utf_8_whether_it_is_escaped_or_not(api: httpx.AsyncClient, content: str) -> None:
    answer = await api.post("/login", content=content.encode(), headers=FORM)
    assert answer.json()["username"] == "päss"


@pytest.mark.parametrize("content", [b"username=p\xe4ss", b"username=p%E4ss"])
async def test_a_form_of_another_encoding_is_refused(api: httpx.AsyncClient, content: bytes) -> None:
    assert fields(await api.post("/login", content=content, headers=FORM)) == ["body"]


JSON = {"Authorization": "x", "Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json;charset=UTF-8"}, 200),
        ({"Content-Type": 'application/json; x=y; charset="utf-8"'}, 200),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": "application/json; x=y; Charset = utf-16"}, 415),
        ({"Content-Encoding": "identity"}, 200),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Encoding": "identity, br"}, 415),
    ],
)
async def test_bodies_come_in_utf_8_and_as_they_are(
    api: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    answer = await api.post("/things", content=b'{"name":"a"}', headers=JSON | headers)
    assert answer.status_code == status
    assert answer.headers.get("accept-encoding") == (
        "identity" if "gzip" in str(headers) or "br" in str(headers) else None
    )


async def test_a_body_is_no_longer_than_its_schema_allows(api: httpx.AsyncClient) -> None:
    for length, status in ((16 * 1024, 200), (16 * 1024 + 1, 413)):
        content = b'{"name":"a"}'.ljust(length)
        assert (await api.post("/things", content=content, headers=JSON)).status_code == status

        async def pieces(content: bytes = content) -> Any:
            yield content[:9000]
            yield content[9000:]

        headers = JSON | {"Transfer-Encoding": "chunked"}
        assert (await api.post("/things", content=pieces(), headers=headers)).status_code == status
    # An operation whose schema has room for more takes more.
    longest = "\\ud83d\\ude00" * 3000
    assert len(longest) == 36_000
    assert (await api.post("/notes", content=f'{{"text":"{longest}"}}', headers=JSON)).status_code == 200
    assert (await api.post("/notes", content=b'{"text":"a"}'.ljust(37_000), headers=JSON)).status_code == 413


@pytest.mark.parametrize("value", ["{}", "[]", '""', '"\\\\"', '"\\""', "1"])
async def test_a_body_of_very_many_values_is_not_parsed(api: httpx.AsyncClient, value: str) -> None:
    def content(number: int) -> str:
        return f'{{"lines":[{",".join([value] * number)}]}}'

    answer = await api.post("/books", content=content(21_000), headers=JSON)
    assert answer.json()["errors"] == [{"field": "body", "message": "has more than 10000 values"}]
    answer = await api.post("/books", content=content(4_990), headers=JSON)
    assert "values" not in answer.text


async def test_text_may_hold_what_separates_values(api: httpx.AsyncClient) -> None:
    lines = ['"[,{\\' * 2_000] * 10
    answer = await api.post("/books", content=json.dumps({"lines": lines}), headers=JSON)
    assert answer.json() == {"characters": sum(map(len, lines))}


async def test_too_many_faults_are_not_listed(api: httpx.AsyncClient) -> None:
    content = json.dumps({f"f{number}": 0 for number in range(1001)})
    answer = await api.post("/books", content=content, headers=JSON)
    assert answer.json()["errors"] == [{"field": "body", "message": "has more than 1000 faults"}]


async def test_lines_of_one_header_are_one_list(api: httpx.AsyncClient) -> None:
    headers = [*JSON.items(), ("If-Match", "a"), ("If-Match", "b")]
    assert fields(await api.post("/things", json={"name": "a"}, headers=headers)) == ["if-match"]  # "a, b": 4 letters
    assert (await api.post("/things", json={"name": "a"}, headers=headers[:3])).json()["if_match"] == "a"


async def test_a_dependency_of_the_route_comes_before_its_body(api: httpx.AsyncClient) -> None:
    assert (await api.post("/guarded", content=b"{", headers=JSON)).status_code == 422
    del (headers := dict(JSON))["Authorization"]
    assert (await api.post("/guarded", content=b"{", headers=headers)).status_code == 401


@pytest.mark.parametrize("path", ["/things", "/login", f"/things/{ID}"])
async def test_a_path_ends_where_it_ends(api: httpx.AsyncClient, path: str) -> None:
    for end in ("%0A", "%0D", "%00", "%20", "/"):
        answer = await api.request("POST" if path != f"/things/{ID}" else "GET", path + end)
        assert answer.status_code == (404 if path != f"/things/{ID}" or end == "/" else 422)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/things/new", "POST"),
        ("DELETE", "/things/new", "POST"),
        ("DELETE", f"/things/{ID}", "GET, HEAD"),
        ("DELETE", "/things", "POST"),
    ],
)
async def test_a_path_without_parameters_is_no_parameter(
    api: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await api.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


async def test_validates_headers(api: httpx.AsyncClient) -> None:
    headers = {"Authorization": "x", "If-Match": "long"}
    assert fields(await api.post("/things", json={"name": "a"}, headers=headers)) == ["if-match"]


def test_the_document_is_fastapis_own() -> None:
    def document(route_class: type[APIRoute]) -> Any:
        router = APIRouter(route_class=route_class)
        router.get("/things/{thing_id}")(read)
        router.post("/things")(write)
        router.post("/login")(login)
        app = FastAPI()
        app.router.routes.extend(router.routes)
        return app.openapi()

    assert document(Route) == document(APIRoute)


async def plain_query(limit: int = 1) -> Response:
    return Response(str(limit))


async def cookie(taste: Annotated[str, Cookie()] = "") -> Response:
    return Response(taste)


async def two_bodies(one: Thing, other: Thing) -> Response:
    return Response(one.name + other.name)


@pytest.mark.parametrize("endpoint", [plain_query, cookie, two_bodies])
def test_refuses_a_declaration_that_it_does_not_read(endpoint: Any) -> None:
    with pytest.raises(TypeError):
        Route("/x", endpoint, methods=["POST"])


@pytest.mark.parametrize("path", ["/health/live", "/version", "/metrics", "/api/v1/tasks"])
async def test_no_path_of_ours_ends_with_a_line(http: httpx.AsyncClient, path: str) -> None:
    for forwarded in ({}, {"X-Forwarded-For": "10.0.0.1"}):
        assert (await http.get(f"{path}%0A", headers=forwarded)).status_code == 404


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/tasks/statistics", "GET, HEAD"),
        ("/tasks/bulk", "PATCH, POST"),
        ("/tasks/bulk/delete", "POST"),
        ("/categories/statistics", "GET, HEAD"),
    ],
)
async def test_no_literal_path_of_ours_is_an_id(user: User, path: str, allowed: str) -> None:
    for method in {"GET", "PUT", "PATCH", "POST", "DELETE", "OPTIONS"} - set(allowed.split(", ")):
        answer = await user.call(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)

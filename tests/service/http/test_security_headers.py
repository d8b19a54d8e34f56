import re

import httpx

from service.main import build_app
from service.release import Release
from tests.service.conftest import Host, User, running


def is_guarded(answer: httpx.Response) -> bool:
    """Whether an answer carries each header once, as it should."""
    expected = {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "vary": "Accept-Encoding",
    }
    return all(answer.headers.get_list(name) == [value] for name, value in expected.items())


async def test_every_answer_is_guarded(user: User) -> None:
    answers = [
        await user.call("GET", "/tasks"),
        await user.call("GET", "/tasks/no-id"),
        await user.http.get("/api/v1/tasks"),
        await user.http.get("/no/such/path"),
        await user.http.put("/health/live"),
        await user.http.post("/api/v1/auth/register", content=b"x" * 2_000_000),
    ]
    assert [answer.status_code for answer in answers] == [200, 422, 401, 404, 405, 413]
    for answer in answers:
        assert is_guarded(answer), answer.headers
        assert answer.headers.get_list("cache-control") == ["private, no-cache"]
        assert "strict-transport-security" not in answer.headers


async def test_what_an_answer_says_of_caches_stands(user: User) -> None:
    answer = await user.http.post("/api/v1/auth/login", data={"username": user.email, "password": "correct horse"})
    assert answer.headers.get_list("cache-control") == ["no-store"]


async def test_deployed_environments_are_reached_over_tls_only(
    host: Host, shared_database: str, release: Release
) -> None:
    async with running(build_app(host.settings(shared_database, environment="staging"), release)) as http:
        assert (await http.get("/health/live")).headers["strict-transport-security"].startswith("max-age=63072000")


async def test_the_pages_of_the_documentation_may_load_what_they_need(http: httpx.AsyncClient) -> None:
    page = await http.get("/docs")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    for address in re.findall(r'<script src="(https://[^/"]+)', page.text):
        assert address in policy["script-src"]
    for address in re.findall(r'<link [^>]*rel="stylesheet"[^>]*href="(https://[^/"]+)', page.text):
        assert address in policy["style-src"]
    assert "<script>" in page.text
    assert "'unsafe-inline'" in policy["script-src"]
    assert page.headers["x-frame-options"] == "DENY"


async def test_long_lists_are_compressed_for_who_asks(user: User) -> None:
    document = await user.http.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert document.headers["content-encoding"] == "gzip"
    assert document.json()["info"]["title"] == "Slipway"
    plain = await user.http.get("/openapi.json", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers

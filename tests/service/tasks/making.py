"""What the tests of tasks make and look at."""

from typing import Any

from service.tasks.models import TaskView
from service.tasks.queries import TaskPage
from tests.service.conftest import User


async def make(user: User, **fields: Any) -> dict[str, Any]:
    """Create a task."""
    created: dict[str, Any] = await user.call("POST", "/tasks", json={"title": "a task", **fields}, expect=201)
    TaskView.model_validate(created, extra="forbid")
    return created


async def make_many(user: User, *items: dict[str, Any]) -> list[dict[str, Any]]:
    """Create tasks in one request, or several where one does not hold them."""
    made = []
    for start in range(0, len(items), 100):
        part = [{"title": "a task", **item} for item in items[start : start + 100]]
        made += (await user.call("POST", "/tasks/bulk", json={"items": part}, expect=201))["items"]
    return made


async def make_category(user: User, name: str = "x") -> str:
    """Create a category and return its id."""
    created: dict[str, Any] = await user.call("POST", "/categories", json={"name": name}, expect=201)
    category_id: str = created["id"]
    return category_id


async def titles(user: User, **query: Any) -> list[str]:
    """The titles of a list's first page."""
    page = await user.call("GET", "/tasks", params=query, expect=200)
    TaskPage.model_validate(page, extra="forbid")
    return [item["title"] for item in page["items"]]


async def every_page(user: User, path: str = "/tasks", **query: Any) -> list[dict[str, Any]]:
    """All items of a list, page by page."""
    seen: list[dict[str, Any]] = []
    cursor = None
    while True:
        parameters = query | ({"cursor": cursor} if cursor else {})
        page = await user.call("GET", path, params=parameters, expect=200)
        assert len(page["items"]) <= query.get("limit", 100)
        seen += page["items"]
        if (cursor := page["next_cursor"]) is None:
            return seen

"""What people do with the service, as sequences of requests; without I/O, so that any client can send them.

A journey is a generator: it yields a `Request`, is sent the `Reply`, and so on until it ends. A reply that was not what
the request expects ends the journey; the sender sees to that.
"""

import json
import random
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeAlias
from urllib.parse import quote

from loadtests.phrases import LANGUAGES

__all__ = [
    "JOURNEYS",
    "KINDS",
    "NEWCOMER_DOMAIN",
    "NEWCOMER_PASSWORD",
    "Journey",
    "JourneyKind",
    "Reply",
    "Request",
    "Visitor",
    "login",
    "register",
]

API = "/api/v1"
NEWCOMER_DOMAIN = "load.example"
NEWCOMER_PASSWORD = "a newcomer's long enough passphrase"  # noqa: S105 - of accounts that hold nothing
FILTERS = (
    "status=todo&status=in_progress&sort=due_at&limit=20",
    "priority=high&priority=urgent&sort=-priority&limit=20",
    "status=completed&sort=-created_at&limit=50",
    "status=todo&priority=medium&sort=title&limit=20",
)
SEARCHES = ("report", "invoice", "Rechnung", "factura", "rapport", "отчёт", "发票", "会議", "contract", "التقرير")


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request of a journey.

    Args:
        kind: what it is counted as.
        method: of HTTP.
        path: with query, from the root of the service.
        expects: the status that means success.
        token: bearer token, if any.
        body: if any; goes out as UTF-8.
        content_type: of the body.
    """

    kind: str
    method: str
    path: str
    expects: int = 200
    token: str | None = None
    body: str | None = None
    content_type: str = "application/json"

    @property
    def headers(self) -> dict[str, str]:
        """Headers that the request needs besides those of the client."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if self.body is not None:
            headers["Content-Type"] = self.content_type
        return headers


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the body of an answer with the status that the request expects."""

    body: bytes

    def json(self) -> Any:
        """The body, decoded; ValueError when it is no JSON."""
        return json.loads(self.body)


Journey: TypeAlias = Generator[Request, Reply, None]


@dataclass(slots=True)
class Visitor:
    """Who goes on a journey.

    Args:
        token: bearer token of an account of the dataset; newcomers do not need it.
        run: a word that is unlike that of any other run and process, for addresses of newcomers.
        generator: source of what differs from visit to visit.
    """

    token: str
    run: str
    generator: random.Random = field(default_factory=random.Random)


_newcomers = count()


def login(email: str, password: str) -> Request:
    """The OAuth2 password form."""
    form = f"username={quote(email)}&password={quote(password)}"
    return Request("login", "POST", f"{API}/auth/login", body=form, content_type="application/x-www-form-urlencoded")


def register(name: str) -> tuple[Request, Request]:
    """The registration of an account called `name` in the newcomers' domain, and its login."""
    email = f"{name}@{NEWCOMER_DOMAIN}"
    account = {"email": email, "password": NEWCOMER_PASSWORD, "full_name": "Newcomer Новый 新人"}
    registration = Request("register", "POST", f"{API}/auth/register", 201, body=_json(account))
    return registration, login(email, NEWCOMER_PASSWORD)


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False)


def reader(visitor: Visitor) -> Journey:
    """Looks at the newest tasks, opens one, filters."""
    choice, token = visitor.generator.choice, visitor.token
    page = (yield Request("list_tasks", "GET", f"{API}/tasks?limit=20", token=token)).json()
    if page["items"]:
        yield Request("get_task", "GET", f"{API}/tasks/{choice(page['items'])['id']}", token=token)
    yield Request("filter_tasks", "GET", f"{API}/tasks?{choice(FILTERS)}", token=token)


def searcher(visitor: Visitor) -> Journey:
    """Looks for a word, then for it among what is still to be done, and opens what was found."""
    choice, token = visitor.generator.choice, visitor.token
    found = f"{API}/tasks?q={quote(choice(SEARCHES))}&limit=20"
    page = (yield Request("search_tasks", "GET", found, token=token)).json()
    yield Request("search_open_tasks", "GET", f"{found}&status=todo&status=in_progress", token=token)
    if page["items"]:
        yield Request("get_task", "GET", f"{API}/tasks/{choice(page['items'])['id']}", token=token)


def editor(visitor: Visitor) -> Journey:
    """Writes a task down, changes it, throws it away: the dataset is afterwards as it was."""
    generator, token = visitor.generator, visitor.token
    language = generator.choice(LANGUAGES)
    categories = (yield Request("list_categories", "GET", f"{API}/categories", token=token)).json()["items"]
    title = language.joiner.join((generator.choice(language.starts), generator.choice(language.things)))
    task = {
        "title": title,
        "description": (title + language.stop) * generator.randrange(1, 8),
        "priority": generator.choice(("low", "medium", "high", "urgent")),
        "due_at": f"2031-0{generator.randrange(1, 10)}-15T09:30:00Z",
        "category_id": generator.choice(categories)["id"] if categories else None,
    }
    created = yield Request("create_task", "POST", f"{API}/tasks", 201, token, _json(task))
    path = f"{API}/tasks/{created.json()['id']}"
    yield Request("update_task", "PATCH", path, 200, token, _json({"status": "completed", "title": f"{title} ✓"}))
    yield Request("delete_task", "DELETE", path, 204, token)


def newcomer(visitor: Visitor) -> Journey:
    """Registers, logs in, and finds the new account."""
    registration, first_login = register(f"newcomer-{visitor.run}-{next(_newcomers)}")
    yield registration
    token = (yield first_login).json()["access_token"]
    yield Request("me", "GET", f"{API}/me", token=token)


@dataclass(frozen=True, slots=True)
class JourneyKind:
    """A row of the table below.

    Args:
        name: who goes on the journey.
        weight: share of the arrivals, relative to the other rows.
        steps: makes the journey.
        requests: kinds of its requests, in their order.
        writes: whether it throws tasks away that others of the same account may be about to open.
    """

    name: str
    weight: int
    steps: Callable[[Visitor], Journey]
    requests: tuple[str, ...]
    writes: bool = False

    def visitors(self, tokens: Sequence[str]) -> Sequence[str]:
        """Whose accounts it is made with: every other one is for those who write, so that nobody misses a task."""
        return tokens[int(self.writes) :: 2] or tokens


# The one table: who comes how often, and what they ask for. A reader whose list is empty opens nothing.
JOURNEYS = (
    JourneyKind("reader", 2, reader, ("list_tasks", "get_task", "filter_tasks")),
    JourneyKind("searcher", 2, searcher, ("search_tasks", "search_open_tasks", "get_task")),
    JourneyKind("editor", 2, editor, ("list_categories", "create_task", "update_task", "delete_task"), writes=True),
    JourneyKind("newcomer", 1, newcomer, ("register", "login", "me")),
)
KINDS = tuple(dict.fromkeys(kind for journey in JOURNEYS for kind in journey.requests))

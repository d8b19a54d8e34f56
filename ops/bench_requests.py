"""What the benchmark asks for: the requests of its measures, made with accounts of the dataset and with newcomers."""

import contextlib
import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from infra.contract import API_PREFIX
from loadtests.bench import Comparison
from loadtests.journeys import NEWCOMER_PASSWORD, Request, register

CONNECTIONS = 16
"""Each with an account of its own, so that nothing remembered for one account or token flatters us."""
DEEP_PAGE = 1_000
PAGE_ROWS = 20
WORDS = 8
"""So many different searches are made in turn."""
NEW_TASK = {"title": "Write it down", "description": "What is on paper is off the mind.", "priority": "high"} | {
    "due_at": "2031-01-15T09:30:00Z"
}


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody logged in: a token, and how many tasks the dataset gave them."""

    token: str
    tasks: int = 0


class Visits:
    """Makes requests for the measures.

    Args:
        http: a client of the service.
        credentials: content of the dataset's credentials file.
    """

    def __init__(self, http: httpx.Client, credentials: dict[str, Any]) -> None:
        self._http = http
        accounts = sorted(credentials["emails"], key=lambda one: -int(one["tasks"]))
        small = min(accounts, key=lambda one: abs(int(one["tasks"]) - PAGE_ROWS))
        self.readers, [self.small] = (
            [Account(self._log_in(one["email"], credentials["password"]), one["tasks"]) for one in chosen]
            for chosen in (accounts[:CONNECTIONS], [small])
        )

    def rates(self, creators: Sequence[Account]) -> dict[str, list[Request]]:
        """What is compared with the ceiling: for each kind, a request for each connection."""
        path, body = f"{API_PREFIX}/tasks", json.dumps(NEW_TASK)
        return {
            "list_20": [
                Request("list_20", "GET", f"{path}?limit={PAGE_ROWS}", token=reader.token) for reader in self.readers
            ],
            "get_one": [
                Request("get_one", "GET", f"{path}/{self._page(reader)['items'][0]['id']}", token=reader.token)
                for reader in self.readers
            ],
            "create": [Request("create", "POST", path, 201, creator.token, body) for creator in creators],
        }

    def comparisons(self) -> dict[str, Comparison]:
        """What is compared with ourselves: an account of 20,000 tasks and one of 20, a late page and the first."""
        large = self.readers[0]
        first, late = {"limit": PAGE_ROWS}, {"limit": PAGE_ROWS, "cursor": self._late_cursor(large)}
        return {
            "search": Comparison(self._searches(large), self._searches(self.small), 0.95),
            "statistics": Comparison(
                [self._get("/tasks/statistics", large)], [self._get("/tasks/statistics", self.small)], 0.95
            ),
            "page_1000": Comparison([self._get("/tasks", large, late)], [self._get("/tasks", large, first)], 0.5),
        }

    @contextlib.contextmanager
    def newcomers(self) -> Iterator[list[Account]]:
        """Accounts whose rows are gone afterwards, one for each connection."""
        word, made = secrets.token_hex(6), []
        try:
            for index in range(CONNECTIONS):
                registration, login = register(f"bench-{word}-{index}")
                self._send(registration)
                made.append(Account(self._send(login).json()["access_token"]))
            yield made
        finally:
            for account in made:
                headers = {"Authorization": f"Bearer {account.token}"}
                self._http.request(
                    "DELETE", f"{API_PREFIX}/me", headers=headers, json={"password": NEWCOMER_PASSWORD}
                ).raise_for_status()

    def _log_in(self, email: str, password: str) -> str:
        form = {"username": email, "password": password}
        answer = self._http.post(f"{API_PREFIX}/auth/login", data=form).raise_for_status()
        return str(answer.json()["access_token"])

    def _send(self, request: Request) -> httpx.Response:
        return self._http.request(
            request.method, request.path, content=request.body, headers=request.headers
        ).raise_for_status()

    def _get(self, path: str, account: Account, query: dict[str, Any] | None = None) -> Request:
        words = f"?{httpx.QueryParams(query)}" if query else ""
        return Request(path, "GET", f"{API_PREFIX}{path}{words}", token=account.token)

    def _page(self, account: Account, **query: Any) -> dict[str, Any]:
        content: dict[str, Any] = self._send(self._get("/tasks", account, query)).json()
        return content

    def _late_cursor(self, account: Account) -> str:
        """Where page 1,000 begins; reached by larger pages, because a cursor does not know the size of its page."""
        rows, limit = (DEEP_PAGE - 1) * PAGE_ROWS, 60
        cursor = None
        for _ in range(rows // limit):
            query = {"limit": limit} | ({"cursor": cursor} if cursor else {})
            cursor = self._page(account, **query)["next_cursor"]
        return str(cursor)

    def _searches(self, account: Account) -> list[Request]:
        """Searches for words that the account's own titles begin with."""
        titles = [item["title"] for item in self._page(account, limit=100)["items"]]
        words = list(dict.fromkeys(title.split()[0] for title in titles))[:WORDS]
        return [self._get("/tasks", account, {"q": word, "limit": PAGE_ROWS}) for word in words]

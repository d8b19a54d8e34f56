"""Black-box checks, over HTTP alone, of what must work before anyone relies on a deploy.

They leave nothing behind but one account with a random name; every task they make they delete.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from infra.contract import API_PREFIX, LIVE_PATH, READY_PATH, VERSION_PATH

OK, CREATED, NO_CONTENT = httpx.codes.OK, httpx.codes.CREATED, httpx.codes.NO_CONTENT
UNAUTHORIZED, NOT_FOUND, UNPROCESSABLE = 401, 404, 422
NO_ANSWER = "no answer"


class SmokeError(Exception):
    """A check did not find what it expects."""


@dataclass(frozen=True)
class Check:
    """One check's result; `reason` is empty where it passed."""

    name: str
    milliseconds: float
    reason: str = ""

    @property
    def passed(self) -> bool:
        """Whether the service did what it should."""
        return not self.reason

    def as_dict(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self) | {"passed": self.passed}


def line(check: Check) -> str:
    """A check's line in the terminal, with rich's marks."""
    mark = "[green]✓[/]" if check.passed else "[red]✗[/]"
    return f"{mark} {check.name:<36}{check.milliseconds:8.1f} ms"


class Visitor:
    """What one visitor sees, check by check; the later checks use what the earlier ones made."""

    def __init__(self, http: httpx.Client, release: str | None) -> None:
        self.http = http
        self.release = release
        self.email = f"smoke-{secrets.token_hex(8)}@smoke.example"
        self.password = secrets.token_urlsafe(24)
        self.token: dict[str, str] = {}
        self.task: dict[str, Any] = {}

    def checks(self) -> list[tuple[str, Callable[[], object]]]:
        """Name and body of each check, in order."""
        return [
            ("live", lambda: self._get_ok(LIVE_PATH)),
            ("ready", lambda: self._get_ok(READY_PATH)),
            ("version is this release", self.version),
            ("a call without a token is refused", self.unauthenticated),
            ("register", self.register),
            ("login", self.login),
            ("who am I", self.me),
            ("create a task", self.create),
            ("the list shows it", self.listed),
            ("update it", self.update),
            ("a bad body is told apart", self.bad_body),
            ("delete it", self.delete),
        ]

    def version(self) -> None:
        """The release that answers is the one just deployed."""
        answers = self._get_ok(VERSION_PATH)["release"]
        if self.release is not None and answers != self.release:
            raise SmokeError(f"release {answers} answers instead of {self.release}")

    def unauthenticated(self) -> None:
        """Without a token there is 401 and a challenge (RFC 9110, section 11.6.1)."""
        answer = self.http.get(f"{API_PREFIX}/tasks")
        _expect(answer, UNAUTHORIZED)
        if "www-authenticate" not in answer.headers:
            raise SmokeError("the 401 has no WWW-Authenticate header")

    def register(self) -> None:
        """A newcomer gets an account."""
        body = {"email": self.email, "password": self.password, "full_name": "Smoke Check"}
        _expect(self.http.post(f"{API_PREFIX}/auth/register", json=body), CREATED)

    def login(self) -> None:
        """The account gets a token."""
        form = {"username": self.email, "password": self.password}
        answer = _expect(self.http.post(f"{API_PREFIX}/auth/login", data=form), OK)
        self.token = {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def me(self) -> None:
        """The token belongs to the account."""
        email = self._get_ok(f"{API_PREFIX}/me")["email"]
        if email != self.email:
            raise SmokeError(f"the token belongs to {email}")

    def create(self) -> None:
        """A task is kept as it was given."""
        body = {"title": "Smoke check ✓", "priority": "high"}
        answer = self.http.post(f"{API_PREFIX}/tasks", json=body, headers=self.token)
        self.task = _expect(answer, CREATED).json()
        _same(self.task, body)

    def listed(self) -> None:
        """The list holds that task and no other."""
        items = self._get_ok(f"{API_PREFIX}/tasks")["items"]
        if [item["id"] for item in items] != [self.task["id"]]:
            raise SmokeError(f"the list holds {len(items)} tasks, and not just the one created")

    def update(self) -> None:
        """A change is kept."""
        body = {"status": "completed"}
        _same(_expect(self.http.patch(self._task_path, json=body, headers=self.token), OK).json(), body)
        _same(self._get_ok(self._task_path), body)

    def bad_body(self) -> None:
        """A bad body gets 422 that names the field."""
        answer = self.http.post(f"{API_PREFIX}/tasks", json={"title": None}, headers=self.token)
        _expect(answer, UNPROCESSABLE)
        if "title" not in answer.text:
            raise SmokeError("the 422 does not name the field: title")

    def delete(self) -> None:
        """A deleted task is gone."""
        _expect(self.http.delete(self._task_path, headers=self.token), NO_CONTENT)
        _expect(self.http.get(self._task_path, headers=self.token), NOT_FOUND)

    @property
    def _task_path(self) -> str:
        return f"{API_PREFIX}/tasks/{self.task['id']}"

    def _get_ok(self, path: str) -> dict[str, Any]:
        content: dict[str, Any] = _expect(self.http.get(path, headers=self.token), OK).json()
        return content


def run(http: httpx.Client, release: str | None = None) -> Iterator[Check]:
    """Each check's result as it ends; the first failure is the last result, because the others build on it.

    Args:
        http: a client whose base URL is the service's.
        release: the release that must answer, or None for any.
    """
    for name, body in Visitor(http, release).checks():
        start, reason = time.perf_counter(), ""
        try:
            body()
        except SmokeError as error:
            reason = str(error)
        except httpx.HTTPError as error:
            reason = f"{NO_ANSWER}: {str(error) or type(error).__name__}"
        except (ValueError, KeyError, TypeError) as error:
            reason = f"not the answer's form: {type(error).__name__}: {error}"
        yield Check(name, round((time.perf_counter() - start) * 1000, 1), reason)
        if reason:
            return


def _expect(answer: httpx.Response, status: int) -> httpx.Response:
    if answer.status_code != status:
        call = f"{answer.request.method} {answer.request.url.path}"
        raise SmokeError(f"{call} gave {answer.status_code} instead of {status:d}: {answer.text[:200]}")
    return answer


def _same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        if found.get(name) != value:
            raise SmokeError(f"{name} is {found.get(name)!r} instead of {value!r}")

"""Black-box checks, over HTTP alone, of what must work before anyone relies on a deploy.

They leave nothing behind: the one account that they make they delete, with all that is in it, also when a check fails.
"""

import contextlib
import secrets
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from infra.contract import API_PREFIX, LIVE_PATH, READY_PATH, VERSION_PATH

OK, CREATED, NO_CONTENT = httpx.codes.OK, httpx.codes.CREATED, httpx.codes.NO_CONTENT
NOT_MODIFIED, UNAUTHORIZED, NOT_FOUND, PRECONDITION_FAILED, UNPROCESSABLE = 304, 401, 404, 412, 422
EMAIL_DOMAIN = "smoke.example"
NO_ANSWER = "no answer"
UNUSABLE = (httpx.HTTPError, ValueError, KeyError, TypeError)
"""What a wrong answer, or none, may raise."""
NEW_TASK = {"title": "Smoke check ✓", "priority": "high"}


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
        self.email = f"smoke-{secrets.token_hex(8)}@{EMAIL_DOMAIN}"
        self.password = secrets.token_urlsafe(24)
        self.may_have_account = False
        self.token: dict[str, str] = {}
        self.refresh_token = ""
        self.task: dict[str, Any] = {}
        self.etag = ""

    def read_only_checks(self) -> list[tuple[str, Callable[[], object]]]:
        """Name and body of each check that makes no data, in order."""
        return [*self._first_checks(), ("what is not there is told apart", self.missing), ("headers", self.headers)]

    def _first_checks(self) -> list[tuple[str, Callable[[], object]]]:
        return [
            ("live", lambda: self._get_ok(LIVE_PATH)),
            ("ready", lambda: self._get_ok(READY_PATH)),
            ("version is this release", self.version),
            ("a call without a token is refused", self.unauthenticated),
        ]

    def checks(self) -> list[tuple[str, Callable[[], object]]]:
        """Name and body of each check, in order."""
        return [
            *self._first_checks(),
            ("register", self.register),
            ("login", self.login),
            ("who am I", self.me),
            ("refresh the token", self.refresh),
            ("create a task", self.create),
            ("create it once only", self.create_again),
            ("the list shows it", self.listed),
            ("a search finds it", self.found),
            ("update it", self.update),
            ("a lost update is refused", self.update_too_late),
            ("what is known is not sent again", self.unchanged),
            ("a bad body is told apart", self.bad_body),
            ("delete it", self.delete),
            ("delete the account", self.leave),
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

    def missing(self) -> None:
        """A path that leads nowhere gets 404 as a problem (RFC 9457)."""
        answer = _expect(self.http.get(f"{API_PREFIX}/{secrets.token_hex(8)}"), NOT_FOUND)
        if not answer.headers.get("content-type", "").startswith("application/problem+json"):
            raise SmokeError("the 404 is no application/problem+json")

    def headers(self) -> None:
        """Browsers are told not to guess what an answer is."""
        answer = _expect(self.http.get(VERSION_PATH), OK)
        if answer.headers.get("x-content-type-options") != "nosniff":
            raise SmokeError("X-Content-Type-Options is not nosniff")

    def register(self) -> None:
        """A newcomer gets an account."""
        body = {"email": self.email, "password": self.password, "full_name": "Smoke Check"}
        self.may_have_account = True  # also when the answer does not come: interrupted, or lost
        _expect(self.http.post(f"{API_PREFIX}/auth/register", json=body), CREATED)

    def login(self) -> None:
        """The account gets a token."""
        form = {"username": self.email, "password": self.password}
        answer = _expect(self.http.post(f"{API_PREFIX}/auth/login", data=form), OK)
        self._remember(answer.json())

    def me(self) -> None:
        """The token belongs to the account."""
        email = self._get_ok(f"{API_PREFIX}/me")["email"]
        if email != self.email:
            raise SmokeError(f"the token belongs to {email}")

    def refresh(self) -> None:
        """A refresh token gives new tokens, of the same account."""
        body = {"refresh_token": self.refresh_token}
        self._remember(_expect(self.http.post(f"{API_PREFIX}/auth/refresh", json=body), OK).json())
        self.me()

    def create(self) -> None:
        """A task is kept as it was given."""
        self.task = self._create()
        _same(self.task, NEW_TASK)

    def create_again(self) -> None:
        """The same request with the same key gets the first answer (Idempotency-Key)."""
        _same(self._create(), self.task)

    def _create(self) -> dict[str, Any]:
        headers = self.token | {"Idempotency-Key": self.email}
        answer = self.http.post(f"{API_PREFIX}/tasks", json=NEW_TASK, headers=headers)
        task: dict[str, Any] = _expect(answer, CREATED).json()
        return task

    def listed(self) -> None:
        """The list holds that task and no other."""
        self._only_the_task(f"{API_PREFIX}/tasks")

    def found(self) -> None:
        """The beginning of a word leads to the task, another word does not."""
        self._only_the_task(f"{API_PREFIX}/tasks?q=smok")
        if self._get_ok(f"{API_PREFIX}/tasks?q=elsewhere")["items"]:
            raise SmokeError("a search finds what it should not")

    def _only_the_task(self, path: str) -> None:
        items = self._get_ok(path)["items"]
        if [item["id"] for item in items] != [self.task["id"]]:
            raise SmokeError(f"the list holds {len(items)} tasks, and not just the one created")

    def update(self) -> None:
        """A change to the known version is kept, and makes a new version."""
        body = {"status": "completed"}
        before = _expect(self.http.get(self._task_path, headers=self.token), OK).headers["etag"]
        answer = _expect(self.http.patch(self._task_path, json=body, headers=self.token | {"If-Match": before}), OK)
        _same(answer.json(), body)
        _same(self._get_ok(self._task_path), body)
        self.etag = answer.headers["etag"]
        if self.etag == before:
            raise SmokeError("the ETag stayed the same")

    def update_too_late(self) -> None:
        """A change to another version than the newest is refused (RFC 9110, section 13.1.1)."""
        headers = self.token | {"If-Match": '"0"'}
        _expect(self.http.patch(self._task_path, json={"title": "Lost"}, headers=headers), PRECONDITION_FAILED)

    def unchanged(self) -> None:
        """Whoever has the newest version does not get it again (RFC 9110, section 13.1.2)."""
        _expect(self.http.get(self._task_path, headers=self.token | {"If-None-Match": self.etag}), NOT_MODIFIED)

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

    def leave(self) -> None:
        """A deleted account is gone, and its token opens nothing any more."""
        body = {"password": self.password}
        _expect(self.http.request("DELETE", f"{API_PREFIX}/me", json=body, headers=self.token), NO_CONTENT)
        self.may_have_account = False
        _expect(self.http.get(f"{API_PREFIX}/me", headers=self.token), UNAUTHORIZED)

    def clean_up(self) -> None:
        """Take away what is left when a check failed, as far as that is possible."""
        if self.may_have_account:
            with contextlib.suppress(SmokeError, *UNUSABLE):
                self.login()
                self.leave()

    def _remember(self, tokens: dict[str, Any]) -> None:
        self.token = {"Authorization": f"Bearer {tokens['access_token']}"}
        self.refresh_token = tokens["refresh_token"]

    @property
    def _task_path(self) -> str:
        return f"{API_PREFIX}/tasks/{self.task['id']}"

    def _get_ok(self, path: str) -> dict[str, Any]:
        content: dict[str, Any] = _expect(self.http.get(path, headers=self.token), OK).json()
        return content


def run(http: httpx.Client, release: str | None = None, *, read_only: bool = False) -> Generator[Check, None, None]:
    """Each check's result as it ends; the first failure is the last result, because the others build on it.

    Args:
        http: a client whose base URL is the service's.
        release: the release that must answer, or None for any.
        read_only: whether only those checks run that make no data.
    """
    visitor = Visitor(http, release)
    try:
        for name, body in visitor.read_only_checks() if read_only else visitor.checks():
            start = time.perf_counter()
            reason = _reason(body)
            yield Check(name, round((time.perf_counter() - start) * 1000, 1), reason)
            if reason:
                return
    finally:
        visitor.clean_up()


def _reason(body: Callable[[], object]) -> str:
    """Why a check fails; empty where it passes."""
    try:
        body()
    except SmokeError as error:
        return str(error)
    except httpx.HTTPError as error:
        return f"{NO_ANSWER}: {str(error) or type(error).__name__}"
    except UNUSABLE as error:
        return f"not the answer's form: {type(error).__name__}: {error}"
    return ""


def _expect(answer: httpx.Response, status: int) -> httpx.Response:
    if answer.status_code != status:
        call = f"{answer.request.method} {answer.request.url.path}"
        raise SmokeError(f"{call} gave {answer.status_code} instead of {status:d}: {answer.text[:200]}")
    return answer


def _same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        if found.get(name) != value:
            raise SmokeError(f"{name} is {found.get(name)!r} instead of {value!r}")

"""The probe: somebody who goes on reading and writing while a release is rolled out, and counts what failed.

A hundred requests a second, a quarter of them writes; nine of ten over kept connections, one over a new one. They come
from accounts of the probe's own, so many that none meets the limit of requests that one account may make.
"""

import contextlib
import json
import secrets
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
import numpy as np

from infra.contract import API_PREFIX
from infra.embedded.become import following
from infra.embedded.layout import Layout, write_atomically
from infra.embedded.processes import end_child, environment
from loadtests.recorder import Samples
from loadtests.stats import quantile
from loadtests.steady import NEW_CONNECTION_EVERY
from ops import commands, edge
from ops.drills.watch import END_SECONDS, Watch
from ops.errors import CheckFailedError

RATE: Final = 100.0
ACCOUNTS: Final = 13
"""461 requests a minute of each; an account may make 600 (SLIPWAY_LIMIT_ACCOUNT)."""
TOKEN_SECONDS_LEFT: Final = 600
"""A token that lasts less long is not begun with: no rollout takes longer."""
EMAIL_DOMAIN: Final = "probe.example"
TASKS: Final = f"{API_PREFIX}/tasks"


class Probe:
    """Asks from `begin` to the end of the block, then has a `result`; none, where it did not begin.

    Args:
        layout: the environment's folders.
        url: the service's public URL.
        authority: whom to trust besides the system's authorities, if anybody.
        record: the deploy's record, which gets the raw samples.
    """

    def __init__(self, layout: Layout, url: str, authority: Path | None, record: Path) -> None:
        self.layout, self.url, self.authority = layout, url, authority
        self.samples = record / "probe"
        self.result: dict[str, Any] = {}
        self._child: subprocess.Popen[bytes] | None = None
        self._watch: Watch | None = None

    def __enter__(self) -> Self:
        """Itself; nothing is asked yet, so that a deploy which changes nothing costs nothing."""
        return self

    def begin(self) -> None:
        """Begin to ask, when something is about to change.

        A probe that cannot begin is no reason not to deploy; its result says why.
        """
        with self._excused():
            write_atomically(self._file_of_requests, json.dumps(self._requests()), mode=0o600)
            self._start()

    @contextlib.contextmanager
    def _excused(self) -> Iterator[None]:
        try:
            yield
        except (CheckFailedError, httpx.HTTPError, OSError, ValueError, KeyError) as error:
            self.result = {"problem": f"the probe could not begin: {' '.join(str(error).split())[:300]}"}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it, and count."""
        try:
            if self._watch is not None:
                self.result = counted(self._watch.end())
        except (CheckFailedError, OSError) as failure:
            self.result = {"problem": f"the probe broke down: {failure}"}
        finally:
            if self._child is not None:
                end_child(self._child, patience_seconds=END_SECONDS)

    @property
    def summary(self) -> str:
        """Its result in a few words."""
        if problem := self.result.get("problem"):
            return str(problem)
        return f"{self.result['failed']} of {self.result['requests']:,} requests failed meanwhile"

    @property
    def _file_of_requests(self) -> Path:
        return self.layout.home / "probe-requests.json"

    def _start(self) -> None:
        self.samples.mkdir(exist_ok=True)
        command = commands.steady_reader(
            host=self.url, requests=self._file_of_requests, record=self.samples, rate=RATE, authority=self.authority
        )
        self._child = subprocess.Popen(
            [*following(), *command],
            env=environment(),
            start_new_session=True,  # Ctrl-C reaches us alone, and we end it
        )
        self._watch = Watch(self.samples, self._child)

    def _requests(self) -> list[dict[str, Any]]:
        """What it asks in turn: of each account a list, a task, the list again, and a change of the task."""
        kept = self._kept()
        accounts = []
        with edge.client(self.url, self.authority) as http:
            for number in range(ACCOUNTS):
                accounts.append(_account(http, kept[number] if number < len(kept) else None))
                self._keep(accounts)
        return [request for account in accounts for request in _requests_of(account)]

    def _kept(self) -> list[dict[str, Any]]:
        with contextlib.suppress(OSError, ValueError):
            content = json.loads(self._file.read_text())
            return list(content) if isinstance(content, list) else []
        return []

    def _keep(self, accounts: list[dict[str, Any]]) -> None:
        write_atomically(self._file, json.dumps(accounts), mode=0o600)

    @property
    def _file(self) -> Path:
        return self.layout.home / "probe.json"


def counted(samples: Samples) -> dict[str, Any]:
    """What became of the requests.

    Returns:
        requests, failed, failures (count by kind of request and error), new_connections, seconds, rate (requests a
        second), p50_ms, p99_ms and slowest_ms of those that succeeded, outage_ms (from the first failed request's start
        to the last one's end; 0 without any).
    """
    columns = samples.columns
    bad = columns["error"] > 0
    kinds, errors = columns["kind"][bad], columns["error"][bad]
    failures = Counter(
        f"{samples.kinds[int(kind)]}: {samples.errors[int(error)]}" for kind, error in zip(kinds, errors, strict=True)
    )
    good = columns["latency_us"][~bad]
    ended = columns["start_us"] + columns["latency_us"]
    outage = int(ended[bad].max() - columns["start_us"][bad].min()) if bad.any() else 0
    seconds = float(np.ptp(columns["start_us"])) / 1e6 if len(samples) else 0.0
    return {
        "requests": len(samples),
        "failed": int(bad.sum()),
        "failures": dict(failures.most_common()),
        "new_connections": -(-len(samples) // NEW_CONNECTION_EVERY),
        "seconds": round(seconds, 1),
        "rate": RATE,
        "p50_ms": _ms(quantile(good, 0.5)) if len(good) else None,
        "p99_ms": _ms(quantile(good, 0.99)) if len(good) else None,
        "slowest_ms": _ms(float(good.max())) if len(good) else None,
        "outage_ms": _ms(outage),
    }


def _ms(microseconds: float) -> float:
    return round(float(microseconds) / 1e3, 1)


def _account(http: httpx.Client, kept: dict[str, Any] | None) -> dict[str, Any]:
    """An account with a token that lasts and a task: the one of an earlier probe, or a new one."""
    if kept is not None:
        if kept["until"] > time.time() + TOKEN_SECONDS_LEFT and _has_task(http, kept):
            return kept
        with contextlib.suppress(httpx.HTTPStatusError):
            again = kept | _log_in(http, kept["email"], kept["password"])
            return again if _has_task(http, again) else again | {"task": _new_task(http, again["token"])}
    email, password = f"probe-{secrets.token_hex(8)}@{EMAIL_DOMAIN}", secrets.token_urlsafe(24)
    body = {"email": email, "password": password, "full_name": "Probe"}
    http.post(f"{API_PREFIX}/auth/register", json=body).raise_for_status()
    account = {"email": email, "password": password} | _log_in(http, email, password)
    return account | {"task": _new_task(http, account["token"])}


def _log_in(http: httpx.Client, email: str, password: str) -> dict[str, Any]:
    answer = http.post(f"{API_PREFIX}/auth/login", data={"username": email, "password": password})
    tokens = answer.raise_for_status().json()
    return {"token": tokens["access_token"], "until": time.time() + tokens["expires_in"]}


def _has_task(http: httpx.Client, account: dict[str, Any]) -> bool:
    answer = http.get(f"{TASKS}/{account['task']}", headers={"Authorization": f"Bearer {account['token']}"})
    return answer.status_code == httpx.codes.OK


def _new_task(http: httpx.Client, token: str) -> str:
    headers = {"Authorization": f"Bearer {token}"}
    return str(http.post(TASKS, json={"title": "Probe"}, headers=headers).raise_for_status().json()["id"])


def _requests_of(account: dict[str, Any]) -> list[dict[str, Any]]:
    task, token = f"{TASKS}/{account['task']}", account["token"]
    change = json.dumps({"title": "Probe at work"})
    return [
        {"kind": "list_20", "path": f"{TASKS}?limit=20", "token": token},
        {"kind": "get_one", "path": task, "token": token},
        {"kind": "update", "method": "PATCH", "path": task, "token": token, "body": change},
        {"kind": "list_20", "path": f"{TASKS}?limit=20", "token": token},
    ]

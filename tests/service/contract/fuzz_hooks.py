"""What schemathesis loads in its own process: who it is logged in as, and a count of what it was answered.

Told by two variables: FUZZ_ADDRESS, where the API is, and FUZZ_COUNTS, the file for the counts.
"""

import atexit
import json
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests
import schemathesis

ADDRESS = os.environ["FUZZ_ADDRESS"]
PASSWORD = "correct horse battery"
COUNTS: defaultdict[str, Counter[int]] = defaultdict(Counter)


@schemathesis.auth(refresh_interval=None)
class Visitor:
    """Somebody with an account, who comes back with a new session, or as somebody else, when the old one is gone."""

    email = ""
    token = ""

    def get(self, case: Any, context: Any) -> str:
        """The token of now."""
        del case, context
        if not Visitor.token and not self._log_in():
            Visitor.email = f"{uuid4().hex}@example.com"
            registration = {"email": Visitor.email, "password": PASSWORD}
            requests.post(f"{ADDRESS}/api/v1/auth/register", json=registration, timeout=10).raise_for_status()
            assert self._log_in()
        return Visitor.token

    def set(self, case: Any, data: str, context: Any) -> None:
        """Say who asks."""
        del context
        case.headers["Authorization"] = f"Bearer {data}"

    def _log_in(self) -> bool:
        form = {"username": Visitor.email, "password": PASSWORD}
        answer = requests.post(f"{ADDRESS}/api/v1/auth/login", data=form, timeout=10)
        Visitor.token = answer.json()["access_token"] if answer.ok else ""
        return answer.ok


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Count the answer; one case may have ended the session that the next one needs."""
    del context
    COUNTS[case.operation.label][response.status_code] += 1
    sent = str((response.request.headers or {}).get("Authorization", ""))
    ends_sessions = any(word in case.operation.path for word in ("logout", "password", "/me", "sessions"))
    if (response.status_code == 401 and sent.endswith(Visitor.token)) or ends_sessions:
        Visitor.token = ""


@atexit.register
def write_counts() -> None:
    """Leave the counts: how often each operation gave each status."""
    counts = {label: {str(status): count for status, count in sorted(of.items())} for label, of in COUNTS.items()}
    Path(os.environ["FUZZ_COUNTS"]).write_text(json.dumps(counts), encoding="utf-8")

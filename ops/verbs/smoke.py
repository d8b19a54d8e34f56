"""`slipway smoke`: the smoke checks against any running instance."""

from typing import Any

import httpx

from ops import smoke as checks
from ops.errors import CheckFailedError, UnreachableError, UsageError
from ops.steps import Steps

TIMEOUT_SECONDS = 10


def smoke(url: str, release: str | None, steps: Steps) -> list[dict[str, Any]]:
    """Run the checks against `url`, a line each.

    Raises:
        UsageError: `url` is no HTTP address.
        UnreachableError: nothing answers there.
        CheckFailedError: a check failed.
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{url!r} is no address: give one such as http://127.0.0.1:8000")
    results = []
    with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False) as http:
        for check in checks.run(http, release):
            results.append(check)
            steps.line(checks.line(check))
    last = results[-1]
    if len(results) == 1 and last.reason.startswith(checks.NO_ANSWER):
        raise UnreachableError(f"{url}: {last.reason}")
    if not last.passed:
        raise CheckFailedError(f"smoke check failed: {last.name}: {last.reason}")
    return [check.as_dict() for check in results]

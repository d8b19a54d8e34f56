"""`slipway smoke`: the smoke checks against any running instance; needs no environment and no checkout."""

import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ops import smoke as checks
from ops.errors import CheckFailedError, UnreachableError, UsageError
from ops.junit import Case, require_writable, write_junit
from ops.steps import Steps

TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class Options:
    """What the caller may choose.

    Args:
        release: the release that must answer, or None for any.
        read_only: whether only those checks run that make no data.
        authority: PEM file of whom to trust instead of the usual authorities, if anybody.
        junit: file for the results as JUnit XML, if wanted.
    """

    release: str | None = None
    read_only: bool = False
    authority: Path | None = None
    junit: Path | None = None


def smoke(url: str, options: Options, steps: Steps) -> list[dict[str, Any]]:
    """Run the checks against `url`, a line each.

    Raises:
        UsageError: `url` is no HTTP address, or a file is not as it should be.
        UnreachableError: nothing answers there.
        CheckFailedError: a check failed.
    """
    require_writable(options.junit)
    results: list[checks.Check] = []
    try:
        # Closing the checks while the client is open lets them clean up, also on Ctrl-C.
        with (
            _client(url, options.authority) as http,
            contextlib.closing(checks.run(http, options.release, read_only=options.read_only)) as running,
        ):
            for check in running:
                results.append(check)
                steps.line(checks.line(check))
    finally:
        if options.junit is not None:
            write_junit(options.junit, "slipway smoke", [_case(check) for check in results])
    last = results[-1]
    if len(results) == 1 and last.reason.startswith(checks.NO_ANSWER):
        raise UnreachableError(f"{url}: {last.reason}")
    if not last.passed:
        raise CheckFailedError(f"smoke check failed: {last.name}: {last.reason}")
    return [check.as_dict() for check in results]


def _client(url: str, authority: Path | None) -> httpx.Client:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageError(f"{url!r} is no address ({error}): give one such as http://127.0.0.1:8000") from error
    if address.scheme not in {"http", "https"} or not address.host:
        raise UsageError(f"{url!r} is no address: give one such as http://127.0.0.1:8000")
    try:
        trust = ssl.create_default_context(cafile=authority) if authority else True
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"--ca {authority}: {error.strerror or error}: give a PEM file of certificates") from error
    return httpx.Client(base_url=address, timeout=TIMEOUT_SECONDS, trust_env=False, verify=trust)


def _case(check: checks.Check) -> Case:
    return Case(check.name, check.milliseconds / 1000, check.reason or None)

"""What a check of `slipway doctor` finds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from docker.errors import DockerException
from requests.exceptions import RequestException

from ops.errors import SlipwayError

OK, WARNING, FAILED, SKIPPED = "ok", "warning", "failed", "skipped"
Found = tuple[str, str, str]
"""State, what was found, remedy."""


@dataclass(frozen=True)
class Check:
    """One finding.

    Args:
        name: what was looked at.
        state: `ok`, `warning`, `failed` or `skipped`.
        said: what was found.
        remedy: what to do about it; empty where all is well.
    """

    name: str
    state: str
    said: str
    remedy: str = ""


def run(name: str, look: Callable[..., Found], *arguments: Any) -> Check:
    """Make one check; one that cannot be made is a failure with the reason."""
    try:
        return Check(name, *look(*arguments))
    except SlipwayError as error:
        return Check(name, FAILED, str(error))
    except (DockerException, RequestException, OSError, KeyError, ValueError) as error:
        return Check(name, FAILED, " ".join(str(error).split())[:200] or type(error).__name__)

"""Takes the API back to the release before, where Swarm found the new one healthy and the checks from outside did not.

Swarm keeps the specification that a service had before its last change, and goes back to it when it is asked (Docker's
API, `POST /services/{id}/update?rollback=previous`). Who asks knows what served before, so that nothing else is undone.
"""

import time
from dataclasses import dataclass
from typing import Any, Final

from ops.docker_host import Host
from ops.errors import CheckFailedError, UsageError

API: Final = "api"
SECONDS: Final = 180
POLL_SECONDS: Final = 0.5
RUNNING: Final = ("updating", "rollback_started")


@dataclass(frozen=True)
class Served:
    """What the API's containers are made from, as the swarm has it; empty where there is no API."""

    template: dict[str, Any]


def served(host: Host) -> Served:
    """What serves now."""
    try:
        return Served(host.service(API).attrs["Spec"]["TaskTemplate"])
    except UsageError:
        return Served({})


def roll_back(host: Host, before: Served) -> bool:
    """Go back to what served before a deploy, and wait until it does.

    Returns:
        False where the API is as it was, so that there is nothing to go back to.

    Raises:
        CheckFailedError: it cannot be gone back to, or it did not come to stand; the message says what to do.
    """
    service = host.service(API)
    if not before.template or service.attrs["Spec"]["TaskTemplate"] == before.template:
        return False
    previous = service.attrs.get("PreviousSpec") or {}
    if previous.get("TaskTemplate") != before.template:
        raise CheckFailedError("the API was changed more than once since: deploy the image that served before")
    gone = _gone(host, before.template)
    if gone:
        raise CheckFailedError(f"the release before needs {gone}, which this deploy removed: deploy its image again")
    _ask(host, service.attrs)
    deadline = time.monotonic() + SECONDS
    while (state := _state(host)) in RUNNING:
        if time.monotonic() > deadline:
            raise CheckFailedError(f"the rollback has not ended after {SECONDS} s: slipway status says where it is")
        time.sleep(POLL_SECONDS)
    if state != "rollback_completed":
        raise CheckFailedError(f"the rollback ended as {state!r}: slipway logs --part api says why")
    return True


def _ask(host: Host, attrs: dict[str, Any]) -> None:
    api: Any = host.client.api  # docker-py has no word for it
    question = {"version": attrs["Version"]["Index"], "rollback": "previous"}
    answer = api._post_json(api._url("/services/{0}/update", attrs["ID"]), data=attrs["Spec"], params=question)  # noqa: SLF001
    api._raise_for_status(answer)  # noqa: SLF001


def _state(host: Host) -> str:
    return str((host.service(API).attrs.get("UpdateStatus") or {}).get("State", ""))


def _gone(host: Host, template: dict[str, Any]) -> str:
    """A secret or config that a container of it would look for in vain; empty where there is none."""
    for kind in ("secret", "config"):
        there = {found.id for found in getattr(host.client, f"{kind}s").list()}
        for file in template["ContainerSpec"].get(f"{kind.title()}s") or []:
            if file[f"{kind.title()}ID"] not in there:
                return f"the {kind} {file[f'{kind.title()}Name']}"
    return ""

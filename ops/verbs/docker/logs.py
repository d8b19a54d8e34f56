"""`slipway logs`: what a part's replicas say, wherever they run, each line with its replica."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from infra.embedded.layout import Layout
from ops.docker_host import Host, open_host, tasks_of
from ops.errors import UsageError

DURATION = re.compile(r"(\d+)([smhd])")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
PATIENCE_SECONDS = 7 * 86_400
"""How long a part that is followed may be silent."""
DETAIL = re.compile(r"com\.docker\.swarm\.task\.id=(\w+)")


def logs(layout: Layout, part: str, *, follow: bool, since: str | None, lines: int, say: Callable[[str], None]) -> None:
    """Hand each line to `say` as it comes.

    Args:
        layout: the environment's folders.
        part: such as `api`.
        follow: whether to go on until interrupted.
        since: a time (RFC 3339) or how long ago (`10m`, `2h`), or None.
        lines: the last so many of each replica; 0 for all.
        say: takes a line.

    Raises:
        UsageError: there is no such part, or no such time.
        UnreachableError: Docker does not answer.
    """
    after = None if since is None else moment(since, datetime.now(UTC))
    with open_host(layout, quiet_seconds=PATIENCE_SECONDS) as host:
        names = replica_names(host, part)
        for line in _lines(host, part, follow=follow, after=after, lines=lines):
            say(labelled(line, names, part))


def moment(text: str, now: datetime) -> datetime:
    """The time that is meant by `10m`, `2h`, `3d` or an RFC 3339 time.

    Raises:
        UsageError: it is neither.
    """
    if found := DURATION.fullmatch(text):
        return now - timedelta(seconds=int(found[1]) * SECONDS[found[2]])
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time: give one such as 10m, 2h or 2026-01-31T08:00:00Z") from None
    return told if told.tzinfo else told.replace(tzinfo=UTC)


def replica_names(host: Host, part: str) -> dict[str, str]:
    """What each task of a part is called: the part and the number of its replica."""
    tasks = tasks_of(host.service(part))
    return {str(task["ID"]): f"{part}.{task.get('Slot', 1)}" for task in tasks}


def labelled(line: str, names: dict[str, str], part: str) -> str:
    """A line of the engine with its replica's name in front, instead of the details that the engine puts there."""
    details, found, text = line.partition(" ")
    task = DETAIL.search(details)
    if not found or not task:
        return f"{part} | {line}"
    return f"{names.get(task[1], part)} | {text}"


def _lines(host: Host, part: str, *, follow: bool, after: datetime | None, lines: int) -> Iterator[str]:
    stream = host.service(part).logs(
        details=True,
        follow=follow,
        stdout=True,
        stderr=True,
        since=int(after.timestamp()) if after else 0,
        tail=str(lines) if lines else "all",
    )
    rest = b""
    for chunk in stream:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace").rstrip("\r") for line in whole)
    if rest:
        yield rest.decode(errors="replace")

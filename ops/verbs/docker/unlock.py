"""`slipway unlock`: clear a lock whose holder died."""

from typing import Any

from infra.embedded.layout import Layout
from ops import lock
from ops.pulumi_engine.engine import Engine
from ops.pulumi_engine.locks import Holder, refusal


def unlock(layout: Layout, *, sure: bool) -> dict[str, Any]:
    """Clear the lock on an environment's stack.

    Args:
        layout: the environment's folders.
        sure: whether the operator knows that a holder on another machine died.

    Returns:
        Whom it was taken from, as text; nobody, when there was no lock.

    Raises:
        LockedError: the holder lives, or nobody said that he does not.
    """
    layout.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.held(layout, "unlock"):
        engine = Engine(layout)
        found = engine.holders()
        if found == []:
            return {"environment": layout.environment, "taken_from": []}
        _check(layout.environment, found or [], sure=sure)
        engine.unlock()
        return {
            "environment": layout.environment,
            "taken_from": [str(holder) for holder in found or ()] or ["somebody"],
        }


def _check(environment: str, found: list[Holder], *, sure: bool) -> None:
    """See that nobody is robbed of a lock that he still needs.

    Raises:
        LockedError: somebody might be.
    """
    if alive := [holder for holder in found if holder.lives]:
        raise refusal(environment, alive)
    elsewhere = [holder for holder in found if holder.lives is None]
    if (elsewhere or not found) and not sure:
        who = " and ".join(map(str, elsewhere)) or "somebody"
        raise lock.LockedError(
            f"{environment} is locked by {who}, not from this machine: see that this has ended, then say --yes"
        )

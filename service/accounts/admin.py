"""The command line for accounts: `python -m service.accounts.admin deactivate|activate EMAIL`.

    deactivate  end all sessions at once, and let nobody log in, refresh or get a new password; nothing is deleted
    activate    undo that

It runs where the API runs, with the API's settings. Exit codes: 0 done; 1 there is no such account, or the database
cannot be reached, with one line on stderr; 2 wrong usage.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from service.accounts.models import normalized
from service.accounts.store import set_active
from service.database import Database
from service.errors import DatabaseUnavailableError, StartError
from service.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m service.accounts.admin", description="Deactivates accounts.")
    parser.add_argument("verb", choices=["deactivate", "activate"])
    parser.add_argument("email", type=normalized)
    options = parser.parse_args(arguments)
    try:
        found = asyncio.run(_set_active(Settings.load(), options.email, active=options.verb == "activate"))
    except StartError as error:
        return _fail(str(error))
    except DatabaseUnavailableError as error:
        return _fail(f"cannot reach PostgreSQL: {error.__cause__!r}: start it, or correct SLIPWAY_DATABASE_URL")
    if not found:
        return _fail(f"{options.email} has no account: look at its spelling")
    print(f"{options.email} is {options.verb}d")  # noqa: T201 - this is a command line
    return 0


async def _set_active(settings: Settings, email: str, *, active: bool) -> bool:
    database = Database(settings)
    await database.open()
    try:
        return await set_active(database, email, active=active)
    finally:
        await database.close()


def _fail(line: str) -> int:
    print(f"slipway: {line}", file=sys.stderr)  # noqa: T201 - this is a command line
    return 1


if __name__ == "__main__":
    sys.exit(main())

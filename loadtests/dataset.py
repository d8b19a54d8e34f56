"""Loads the accounts and tasks that load tests read: `python -m loadtests.dataset`.

Everything happens in one transaction by COPY, so that a loader killed half-way leaves nothing and can be run again. A
second call on a loaded database only takes away what earlier load runs left there - the accounts of their newcomers,
with the mail to them, and their logins - so that every run starts from the same rows.
"""

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

from loadtests.credentials import Credentials, LoadAccount, kept_password, write_credentials
from loadtests.journeys import NEWCOMER_DOMAIN
from loadtests.population import EMAIL_DOMAIN, SESSION_CLIENT, Parameters, Population
from loadtests.progress import Progress

__all__ = ["DatasetError", "load", "main"]

SAMPLE_ACCOUNTS = 40
TABLES = ("account", "session", "category", "task", "task_count")
ACCOUNT_COLUMNS = ("id", "email", "full_name", "password_hash", "created_at", "updated_at")
SESSION_COLUMNS = ("id", "account_id", "client", "created_at", "used_at", "expires_at")
CATEGORY_COLUMNS = ("id", "account_id", "name", "color", "created_at", "updated_at")
TASK_COLUMNS = (
    *("id", "account_id", "category_id", "title", "description", "status", "priority"),
    *("due_at", "completed_at", "created_at", "updated_at"),
)
# The service's default parameters (m in KiB), so that a login to these accounts costs what a login costs.
PASSWORDS = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=32_768, parallelism=1),))

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


GONE = "the dataset was not loaded, nothing of it is left: PostgreSQL went away, and its log says why"


class DatasetError(Exception):
    """The dataset cannot be loaded; the message names cause and remedy in one line."""


def _credentials(population: Population, password: str) -> Credentials:
    """With a sample of the accounts that runs evenly from the emptiest to the fullest."""
    parameters, counts = population.parameters, population.task_counts
    by_size = sorted(range(parameters.accounts), key=lambda index: (int(counts[index]), index))
    sample = min(SAMPLE_ACCOUNTS, parameters.accounts)
    chosen = [by_size[index * (len(by_size) - 1) // max(sample - 1, 1)] for index in range(sample)]
    accounts = tuple(LoadAccount(population.emails[index], int(counts[index])) for index in chosen)
    return Credentials(parameters.digest, parameters.accounts, parameters.tasks, password, accounts)


async def load(
    *, database_url: str, password: str, credentials: Path, parameters: Parameters, now: datetime | None = None
) -> str:
    """Bring the database to hold exactly this dataset; what other accounts hold is left alone.

    Args:
        database_url: `postgresql://...` of the application's role, without password.
        password: that role's password.
        credentials: file to write (mode 0600); a password found in it is kept.
        parameters: which rows.
        now: the moment that due dates lie around; by default this one.

    Returns:
        One line that says what was done.

    Raises:
        DatasetError: the database is not reachable, not migrated, or does not take the rows.
    """
    population = Population(parameters, now or datetime.now(UTC))
    account_password = kept_password(credentials)
    try:
        connection = await asyncpg.connect(database_url, password=password, timeout=10)
    except (OSError, asyncpg.PostgresError, TimeoutError, ValueError) as error:
        raise DatasetError(f"no connection to the database ({_one_line(error)}): is the environment up?") from error
    # asyncpg waits for ever in a COPY whose server has gone (its writer is never resumed): end the work ourselves.
    work = asyncio.create_task(_load(connection, population, account_password, credentials))

    def give_up(_: object) -> None:
        work.cancel()

    connection.add_termination_listener(give_up)
    try:
        return await work
    except asyncio.CancelledError:
        if not connection.is_closed():
            raise  # it is we who were cancelled
        raise DatasetError(GONE) from None
    except asyncpg.UndefinedTableError as error:
        raise DatasetError(f"{error}: migrate the database first (slipway-migrate)") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        if connection.is_closed():
            raise DatasetError(GONE) from error
        raise DatasetError(f"the dataset was not loaded, nothing of it is left: {_one_line(error)}") from error
    finally:
        await connection.close(timeout=5)


async def _load(connection: Connection, population: Population, account_password: str, credentials: Path) -> str:
    async with connection.transaction():
        # Loading takes longer than a request may; a second loader waits for the first and then finds all done.
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('slipway load dataset'))")
        said = await _bring_about(connection, population, account_password)
        write_credentials(credentials, _credentials(population, account_password))
    return f"{said}{await _refresh_statistics(connection)}" if said.startswith("loaded") else said


async def _bring_about(connection: Connection, population: Population, account_password: str) -> str:
    parameters = population.parameters
    mark = f"%.{parameters.digest}@{EMAIL_DOMAIN}"
    removed = await _remove_traces(connection, mark)
    present = await connection.fetchval("SELECT count(*) FROM account WHERE email LIKE $1", mark)
    size = f"{parameters.accounts:,} accounts and {parameters.tasks:,} tasks (dataset {parameters.digest})"
    if present == parameters.accounts:
        renewed = await _renew_password(connection, mark, population.emails[0], account_password)
        tidied = f"; removed {removed:,} accounts that earlier load runs had registered" if removed else ""
        return f"already loaded: {size}{tidied}{renewed}"
    await _delete_accounts(connection, f"%@{EMAIL_DOMAIN}")
    began = time.monotonic()
    await _copy(connection, population, account_password)
    return f"loaded {size} in {time.monotonic() - began:.1f} s"


async def _remove_traces(connection: Connection, mark: str) -> int:
    """Take away what load runs left; returns how many accounts their newcomers had."""
    await connection.execute("DELETE FROM mail WHERE recipient LIKE $1", f"%@{NEWCOMER_DOMAIN}")
    await connection.execute(
        "DELETE FROM session USING account WHERE account_id = account.id AND email LIKE $1"
        " AND client IS DISTINCT FROM $2",
        *(mark, SESSION_CLIENT),
    )
    return await _delete_accounts(connection, f"%@{NEWCOMER_DOMAIN}")


async def _delete_accounts(connection: Connection, pattern: str) -> int:
    status = await connection.execute("DELETE FROM account WHERE email LIKE $1", pattern)
    return int(status.split()[-1])


async def _renew_password(connection: Connection, mark: str, email: str, account_password: str) -> str:
    """Give the accounts this password when they have another, because the credentials file was lost."""
    stored = await connection.fetchval("SELECT password_hash FROM account WHERE email = $1", email)
    try:
        known = PASSWORDS.verify(account_password, stored)
    except UnknownHashError:
        known = False
    if known:
        return ""
    await connection.execute(
        "UPDATE account SET password_hash = $2 WHERE email LIKE $1", mark, PASSWORDS.hash(account_password)
    )
    return "; gave its accounts a new password"


async def _copy(connection: Connection, population: Population, account_password: str) -> None:
    progress = Progress(every_seconds=2.0)
    # All accounts share one hash of one password: 1,000 hashes would cost 20 s of a core and make nothing truer, since
    # verifying costs the same whether or not another account has the same hash.
    password_hash = PASSWORDS.hash(account_password)
    await _copy_rows(connection, "account", ACCOUNT_COLUMNS, population.accounts(password_hash))
    await _copy_rows(connection, "session", SESSION_COLUMNS, population.sessions())
    await _copy_rows(connection, "category", CATEGORY_COLUMNS, population.categories())
    done, total = 0, population.parameters.tasks
    for rows in population.tasks():
        await _copy_rows(connection, "task", TASK_COLUMNS, rows)
        done += len(rows)
        progress.update(f"dataset: {done:,} of {total:,} tasks")
    progress.finish()


async def _copy_rows(
    connection: Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    await connection.copy_records_to_table(table, records=rows, columns=columns)


async def _refresh_statistics(connection: Connection) -> str:
    """VACUUM (ANALYZE) when the role may, so that the first measured queries are planned and read as later ones are.

    Since PostgreSQL 17 the privilege MAINTAIN on a table allows it without owning the table.
    """
    may = await connection.fetchval(
        "SELECT bool_and(has_table_privilege(name, 'MAINTAIN')) FROM unnest($1::text[]) AS name", TABLES
    )
    if not may:
        return "; planner statistics will come with autovacuum (this role lacks MAINTAIN on the tables)"
    await connection.execute("SET statement_timeout = 0")
    await connection.execute(f"VACUUM (ANALYZE) {', '.join(TABLES)}")
    return "; planner statistics refreshed"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    defaults = Parameters()
    parser = argparse.ArgumentParser(prog="python -m loadtests.dataset", description=__doc__)
    parser.add_argument("--database-url", required=True, help="of the application's role, without password")
    parser.add_argument("--password-file", required=True, type=Path, help="holds that role's password")
    parser.add_argument("--credentials", required=True, type=Path, help="file to write: what load runs log in with")
    parser.add_argument("--accounts", type=int, default=defaults.accounts)
    parser.add_argument("--tasks", type=int, default=defaults.tasks)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code (0 loaded or already there, 1 not loaded, 2 wrong parameters)."""
    options = _arguments(arguments)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it would warn of each write to a server that is gone
    try:
        parameters = Parameters(options.accounts, options.tasks, options.seed)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    try:
        password = options.password_file.read_text().strip()
        said = asyncio.run(
            load(
                database_url=options.database_url,
                password=password,
                credentials=options.credentials,
                parameters=parameters,
            )
        )
    except (DatasetError, OSError) as error:
        sys.stderr.write(f"error: {_one_line(error)}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted: nothing of the dataset is left\n")
        return 130
    sys.stdout.write(f"{said}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

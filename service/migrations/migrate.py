"""The migration job's command line: `slipway-migrate` or `python -m service.migrations.migrate`.

    upgrade     bring the schema to this release's head (the default)
    check       compare the models with the database's tables
    bootstrap   as administrator: make the database and its roles, or bring them up to date
    describe    print this release's schema range as JSON; needs no database

Exit codes: 0 done; 1 failed, with one line on stderr that names cause and remedy; 2 wrong usage.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from service.errors import MigrationError, StartError
from service.migrations.schema_range import SchemaRange


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb of the job and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        # Each verb imports what it needs when it runs: `describe` answers in a blink, without Alembic or settings.
        if options.verb == "describe":
            _say(SchemaRange.of_source().as_json())
        elif options.verb == "bootstrap":
            _bootstrap(options.database)
        elif options.verb == "check":
            _check()
        else:
            _upgrade(options.report)
    except StartError as error:
        print(f"slipway-migrate: {error}", file=sys.stderr, flush=True)  # noqa: T201 - this is a command line
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="slipway-migrate", description="Brings the database's schema up to date.")
    parser.add_argument("verb", nargs="?", default="upgrade", choices=["upgrade", "check", "bootstrap", "describe"])
    parser.add_argument("--report", type=Path, help="upgrade: where to leave a JSON report of what was done")
    parser.add_argument("--database", default="slipway", help="bootstrap: the database's name (slipway)")
    return parser


def _upgrade(report_path: Path | None) -> None:
    from service.migrations.upgrade import Report, upgrade  # noqa: PLC0415 - see main
    from service.release import read_release  # noqa: PLC0415 - see main
    from service.settings import MigrationSettings  # noqa: PLC0415 - see main

    started = time.monotonic()
    report = Report(release="")
    try:
        settings = MigrationSettings.load()
        report.release = read_release(settings.release_file).name
        asyncio.run(upgrade(settings, report, _say))
    except StartError as error:
        report.error = str(error)
        raise
    finally:
        report.seconds = round(time.monotonic() - started, 3)
        if report_path:
            _write(report_path, json.dumps(report.as_json(), indent=2) + "\n")
    _say(f"schema is at {report.after}, {len(report.applied)} applied in {report.seconds:.2f} s")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise MigrationError(
            f"cannot write the report {path}: {error.strerror}: name a file that can be made"
        ) from None


def _check() -> None:
    from service.migrations.upgrade import check  # noqa: PLC0415 - see main
    from service.settings import MigrationSettings  # noqa: PLC0415 - see main

    asyncio.run(check(MigrationSettings.load()))


def _bootstrap(database: str) -> None:
    from service.migrations.bootstrap import bootstrap  # noqa: PLC0415 - see main
    from service.settings import BootstrapSettings  # noqa: PLC0415 - see main

    asyncio.run(bootstrap(BootstrapSettings.load(), database, _say))
    _say(f"database {database} and its roles are in place")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is a command line


if __name__ == "__main__":
    sys.exit(main())

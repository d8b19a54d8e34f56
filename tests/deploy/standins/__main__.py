"""`python -m tests.deploy.standins [name ...]`: build stand-ins for public images; built ones are left as they are."""

import argparse
import sys
import time

from tests.deploy.standins import STANDINS, StandinError, build


def main() -> int:
    """Build what was asked for, and say how long it took."""
    parser = argparse.ArgumentParser(prog="python -m tests.deploy.standins", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(STANDINS)}; all of them by default")
    parser.add_argument("--force", action="store_true", help="build anew even from an unchanged recipe")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(STANDINS)):
        parser.error(f"no stand-in {', '.join(unknown)}; there are {', '.join(STANDINS)}")
    started = time.monotonic()
    try:
        tags = build(options.names or list(STANDINS), force=options.force, say=lambda line: print(line, flush=True))
    except StandinError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(tags)} stand-ins ready in {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

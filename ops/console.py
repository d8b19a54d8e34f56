"""The console script: it meets the signals before the heavy imports begin, so that Ctrl-C never shows a traceback."""

import signal
import sys
from types import FrameType

from ops.errors import INTERRUPTED, TERMINATED, fail


class TerminatedError(BaseException):
    """SIGTERM, which unwinds like Ctrl-C and, like KeyboardInterrupt, is no Exception that a verb may swallow."""


def main() -> None:
    """Run one call of `slipway` and exit with its code."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(call(sys.argv[1:]))


def call(words: list[str]) -> int:
    """One call, from its words to its exit code."""
    try:
        from ops import cli  # noqa: PLC0415 - the signals come first

        return cli.run(words)
    except KeyboardInterrupt:
        return fail("interrupted; run it again to go on", INTERRUPTED)
    except TerminatedError:
        return fail("terminated; run it again to go on", TERMINATED)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise TerminatedError

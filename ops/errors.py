"""What can go wrong in a verb, each with its exit code.

SlipwayError                1
├── CheckFailedError        1   a check failed, or a step of a deploy did
├── UsageError              2   wrong usage or configuration
├── InconclusiveError       3   the gate could not tell
└── UnreachableError        4   the environment could not be reached

A signal is no error: its exit code is 128 and its number, as shells say it.
"""

import sys

INTERRUPTED, TERMINATED = 130, 143


class SlipwayError(Exception):
    """A failure to be told in one line: the cause and the remedy."""

    exit_code = 1


class CheckFailedError(SlipwayError):
    """A check failed, or a step of a deploy did."""


class UsageError(SlipwayError):
    """The words of the call, or the configuration, are wrong."""

    exit_code = 2


class InconclusiveError(SlipwayError):
    """The gate could not tell, which is no pass."""

    exit_code = 3


class UnreachableError(SlipwayError):
    """Nothing answers where the environment should be."""

    exit_code = 4


def fail(message: str, exit_code: int) -> int:
    """Tell a failure in one line on standard error; the exit code, to be returned."""
    print(f"slipway: {message}", file=sys.stderr)
    return exit_code

"""One line that tells how far a long step has come."""

import sys
import time
from typing import TextIO

__all__ = ["Progress"]


class Progress:
    """On a terminal one line that is written over, elsewhere (a CI log) a line every few seconds.

    Args:
        stream: where to write.
        every_seconds: least time between two lines where the stream is no terminal.
    """

    def __init__(self, stream: TextIO | None = None, every_seconds: float = 5.0) -> None:
        self._stream = stream or sys.stdout
        self._on_terminal = self._stream.isatty()
        self._every_seconds = 0.1 if self._on_terminal else every_seconds
        self._last = time.monotonic()
        self._open_line = False

    def update(self, text: str) -> None:
        """Show `text`, unless something was shown a moment ago."""
        now = time.monotonic()
        if now - self._last < self._every_seconds:
            return
        self._last = now
        if self._on_terminal:
            self._stream.write(f"\r\x1b[2K{text}")
            self._open_line = True
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def finish(self, text: str = "") -> None:
        """Take the unfinished line away and leave `text` in its place."""
        if self._open_line:
            self._stream.write("\r\x1b[2K")
            self._open_line = False
        if text:
            self._stream.write(f"{text}\n")
        self._stream.flush()

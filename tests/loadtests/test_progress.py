import io
from typing import Any

from loadtests.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> Any:
        return True


def test_a_terminal_gets_one_line_that_is_written_over() -> None:
    terminal = Terminal()
    progress = Progress(terminal)
    progress._every_seconds = 0
    progress.update("one")
    progress.update("two")
    progress.finish("end")
    assert terminal.getvalue() == "\r\x1b[2Kone\r\x1b[2Ktwo\r\x1b[2Kend\n"


def test_a_log_gets_whole_lines_now_and_then() -> None:
    log = io.StringIO()
    progress = Progress(log, every_seconds=0)
    progress.update("one")
    progress._every_seconds = 60
    progress.update("two")
    progress.finish()
    assert log.getvalue() == "one\n"

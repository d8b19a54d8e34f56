"""Logs: one JSON object a line on stdout, from us, uvicorn and gunicorn alike."""

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from service.imports import without

with without("rich"):  # which structlog's console renderer takes when it is there, with pygments behind it
    import structlog

_STAMPS = (structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True))
Reporter: TypeAlias = Callable[[BaseException, Mapping[str, Any]], None]
reporters: list[Reporter] = []
"""Who is told, besides, of each exception that is logged, with the fields of its line."""


def _report(logger: Any, method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    del logger, method
    if reporters and line.get("exc_info") and (error := sys.exc_info()[1]) is not None:
        for report in reporters:
            report(error, line)
    return line


_AS_JSON = (
    structlog.processors.format_exc_info,
    # ASCII, so no character of a client's can end a line or move a terminal's cursor.
    structlog.processors.JSONRenderer(serializer=json.dumps, default=str),
)


class _Output:
    """Writes each line whole and at once, to whatever stdout is at that moment."""

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a full disk costs us the log, and no client its answer
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    info = warning = error = critical = msg


structlog.configure(
    processors=[*_STAMPS, _report, *_AS_JSON],
    wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    logger_factory=lambda *_: _Output(),
    cache_logger_on_first_use=True,
)
log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class GunicornLogger(Logger):  # type: ignore[misc] # gunicorn is untyped
    """gunicorn's log, which uvicorn's worker shares, in our form."""

    def setup(self, cfg: Any) -> None:
        """Replace gunicorn's handler."""
        super().setup(cfg)
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=list(_STAMPS),
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_AS_JSON],
            )
        )
        self.error_log.handlers = [handler]

"""Modules that libraries load on the way and this service never uses: 0.2 s of every start, and their memory."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast


@contextmanager
def without(module: str) -> Iterator[None]:
    """Let the import of a module fail inside the block, where whoever tries it provides for that.

    Does nothing where the module is loaded already.
    """
    hides = sys.modules.setdefault(module, cast("Any", None)) is None
    try:
        yield
    finally:
        if hides:
            del sys.modules[module]

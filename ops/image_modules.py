"""Which modules the service's processes load: `python3 -P ops/image_modules.py SERVICE_FOLDER` prints their files.

Their bytecode goes into the image, and no other: all of it would be twice as much. A module is loaded if one of ours
names it, anywhere in its source, and so are those it loads in turn.
Standard library only: it runs in the image's build, on the base image's Python, with the service on its path.
"""

import ast
import contextlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path

FIRST = "service.main"
"""It knows what its libraries need not load (service/imports.py)."""
NOT_LOADED_HERE = (
    "gunicorn.__main__",
    *("mako.ext.pygmentplugin", "structlog.twisted", "uvicorn.supervisors.watchfilesreload"),
)
"""What starts when it is loaded, and what libraries try to load that needs something else."""
UNNAMED = (
    *("gunicorn.app.wsgiapp", "gunicorn.arbiter", "uvicorn.loops.uvloop", "uvicorn.lifespan.on"),
    *("fastapi.telemetry._runtime", "sqlalchemy.dialects.postgresql.asyncpg", "encodings.utf_16_be"),
    "sentry_sdk.spotlight",
)
"""What runs our modules, and what libraries load later or because a string names it."""


def main() -> None:
    """Load what our modules load, and print the files as a JSON list."""
    folder = Path(sys.argv[1])
    importlib.import_module(FIRST)
    for name in sorted({name for path in folder.rglob("*.py") for name in imported(path)}) + list(UNNAMED):
        with contextlib.suppress(ImportError):  # what only an extra brings, or no module but a name in one
            importlib.import_module(name)
    files = {module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
    for name in NOT_LOADED_HERE:
        spec = importlib.util.find_spec(name)
        files |= {spec.origin} if spec else set()
    own = str(Path(__file__).resolve())
    print(json.dumps(sorted(file for file in files if file and file.endswith(".py") and file != own)))


def imported(path: Path) -> Iterator[str]:
    """Every module that a source may import, at its top or later, and every name that may be a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


if __name__ == "__main__":
    main()

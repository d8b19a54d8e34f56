"""Whether the lock files still follow from pyproject.toml: `make lock` in a copy changes nothing."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> int:
    """Lock again in a copy, keeping today's pins where they still fit, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("pyproject.toml", "Makefile", "README.md"):
            shutil.copy(ROOT / name, copy)
        shutil.copytree(ROOT / "requirements", copy / "requirements")
        (copy / ".venv").symlink_to(ROOT / ".venv")
        # -o: the environment is there, however old its files are.
        subprocess.run(["make", "--silent", "-o", "venv-test", "lock"], cwd=copy, check=True)
        stale = [
            path.name
            for path in sorted((ROOT / "requirements").glob("*.txt"))
            if path.read_bytes() != (copy / "requirements" / path.name).read_bytes()
        ]
    if stale:
        print(f"stale lock files: {', '.join(stale)}; run make lock and commit them", file=sys.stderr)
        return 1
    print("lock files are current")
    return 0


if __name__ == "__main__":
    sys.exit(main())

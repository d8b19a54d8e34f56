import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.embedded.layout import Layout
from ops import lock


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.create()
    return layout


def test_the_second_is_refused_and_told_who_is_first(layout: Layout) -> None:
    with lock.held(layout, "up"):
        told = r"`slipway up` \(pid \d+, by \S+, since 20\S+\).*wait for it"
        with pytest.raises(lock.LockedError, match=told), lock.held(layout, "down"):
            pass
    with lock.held(layout, "down"):
        assert json.loads((layout.home / "lock").read_text())["verb"] == "down"


def test_a_dead_holder_holds_nothing(layout: Layout) -> None:
    script = (
        "import os, sys; from pathlib import Path; from infra.embedded.layout import Layout; from ops import lock\n"
        "with lock.held(Layout(Path(sys.argv[1])), 'up'): print('held', flush=True); os.kill(os.getpid(), 9)"
    )
    child = subprocess.run([sys.executable, "-c", script, str(layout.project)], capture_output=True, check=False)
    assert child.stdout == b"held\n"
    with lock.held(layout, "up"):
        pass


@pytest.mark.parametrize("content", ["{", "[1]", "{}"])
def test_an_unreadable_lock_still_refuses(layout: Layout, content: str) -> None:
    with lock.held(layout, "up"):
        (layout.home / "lock").write_text(content)
        with pytest.raises(lock.LockedError, match="another slipway command"), lock.held(layout, "up"):
            pass

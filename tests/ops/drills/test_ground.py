import shutil
import time

from infra.embedded import secrets
from infra.embedded.cache import Cache
from infra.embedded.database import Database
from infra.embedded.layout import Layout
from ops.drills.ground import remove


def test_what_a_killed_drill_left_standing_still_is_removed(project: Layout) -> None:
    layout = Layout(project.state / "drills")
    layout.project.mkdir()
    layout.create()
    secrets.ensure(layout)
    database, cache = Database(layout), Cache(layout)
    try:
        database.start()
        cache.start()
        left = [*database.processes(), cache.process()]
        for process in left:
            assert process is not None
            process.suspend()
        began = time.monotonic()
        remove(layout)
        assert time.monotonic() - began < 30, "none of them had to be killed"
        assert database.process() is cache.process() is None
        assert not layout.state.exists()
        assert not layout.run.exists()
    finally:
        remove(layout)
        shutil.rmtree(layout.run, ignore_errors=True)


def test_nothing_to_remove_is_fine(project: Layout) -> None:
    remove(Layout(project.state / "drills"))

import os
import subprocess
import sys
import time

from loadtests.processor_time import ProcessorTime, machine_busy_ns

BUSY = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass\n"


def test_a_tree_counts_with_its_children_also_when_they_have_ended() -> None:
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY.format(0.4)!r} + 'input()'])"
    before = machine_busy_ns()
    with subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE) as parent:
        time_of = ProcessorTime(parent.pid)
        deadline = time.monotonic() + 30
        while (used := time_of.total_ns()) < 0.4e9:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        parent.communicate(b"\n")
    assert time_of.total_ns() >= used
    assert machine_busy_ns() > before


def test_nobody_has_used_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    assert ProcessorTime(gone.pid).total_ns() == 0
    assert ProcessorTime(os.getpid()).total_ns() > 0

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.loadtests.conftest import ROOT
from tests.ports import unused_port

LOCUST = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py"]


def test_works_by_itself(fake: Callable[..., str]) -> None:
    """Without dataset, without our runner: as the manual of Locust says."""
    done = subprocess.run(
        [*LOCUST, "--headless", "-u", "12", "-r", "12", "--measure-seconds", "2", "--only-summary", "--host", fake()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "delete_task" in done.stderr + done.stdout


def test_works_in_the_web_interface(fake: Callable[..., str]) -> None:
    port = unused_port()

    def ask(path: str, body: Any = None) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body, timeout=10) as answer:
            return json.load(answer)

    with subprocess.Popen(
        [*LOCUST, "--web-host", "127.0.0.1", "--web-port", str(port), "--host", fake()],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as locust:
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    ask("/stats/requests")
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            for _ in range(2):
                assert ask("/swarm", b"user_count=9&spawn_rate=9")["success"]
                stats = ask("/stats/requests")
                while "me" not in {row["name"] for row in stats["stats"]}:
                    assert time.monotonic() < deadline
                    time.sleep(0.2)
                    stats = ask("/stats/requests")
                assert stats["errors"] == []
                ask("/stop", b"")
        finally:
            locust.terminate()
            _, error = locust.communicate(timeout=30)
    assert "Traceback" not in error, error


@pytest.mark.parametrize("credentials_file", ["none.json"])
def test_says_why_it_did_not_begin(fake: Callable[..., str], tmp_path: Path, credentials_file: Any) -> None:
    done = subprocess.run(
        [*LOCUST, "--headless", "--host", fake(), "--credentials", tmp_path / credentials_file, "--run-time", "20s"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "load the dataset first" in done.stderr

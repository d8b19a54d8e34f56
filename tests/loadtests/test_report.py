import html.parser
import json
import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests import charts
from loadtests.baseline import make_baseline, write_baseline
from loadtests.journeys import KINDS
from loadtests.profiles import PROFILES
from loadtests.recorder import Samples
from loadtests.report import main, write_report

RELEASE = "0.1.0-1a2b3c4d5e6f"


class Page(html.parser.HTMLParser):
    """Collects what the tests ask for; complains about tags that are not closed in order."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: Counter[str | None] = Counter()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: Any, attrs: Any) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids.update(value for name, value in attrs if name == "id")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: Any, attrs: Any) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: Any) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: Any) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> Any:
        return " ".join(" ".join(self.words).split())


def page_of(record: Path) -> Any:
    path = write_report(record)
    assert path == record / "report.html"
    assert path.stat().st_size < 500_000
    page = Page(path.read_text())
    assert max(page.ids.values(), default=1) == 1
    return page


@pytest.fixture
def record(tmp_path: Path, make_samples: Callable[..., Samples]) -> Any:
    """A deploy's folder with everything in it."""
    folder = tmp_path / "record"
    folder.mkdir()
    generator = np.random.default_rng(1)
    latencies = {kind: generator.lognormal(9, 1, size=1_000) for kind in KINDS}
    samples = make_samples(latencies, path=folder / "samples.bin", seconds=48.0)
    conditions = {"environment": "local", "target": "embedded", "workers": 2, "postgres": "18.1", "release": RELEASE}
    seen = {"cores": 2, "cpu_model": "Abacus", "dataset": "d1", "accounts": 1_000, "tasks": 200_000}
    write_baseline(
        folder / "baseline.json",
        make_baseline(samples, profile=PROFILES["quick"], reasons=[], conditions=conditions | seen),
    )
    files = {
        "conditions": conditions,
        "release": {
            "release": RELEASE,
            "digest": "sha256:0123",
            "schema": {"head": "0001", "oldest": "0001", "newest": "0001"},
            "created_at": "2026-11-21T10:00:00Z",
        },
        "migration": {"to": "0001", "applied": [{"revision": "0001", "summary": "First tables.", "seconds": 0.3}]},
        "smoke": [{"name": "live", "milliseconds": 1.5, "reason": "", "passed": True}],
        "outcome": {
            "outcome": "passed",
            "environment": "local",
            "started_at": "2026-11-21T10:00:00Z",
            "failed_step": None,
            "steps": [{"name": "release", "seconds": 0.1, "said": "x"}, {"name": "load", "seconds": 50.0, "said": ""}],
        },
    }
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_everything_is_on_the_page(record: Path) -> None:
    page = page_of(record)
    for words in (
        "passed",
        RELEASE,
        "on local",
        f"Half of {len(KINDS)},000 requests were answered within",
        "none failed",
        "sha256:0123",
        "First tables.",
        "live",
        "1,000 accounts, 200,000 tasks",
        f"{PROFILES['quick'].journeys_per_second} journeys/s for 48 s",
        "Abacus",
        "search tasks",
        "50.0 s",
    ):
        assert words in page.text, words


def test_the_page_loads_nothing(record: Path) -> None:
    page = page_of(record)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    references = [value for _, name, value in page.attributes if name in {"src", "href", "xlink:href", "action"}]
    assert all(value.startswith("#") for value in references)
    text = (record / "report.html").read_text()
    assert not re.search(r"@import|url\((?!#)", text)


def test_the_page_suits_light_dark_and_small_screens(record: Path) -> None:
    text = (write_report(record)).read_text()
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    drawings = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert not re.search(r"#[0-9a-f]{6}", re.sub(r'#[\w-]+"', "", drawings)), "a colour that no scheme can change"
    assert "currentColor" in drawings
    assert "var(--group-1)" in drawings


def test_drawings_have_titles_and_descriptions(record: Path) -> None:
    page = page_of(record)
    assert page.tags["svg"] == page.tags["title"] - 1 == page.tags["desc"] == 4 + len(KINDS)
    assert [value for tag, name, value in page.attributes if (tag, name) == ("svg", "role")] == ["img"] * (
        4 + len(KINDS)
    )


def test_headings_go_down_step_by_step(record: Path) -> None:
    text = write_report(record).read_text()
    levels = [int(level) for level in re.findall(r"<h([1-6])", text)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_what_comes_from_files_cannot_become_markup(record: Path) -> None:
    evil = "<script>alert(1)</script>"
    (record / "release.json").write_text(json.dumps({"release": evil, "digest": evil}))
    (record / "smoke.json").write_text(json.dumps([{"name": evil, "passed": False, "reason": evil, "milliseconds": 1}]))
    page = page_of(record)
    assert page.tags["script"] == 0
    assert page.text.count(evil) >= 4


def test_an_empty_record_gets_a_page(tmp_path: Path) -> None:
    assert "No load was run" in page_of(tmp_path).text


def test_a_failed_deploy_says_so_first(tmp_path: Path) -> None:
    outcome = {"outcome": "failed", "failed_step": "migrate", "reason": "lock timeout", "steps": []}
    (tmp_path / "outcome.json").write_text(json.dumps(outcome))
    assert "The deploy failed in the step migrate: lock timeout." in page_of(tmp_path).text


def test_a_run_that_does_not_count_says_why(record: Path, make_samples: Callable[..., Samples]) -> None:
    samples = make_samples({"me": [2_000] * 500}, errors={"me": 400}, path=record / "samples.bin")
    write_baseline(
        record / "baseline.json",
        make_baseline(samples, profile=PROFILES["quick"], reasons=["me: 400 x status 500"], conditions={}),
    )
    page = page_of(record)
    assert page.text.startswith(f"{RELEASE} on local")
    assert "The load run does not count. me: 400 x status 500" in page.text
    assert re.search("me: 400 . status 500", page.text)
    assert "failed requests" in page.text


@pytest.mark.parametrize("name", ["outcome.json", "baseline.json", "smoke.json", "release.json", "samples.bin"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"3"])
def test_a_damaged_file_is_named_and_the_rest_shown(record: Path, name: str, content: Any) -> None:
    (record / "samples.bin").unlink()  # drawing takes a second
    (record / name).write_bytes(content)
    page = page_of(record)
    assert "What could not be read" in page.text
    assert name in page.text
    assert RELEASE in page.text


def test_a_run_cut_short_is_shown_as_far_as_it_went(record: Path) -> None:
    path = record / "samples.bin"
    path.write_bytes(path.read_bytes()[:-20])
    (record / "baseline.json").unlink()
    page = page_of(record)
    assert "the run was cut short" in page.text
    assert page.tags["svg"] == 4 + len(KINDS)


def test_requests_that_all_failed_are_not_drawn(record: Path, make_samples: Callable[..., Samples]) -> None:
    make_samples({"me": [1] * 5}, errors={"me": 5}, path=record / "samples.bin")
    assert page_of(record).tags["svg"] == 0


def test_unknown_kinds_are_drawn_too(record: Path, make_samples: Callable[..., Samples]) -> None:
    make_samples({"teleport": [1_000, 2_000, 3_000]}, path=record / "samples.bin", seconds=0.5)
    assert "teleport" in page_of(record).text


def test_main_makes_the_page_again(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(record)]) == 0
    assert capsys.readouterr().out == f"{record / 'report.html'}\n"
    assert main([]) == 2
    assert main(["/nowhere"]) == 2


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [(0.123, "0.12 ms"), (1.0, "1 ms"), (12.34, "12 ms"), (99.6, "100 ms"), (123.4, "123 ms"), (1234, "1.23 s")],
)
def test_times_are_said_shortly(milliseconds: float, words: str) -> None:
    assert charts.say_ms(milliseconds) == words


def test_drawing_does_not_depend_on_what_was_drawn_before() -> None:
    one = charts.Series("me", 2, np.linspace(1, 9, 50))
    first = charts.distribution(one, (0.5, 20))
    charts.overview([one])
    assert charts.distribution(one, (0.5, 20)) == first

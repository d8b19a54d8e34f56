import os

from loadtests.bench import Comparison, against_ceiling, against_itself
from loadtests.journeys import Request
from loadtests.targets import TARGETS, judged
from tests.loadtests.canned import serving

LIST = Request("list_20", "GET", "/api/v1/tasks?limit=20", token="secret")


def test_a_faster_server_has_a_higher_ratio_and_the_core_is_given_back() -> None:
    before = os.sched_getaffinity(0)
    with serving(pieces=9) as slow, serving() as fast:
        found = against_ceiling(
            {"ours": slow, "ceiling": fast},
            {"list_20": [LIST] * 4, "get_one": [LIST] * 4},
            rounds=3,
            seconds=0.1,
            core=min(before),
        )
    assert os.sched_getaffinity(0) == before
    assert set(found) == {"list_20", "get_one"}
    for one in found.values():
        assert 0 < one["low"] <= one["value"] <= one["high"] < 0.9
        assert len(one["rounds"]) == 3
        assert one["ours_rps"] < one["ceiling_rps"]


def test_what_takes_as_long_has_a_ratio_about_1() -> None:
    other = Request("search", "GET", "/api/v1/tasks?q=other", token="secret")
    with serving(pieces=3) as url:
        found = against_itself(url, {"search": Comparison([LIST], [other], 0.5)}, rounds=3, seconds=0.2)
    [one] = found.values()
    assert one["low"] <= one["value"] <= one["high"]
    assert 0.5 < one["value"] < 2
    assert one["measured_ms"] > 2
    assert one["reference_ms"] > 2


def test_measures_are_judged_by_their_targets() -> None:
    found = judged(
        {
            "list_20": {"value": 0.36, "ours_rps": 1.0},
            "get_one": {"value": 0.32},
            "create": {"value": 0.33},
            "search": {"value": 3.1},
            "memory": {"value": 119.0},
        }
    )
    assert {name: (one["met"], one["holds"]) for name, one in found.items()} == {
        "list_20": (False, True),
        "get_one": (False, False),
        "create": (True, True),
        "search": (False, False),
        "memory": (True, True),
    }
    assert found["list_20"]["ours_rps"] == 1.0
    assert found["list_20"]["wanted"] == 0.40


def test_what_is_required_is_never_more_than_what_is_wanted() -> None:
    assert all(target.reached(target.wanted, target.required) for target in TARGETS.values())

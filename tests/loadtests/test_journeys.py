import json
import random
import re
from typing import Any
from urllib.parse import parse_qs

import pytest

from loadtests.journeys import JOURNEYS, KINDS, JourneyKind, Reply, Visitor, login
from loadtests.profiles import PROFILES
from service.accounts.models import Registration
from service.tasks.models import NewTask

ANSWERS = {
    "list_tasks": {"items": [{"id": "t1"}, {"id": "t2"}], "next_cursor": None},
    "search_tasks": {"items": [{"id": "t3"}]},
    "list_categories": {"items": [{"id": "01a1fbcd-5620-72a7-9df9-918f88982e85"}]},
    "create_task": {"id": "made"},
    "login": {"access_token": "fresh"},
}

BY_NAME = {journey.name: journey for journey in JOURNEYS}


def walk(journey: JourneyKind, answers: Any = ANSWERS, seed: int = 1) -> Any:
    """The journey's requests when every answer is as expected."""
    steps = journey.steps(Visitor("token", "run", random.Random(seed)))
    requests = [next(steps)]
    while True:
        answer = json.dumps(answers.get(requests[-1].kind, {})).encode()
        try:
            requests.append(steps.send(Reply(answer)))
        except StopIteration:
            return requests


@pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: journey.name)
@pytest.mark.parametrize("seed", range(20))
def test_each_journey_makes_the_requests_of_the_table(journey: JourneyKind, seed: int) -> None:
    requests = walk(journey, seed=seed)
    assert tuple(request.kind for request in requests) == journey.requests
    for request in requests:
        assert re.fullmatch(r"/api/v1/[!-~]+", request.path)
        if request.kind not in {"register", "login"}:
            assert request.headers["Authorization"] == ("Bearer fresh" if request.kind == "me" else "Bearer token")


def test_kinds_are_unique_and_enough_of_each_arrive() -> None:
    assert len(set(KINDS)) == len(KINDS)
    weights = sum(journey.weight for journey in JOURNEYS)
    for profile in PROFILES.values():
        for journey in JOURNEYS:
            arrivals = profile.journeys_per_second * profile.measure_seconds * journey.weight / weights
            assert arrivals >= profile.minimum_samples


@pytest.mark.parametrize(("name", "found"), [("reader", "list_tasks"), ("searcher", "search_tasks")])
def test_who_finds_no_tasks_opens_none(name: str, found: str) -> None:
    empty = ANSWERS | {found: {"items": []}}
    assert "get_task" not in [request.kind for request in walk(BY_NAME[name], empty)]


def test_a_searcher_looks_for_one_word_only() -> None:
    searches = [request.path for request in walk(BY_NAME["searcher"]) if request.kind.startswith("search")]
    assert len({parse_qs(path.partition("?")[2])["q"][0] for path in searches}) == 1


def test_an_editor_without_categories_uses_none() -> None:
    requests = walk(BY_NAME["editor"], ANSWERS | {"list_categories": {"items": []}})
    assert json.loads(requests[1].body)["category_id"] is None


@pytest.mark.parametrize("seed", range(30))
def test_bodies_are_what_the_service_takes(seed: int) -> None:
    by_kind = {request.kind: request for journey in JOURNEYS for request in walk(journey, seed=seed)}
    NewTask.model_validate_json(by_kind["create_task"].body)
    Registration.model_validate_json(by_kind["register"].body)


def test_an_editor_removes_what_it_made() -> None:
    requests = walk(BY_NAME["editor"])
    assert [(request.method, request.path.rpartition("/")[2]) for request in requests[2:]] == [
        ("PATCH", "made"),
        ("DELETE", "made"),
    ]


def test_no_two_newcomers_have_one_address() -> None:
    addresses = {json.loads(walk(BY_NAME["newcomer"])[0].body)["email"] for _ in range(50)}
    assert len(addresses) == 50


def test_login_is_a_form() -> None:
    form = parse_qs(login("a+b@c.example", "p &ä=").body)
    assert form == {"username": ["a+b@c.example"], "password": ["p &ä="]}


def test_an_answer_without_what_is_needed_is_an_error() -> None:
    steps = BY_NAME["newcomer"].steps(Visitor("token", "run"))
    next(steps)
    steps.send(Reply(b"{}"))
    with pytest.raises(KeyError):
        steps.send(Reply(b"{}"))


def test_who_throws_tasks_away_does_so_in_accounts_of_their_own() -> None:
    tokens = [f"t{number}" for number in range(9)]
    writers = {token for journey in JOURNEYS if journey.writes for token in journey.visitors(tokens)}
    others = {token for journey in JOURNEYS if not journey.writes for token in journey.visitors(tokens)}
    assert writers
    assert not writers & others
    assert [journey.visitors(["only"]) for journey in JOURNEYS] == [["only"]] * len(JOURNEYS)

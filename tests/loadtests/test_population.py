import dataclasses
import unicodedata
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.population import SESSION_CLIENT, STATUSES, Parameters, Population, uuid7

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SMALL = Parameters(accounts=100, tasks=5_000)


def tasks(population: Population) -> Any:
    return [row for chunk in population.tasks(chunk_rows=900) for row in chunk]


@pytest.fixture(scope="module")
def population() -> Any:
    return Population(SMALL, NOW)


def test_same_seed_same_rows() -> None:
    first, second = Population(SMALL, NOW), Population(SMALL, NOW)
    assert first.accounts("h") == second.accounts("h")
    assert first.categories() == second.categories()
    assert first.sessions() == second.sessions()
    assert tasks(first) == tasks(second)
    assert tasks(first) != tasks(Population(dataclasses.replace(SMALL, seed=2), NOW))


def test_later_loading_only_moves_the_times() -> None:
    later = tasks(Population(SMALL, NOW + timedelta(days=30)))
    for before, after in zip(tasks(Population(SMALL, NOW)), later, strict=True):
        assert before[3:7] == after[3:7]
        assert after[9] - before[9] == timedelta(days=30)


def test_every_parameter_changes_the_digest() -> None:
    digests = {SMALL.digest, *(dataclasses.replace(SMALL, **{name: 101}).digest for name in ("accounts", "seed"))}
    assert len(digests | {dataclasses.replace(SMALL, tasks=5_001).digest}) == 4


def test_skew_is_that_of_a_service_in_use() -> None:
    counts = np.sort(Population(Parameters(), NOW).task_counts)
    assert counts.sum() == 200_000
    assert counts[0] >= 1
    assert 30 <= np.median(counts) <= 100
    assert 5 <= (counts >= 2_000).sum() <= 40
    assert counts[-1] >= 5_000


def test_rows_hold_together(population: Population) -> None:
    accounts = {row[0]: row for row in population.accounts("hash")}
    categories = {row[0]: row for row in population.categories()}
    rows = tasks(population)
    assert len(rows) == 5_000
    assert len({row[0] for row in rows}) == 5_000
    for identity, account, category, title, description, status, priority, due, completed, created, updated in rows:
        assert identity.version == 7
        assert accounts[account][4] <= created <= updated <= NOW
        assert category is None or categories[category][1] == account
        assert 0 < len(title) <= 200
        assert description is None or 0 < len(description) <= 2_000
        assert status in STATUSES
        assert 0 <= priority <= 3
        assert (completed is not None) == (status == "completed")
        assert due is None or due.tzinfo is not None


def test_everybody_is_logged_in_for_years(population: Population) -> None:
    accounts = {row[0]: row for row in population.accounts("hash")}
    sessions = population.sessions()
    counts = Counter(row[1] for row in sessions)
    assert counts.keys() == accounts.keys()
    assert set(counts.values()) == {1, 2, 3}
    for identity, account, client, created, used, expires in sessions:
        assert identity.version == 7
        assert client == SESSION_CLIENT
        assert accounts[account][4] <= created <= used <= NOW
        assert expires > NOW + timedelta(days=3_000)


def test_tasks_come_oldest_first_and_ids_in_that_order(population: Population) -> None:
    rows = tasks(population)
    assert [row[9] for row in rows] == sorted(row[9] for row in rows)
    assert [row[0].int >> 64 for row in rows] == sorted(row[0].int >> 64 for row in rows)


def test_all_variety_is_there(population: Population) -> None:
    rows = tasks(population)
    assert {row[5] for row in rows} == set(STATUSES)
    assert {row[6] for row in rows} == {0, 1, 2, 3}
    assert 0.6 < sum(row[7] is not None for row in rows) / len(rows) < 0.8
    open_dues = [row[7] for row in rows if row[7] and row[5] in {"todo", "in_progress"}]
    assert 0.2 < sum(due < NOW for due in open_dues) / len(open_dues) < 0.8
    scripts = {unicodedata.name(letter).split()[0] for row in rows for letter in row[3]}
    assert {"LATIN", "CYRILLIC", "ARABIC", "CJK"} <= scripts
    assert len({row[3] for row in rows}) > 1_000


def test_category_names_are_unique_in_an_account(population: Population) -> None:
    names = Counter((row[1], row[2]) for row in population.categories())
    assert names.most_common(1)[0][1] == 1


@pytest.mark.parametrize(("accounts", "tasks"), [(0, 0), (10, 9), (-1, 5)])
def test_impossible_parameters_are_refused(accounts: Any, tasks: Any) -> None:
    with pytest.raises(ValueError, match="at least"):
        Parameters(accounts, tasks)


@given(st.lists(st.integers(0, 2**47), min_size=1, max_size=50, unique=True))
def test_uuid7_orders_like_its_times(microseconds: Any) -> None:
    generator = np.random.default_rng(1)
    identities = uuid7(np.array(sorted(microseconds)), generator)
    assert identities == sorted(identities)
    for identity, moment in zip(identities, sorted(microseconds), strict=True):
        assert (identity.version, identity.variant) == (7, uuid.RFC_4122)
        assert identity.int >> 80 == moment // 1000

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.stats import (
    ecdf,
    quantile,
    quantile_interval,
    quantiles,
    ratio_change,
    window_change,
    window_mean,
)

finite = st.floats(min_value=0, max_value=1e9, allow_nan=False)
values = st.lists(finite, min_size=1, max_size=200)


def definition_8(numbers: list[float], probability: float) -> float:
    """Hyndman and Fan's own words for definition 8, on plain lists."""
    ordered = sorted(numbers)
    position = len(ordered) * probability + (probability + 1) / 3
    below = math.floor(position + 4 * np.finfo(float).eps)
    low, high = (ordered[min(max(index, 1), len(ordered)) - 1] for index in (below, below + 1))
    return low + (position - below) * (high - low)


# As R gives them: quantile(1:10, c(0.05, 0.25, 0.5, 0.95), type = 8).
@pytest.mark.parametrize(("probability", "expected"), [(0.05, 1.0), (0.25, 2.9166667), (0.5, 5.5), (0.95, 10.0)])
def test_quantiles_are_those_of_r_type_8(probability: float, expected: Any) -> None:
    assert quantile(range(1, 11), probability) == pytest.approx(expected)


@given(values, st.floats(0, 1))
def test_quantiles_follow_the_published_definition(numbers: list[float], probability: float) -> None:
    assert quantile(numbers, probability) == pytest.approx(definition_8(numbers, probability), rel=1e-6, abs=1e-6)


@given(values, st.lists(st.floats(0, 1), min_size=1, max_size=10).map(sorted))
def test_quantiles_rise_and_stay_among_the_values(numbers: list[float], probabilities: list[float]) -> None:
    found = quantiles(numbers, probabilities)
    assert (np.diff(found) >= -1e-6).all()
    assert min(numbers) <= found[0] + 1e-6
    assert found[-1] <= max(numbers) + 1e-6


@pytest.mark.parametrize("nothing", [[], [float("nan")], [float("inf")], [1, float("-inf")]])
def test_statistics_of_nothing_are_refused(nothing: Any) -> None:
    with pytest.raises(ValueError, match="value"):
        quantile(nothing, 0.5)


# Ranks of the usual table of sign-test intervals of a median at 95 % (Conover 1999, table A3 gives the binomial).
@pytest.mark.parametrize(("count", "ranks"), [(5, (1, 5)), (6, (1, 6)), (10, (2, 9)), (20, (6, 15)), (100, (40, 61))])
def test_median_intervals_are_those_of_the_table(count: Any, ranks: Any) -> None:
    assert quantile_interval(range(1, count + 1), 0.5) == ranks


def test_intervals_cover_as_often_as_they_say() -> None:
    generator = np.random.default_rng(7)
    truth = math.log(20)  # the p95 of the exponential distribution
    intervals = [quantile_interval(generator.exponential(size=300), 0.95) for _ in range(600)]
    assert np.mean([low <= truth <= high for low, high in intervals]) >= 0.93


@pytest.mark.parametrize(("probability", "confidence"), [(0, 0.95), (1, 0.95), (0.5, 1), (0.5, 0)])
def test_intervals_refuse_what_has_none(probability: float, confidence: Any) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile_interval([1, 2], probability, confidence)


@given(values)
def test_ecdf_counts(numbers: list[float]) -> None:
    distinct, shares = ecdf(numbers)
    assert list(distinct) == sorted(set(numbers))
    for value, share in zip(distinct, shares, strict=True):
        assert share == pytest.approx(sum(number <= value for number in numbers) / len(numbers))


@given(st.lists(finite, min_size=1, max_size=500, unique=True), st.integers(4, 50))
def test_thinned_ecdf_is_part_of_the_whole_with_both_ends(numbers: list[float], points: int) -> None:
    whole = dict(zip(*ecdf(numbers), strict=True))
    distinct, shares = ecdf(numbers, points=points)
    assert len(distinct) <= points
    assert {value: whole[value] for value in distinct} == dict(zip(distinct, shares, strict=True))
    assert distinct[-1] == max(numbers)
    if len(numbers) >= 2:
        assert distinct[0] == min(numbers)


def test_thinned_ecdf_keeps_the_tail() -> None:
    numbers = np.arange(100_000.0)
    distinct, shares = ecdf(numbers, points=160)
    assert (shares > 0.999).sum() >= 20
    assert np.diff(distinct[shares < 0.9]).max() <= 2_500


def in_blocks(count: int, blocks: int = 60) -> Any:
    return np.arange(count) * blocks // count


WINDOWS = {"p50": (0.45, 0.55), "p95": (0.93, 0.97), "p99": (0.98, 0.998)}


def test_a_window_mean_is_the_mean_between_its_quantiles() -> None:
    assert window_mean(range(100), (0.25, 0.75)) == np.mean(range(25, 75))
    assert window_mean([7.0], WINDOWS["p99"]) == 7.0
    values = np.random.default_rng(1).lognormal(size=100_000)
    assert window_mean(values, WINDOWS["p95"]) == pytest.approx(quantile(values, 0.95), rel=0.02)


@given(st.floats(0.5, 2.0), st.sampled_from([*WINDOWS.values()]))
def test_a_change_of_scale_is_found_exactly(factor: float, window: tuple[float, float]) -> None:
    before = np.random.default_rng(3).lognormal(size=2_000)
    change = window_change(before, in_blocks(2_000), before * factor, in_blocks(2_000), window, 2.0)
    assert change.estimate == pytest.approx(math.log(factor))
    assert change.low <= change.estimate <= change.high


@pytest.mark.parametrize("window", WINDOWS.values())
def test_intervals_of_a_change_cover_as_often_as_they_say(window: tuple[float, float]) -> None:
    generator = np.random.default_rng(11)
    covered = []
    for _ in range(400):
        before, after = generator.lognormal(sigma=0.4, size=(2, 2_000))
        change = window_change(before, in_blocks(2_000), after * 1.1, in_blocks(2_000), window, 1.96)
        covered.append(change.low <= math.log(1.1) <= change.high)
    assert np.mean(covered) >= 0.91


def test_what_hits_both_at_once_cancels_and_what_lasts_is_not_counted_often() -> None:
    generator = np.random.default_rng(5)
    blocks = in_blocks(3_000)
    storms = 1 + 4 * (generator.random(60) < 0.1)[blocks]
    before, after = generator.lognormal(sigma=0.2, size=(2, 3_000)) * storms
    together = window_change(before, blocks, after, blocks, WINDOWS["p95"], 1.0)
    apart = window_change(before, blocks, np.roll(after, 450), blocks, WINDOWS["p95"], 1.0)
    assert together.standard_error < apart.standard_error / 2


def test_one_slow_value_in_a_hundred_shows_in_the_window_around_p99() -> None:
    generator = np.random.default_rng(4)
    before, after = generator.lognormal(sigma=0.2, size=(2, 5_000))
    after = np.where(generator.random(5_000) < 0.01, after * 10, after)
    change = window_change(before, in_blocks(5_000), after, in_blocks(5_000), WINDOWS["p99"], 3.5)
    assert change.low > math.log(1.3)


def test_nothing_to_compare_is_refused_and_too_little_sets_no_bound() -> None:
    with pytest.raises(ValueError, match="no values"):
        window_change([], [], [1.0], [0], (0.4, 0.6), 1.0)
    few = window_change([1.0, 2.0, 3.0], [0, 1, 2], [1.0, 2.0, 3.0], [0, 1, 2], WINDOWS["p99"], 4.0)
    assert (few.low, few.high) == (-math.inf, math.inf)


def test_a_ratio_of_amounts_agrees_with_a_bootstrap_over_blocks() -> None:
    generator = np.random.default_rng(9)
    counts = generator.poisson(100, size=(2, 120))
    amounts = counts * np.array([[2.0], [2.1]]) * generator.lognormal(sigma=0.1, size=120)
    change = ratio_change(amounts[0], counts[0], amounts[1], counts[1], 1.96)
    draws = generator.integers(0, 120, size=(2_000, 120))
    sums = [values[draws].sum(axis=1) for values in (amounts[0], counts[0], amounts[1], counts[1])]
    spread = np.std(np.log((sums[2] / sums[3]) / (sums[0] / sums[1])))
    assert change.estimate == pytest.approx(math.log(1.05), abs=0.02)
    assert change.standard_error == pytest.approx(spread, rel=0.15)
    with pytest.raises(ValueError, match="nothing"):
        ratio_change([0.0], [1], [1.0], [1], 1.0)

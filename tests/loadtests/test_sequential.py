import numpy as np
import pytest

from loadtests.sequential import sequential_bounds

# Of O'Brien and Fleming's kind, two-sided 0.05, equal steps: Reboussin, DeMets, Kim and Lan (2000), "Computations for
# group sequential boundaries using the Lan-DeMets spending function method", Controlled Clinical Trials 21.
PUBLISHED = {
    1: [1.9600],
    2: [2.9626, 1.9686],
    3: [3.7103, 2.5114, 1.9930],
    5: [4.8769, 3.3569, 2.6803, 2.2898, 2.0310],
}


@pytest.mark.parametrize(("looks", "expected"), [*PUBLISHED.items()])
def test_bounds_are_those_of_the_published_tables(looks: int, expected: list[float]) -> None:
    shares = [(number + 1) / looks for number in range(looks)]
    # One look spends everything on it: 2 - 2 Phi(z(alpha / 2)) is alpha.
    assert sequential_bounds(shares, 0.025) == pytest.approx(expected, abs=2e-3)


def test_all_looks_together_err_as_often_as_they_may() -> None:
    shares = np.linspace(0.3, 1, 8)
    bounds = sequential_bounds(list(shares), 0.05)
    steps = np.random.default_rng(1).normal(size=(40_000, 8)) * np.sqrt(np.diff(shares, prepend=0))
    scores = np.cumsum(steps, axis=1) / np.sqrt(shares)
    share_crossed = (scores > bounds).any(axis=1).mean()
    assert share_crossed == pytest.approx(0.05, abs=0.005)


def test_a_look_more_costs_little_and_early_ones_take_much() -> None:
    once, often = sequential_bounds([1.0], 0.001), sequential_bounds([0.25, 0.5, 0.75, 1.0], 0.001)
    assert often == sorted(often, reverse=True)
    assert once[0] < often[-1] < once[0] * 1.02
    assert often[0] > 2 * once[0] * 0.9

"""How often one may look at a measurement that goes on, and what each look costs. Pure functions, no I/O."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from loadtests.stats import Floats

__all__ = ["sequential_bounds"]

GRID_POINTS = 801
GRID_REACH = 9.0  # standard deviations
BISECTIONS = 50


def sequential_bounds(shares: Sequence[float], alpha: float) -> list[float]:
    """How many standard errors a one-sided test needs at each look, so that all looks together err with `alpha`.

    Lan and DeMets (1983), "Discrete Sequential Boundaries for Clinical Trials", Biometrika 70, with their spending
    function of O'Brien and Fleming's kind, 2 - 2 Phi(z(alpha / 2) / sqrt(t)): early looks spend almost nothing.
    Computed by the recursive integration of Armitage, McPherson and Rowe (1969), on a grid.

    Args:
        shares: of the whole information at each look, ascending, the last one at most 1.
        alpha: probability of crossing any of the bounds where there is no effect; above 0 and below 0.5.
    """
    normal = NormalDist()
    spent = [2 - 2 * normal.cdf(normal.inv_cdf(1 - alpha / 2) / math.sqrt(share)) for share in shares]
    bounds: list[float] = []
    # Where the sum stands, if it never crossed: masses on a grid below the bound; at first all of it at zero.
    grid, masses, before = np.zeros(1), np.ones(1), 0.0
    for number, share in enumerate(shares):
        step = math.sqrt(share - before)
        spend = max(spent[number] - (spent[number - 1] if number else 0.0), 1e-15)

        bound = _bound(grid, masses, step, spend, GRID_REACH * math.sqrt(share))
        bounds.append(bound / math.sqrt(share))
        below = np.linspace(-GRID_REACH * math.sqrt(share), bound, GRID_POINTS)
        widths = np.full(GRID_POINTS, below[1] - below[0])
        widths[[0, -1]] /= 2
        steps = (below[:, None] - grid[None, :]) / step
        masses = (np.exp(-0.5 * steps**2) / (step * math.sqrt(2 * math.pi)) @ masses) * widths
        grid, before = below, share
    return bounds


def _bound(grid: Floats, masses: Floats, step: float, spend: float, reach: float) -> float:
    """Above which the sum first comes at this look with the probability `spend`."""
    low, high = 0.0, reach
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        crossed = float(np.sum(masses * _upper_tail((middle - grid) / step)))
        low, high = (middle, high) if crossed > spend else (low, middle)
    return (low + high) / 2


def _upper_tail(values: Floats) -> Floats:
    """1 - Phi of each."""
    return np.array([0.5 * math.erfc(value / math.sqrt(2)) for value in values])

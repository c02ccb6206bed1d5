"""Series are cut where their level changes, not where some numbers are off."""

import numpy as np
import pytest

from galaxysegment.detection._plateaus import plateaus


def series(*levels, n=12, seed=0):
    return np.repeat(levels, n) + np.random.default_rng(seed).normal(0, 0.1, n * len(levels))


@pytest.mark.parametrize("seed", range(5))
def test_each_level_is_a_plateau(seed):
    values = series(0, 1, -0.5, seed=seed)
    assert plateaus(values, np.full(36, 0.1)) == [(0, 12), (12, 24), (24, 36)]


def test_three_numbers_that_are_off_make_no_plateau_and_four_do():
    values = series(0, 0)
    values[10:13] = 5
    assert plateaus(values, np.full(24, 0.1)) == [(0, 24)]
    values[13] = 5
    assert plateaus(values, np.full(24, 0.1)) == [(0, 10), (10, 14), (14, 24)]


def test_scatter_counts():
    values = series(0, 0.3)
    assert len(plateaus(values, np.full(24, 0.1))) == 2
    assert plateaus(values, np.full(24, 0.5)) == [(0, 24)]


def test_what_is_not_known_costs_nothing():
    values = series(0, 1)
    values[5:9] = np.nan
    assert plateaus(values, np.full(24, 0.1)) == [(0, 12), (12, 24)]
    assert plateaus(np.full(4, np.nan), np.ones(4)) == [(0, 4)]
    assert plateaus(np.ones(4), np.zeros(4)) == [(0, 4)]
    assert plateaus(np.ones(1), np.ones(1)) == [(0, 1)]

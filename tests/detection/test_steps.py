"""Medians along stretches of columns and rows, and their steps."""

from itertools import pairwise

import numpy as np
import pytest

from galaxysegment.detection import _steps


@pytest.mark.parametrize("n", range(1, 40))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_middles_are_medians_to_the_bit(n, dtype):
    lines = np.random.default_rng(n).normal(1000, 1, (n, 30)).astype(dtype)
    middle = _steps._middle(lines)
    assert middle.dtype == dtype and np.array_equal(middle, np.median(lines, axis=0))


@pytest.mark.parametrize("missing", [False, True])
def test_medians_along_rows_are_those_of_the_turned_band(missing):
    rng = np.random.default_rng(2)
    band = rng.normal(size=(70, 150))
    if missing:
        band[20:60, 40:90], band[3, 148] = np.nan, np.nan
    edges = _steps.halves(150)
    expected = [_steps._median(band.T[start:stop:2]) for start, stop in pairwise(edges)]
    medians = _steps._medians_along_rows(band, edges)
    assert np.array_equal(medians, expected, equal_nan=True)


def test_compiled_functions_leave_out_the_same_lines(monkeypatch):
    rng = np.random.default_rng(0)
    lines = rng.normal(size=(60, 300)) * rng.uniform(0.01, 5, (60, 1))
    lines[::2, 140:] += rng.uniform(0, 30, (30, 1))
    lines[7, 50] = np.nan
    chosen = {}
    for pays in (True, False):
        monkeypatch.setattr(_steps, "compiling_pays", lambda _, pays=pays: pays)
        chosen[pays] = _steps._may_exceed(lines)
    assert 0 < chosen[True].sum() < 60
    assert np.array_equal(chosen[True], chosen[False])

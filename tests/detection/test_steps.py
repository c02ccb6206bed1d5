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


@pytest.mark.parametrize("missing", ["nowhere", "in gaps", "almost everywhere"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "unit"), [((150, 333), 50), ((70, 40), 64), ((30, 20), 95), ((90, 600), 160)]
)
def test_compiled_medians_are_the_same(shape, unit, dtype, missing, monkeypatch):
    rng = np.random.default_rng(unit)
    band = np.round(rng.normal(1000, 5, shape), 1).astype(dtype)
    if missing == "in gaps":
        band[shape[0] // 3 : shape[0] // 2, 5 : shape[1] // 2] = np.nan
        band[rng.random(shape) < 0.01] = np.nan
    elif missing == "almost everywhere":
        band[rng.random(shape) < 0.9] = np.nan
    expected, medians = (
        _with_compiler(monkeypatch, pays, _steps.stretch_medians, band, unit)
        for pays in (False, True)
    )
    for part, same in zip(medians, expected, strict=True):
        assert part.dtype == dtype and np.array_equal(part, same, equal_nan=True)


def _with_compiler(monkeypatch, pays, function, *args, **options):
    monkeypatch.setattr(_steps, "compiling_pays", lambda _: pays)
    return function(*args, **options)


@pytest.mark.parametrize("together", [1, 2])
def test_steps_of_lines_with_gaps(together, monkeypatch):
    rng = np.random.default_rng(together)
    medians = rng.normal(0, 0.3, (75, 400)).astype(np.float32)
    medians[:, 250:] += 9
    medians[20:30, 240:260] = np.nan  # narrow: steps are sought across it
    medians[30:40, 200:300] = np.nan
    medians[50] = np.nan
    expected, steps = (
        _with_compiler(monkeypatch, pays, _steps.sharp_steps, medians, 0.5, together)
        for pays in (False, True)
    )
    for part, same in zip(steps, expected, strict=True):
        assert np.array_equal(part, same)
    assert np.all(np.diff(steps.lines) >= 0)
    seen = steps.lines[(steps.places >= 250) & (steps.places <= 260)] * together
    own = {index for index in range(0, 75, together) if not 30 <= index < 40}
    assert own - {50} <= set(seen.tolist()) <= own


@pytest.mark.parametrize("sharp", [0.5, 0.7])
@pytest.mark.parametrize("length", [48, 49, 300, 1001])
def test_compiled_functions_find_the_same_steps(sharp, length):
    rng = np.random.default_rng(length)
    lines = rng.normal(size=(60, length)) * rng.uniform(0.01, 5, (60, 1))
    lines[::2, length // 2 :] += rng.uniform(0, 30, (30, 1))
    lines[5:20, 20:24] += 80  # a source
    lines[7, 30], lines[8], lines[9] = np.nan, np.nan, 1
    lines[10:14] = np.round(lines[10:14])  # equal steps
    lines[14, ::2] = 0
    expected, steps = (
        search(lines, sharp) for search in (_steps._steps_by_numpy, _steps._steps_compiled)
    )
    assert length < 300 or len(expected[0]) > 5
    for part, same in zip(steps, expected, strict=True):
        assert np.array_equal(part, same)


def test_a_line_of_many_steps_finds_room():
    lines = np.random.default_rng(0).normal(size=(2, 4000))
    lines += np.repeat(np.arange(40) % 2 * 9, 100)
    expected, steps = (
        search(lines, 0.5) for search in (_steps._steps_by_numpy, _steps._steps_compiled)
    )
    assert len(expected[0]) > 8 and np.array_equal(steps, expected)


@pytest.mark.parametrize("axis", [0, 1])
def test_lines_that_are_stacked_as_they_are_asked_for(axis):
    shape = (37, 50)
    lines = np.random.default_rng(0).normal(0, 1, shape)
    bounds = [0, 5, 6, 20, shape[axis]]
    stacked = _steps.Stacked(np.split(lines, bounds[1:-1], axis=axis), axis)
    assert len(stacked) == len(lines)
    for start in range(0, len(lines), 3):
        for stop in range(start + 1, len(lines) + 3, 4):
            np.testing.assert_array_equal(stacked[start:stop], lines[start:stop])
    np.testing.assert_array_equal(list(stacked), lines)

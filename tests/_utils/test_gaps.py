"""Narrow gaps are filled with straight lines, wide ones and edges stay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxysegment._utils.gaps import bridge_gaps

NAN = np.nan


def slow(band, width):
    """Fill a band pixel by pixel."""
    filled = band.copy()
    for y, x in np.argwhere(np.isnan(band)):
        runs = []
        for line, place in ((band[y], x), (band[:, x], y)):
            start, stop = place, place
            while start >= 0 and np.isnan(line[start]):
                start -= 1
            while stop < len(line) and np.isnan(line[stop]):
                stop += 1
            if start >= 0 and stop < len(line) and stop - start - 1 <= width:
                share = (place - start) / (stop - start)
                value = (1 - share) * line[start] + share * line[stop]
                runs.append((stop - start, value))
        if runs:
            filled[y, x] = min(runs, key=lambda run: run[0])[1]
    return filled


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.6), st.integers(1, 5))
def test_gaps_are_filled_as_pixel_by_pixel(seed, fraction, width):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 14, 2))
    band = np.where(rng.uniform(size=shape) < fraction, NAN, rng.normal(size=shape))
    np.testing.assert_allclose(bridge_gaps(band[None], width)[0], slow(band, width), rtol=1e-12)


def test_a_line_goes_from_end_to_end():
    image = np.array([[[0.0, NAN, NAN, 3.0, NAN], [5.0, 5.0, 5.0, 5.0, 5.0]]])
    np.testing.assert_allclose(bridge_gaps(image, 2)[0, 0], [0, 1, 2, 3, NAN])
    assert bridge_gaps(image, 1) is not image and np.isnan(bridge_gaps(image, 1)[0, 0]).sum() == 3
    assert bridge_gaps(image, 0) is image and np.isnan(image).sum() == 3
    whole = np.ones((2, 4, 4))
    assert bridge_gaps(whole, 3) is whole


@pytest.mark.parametrize("bad", [0.0, -1.0, NAN])
def test_pixels_without_rms_are_gaps(bad):
    image = np.array([[[1.0, 99.0, 3.0]], [[2.0, bad, 4.0]]])
    np.testing.assert_allclose(bridge_gaps(image, 1, rms_band=-1), [[[1, 2, 3]], [[2, 3, 4]]])
    assert bridge_gaps(image, 1)[0, 0, 1] == 99


def test_a_gap_without_two_ends_stays_however_small_the_image():
    column = np.array([[[NAN], [2.0], [NAN]]])
    np.testing.assert_array_equal(bridge_gaps(column, 5), column)

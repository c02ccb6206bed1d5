"""Narrow gaps between bright pixels are filled with straight lines; others stay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxysegment.detection._gaps import SkyLimits, bridge_gaps

NAN = np.nan
EVERYTHING = [-np.inf]  # is bright


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
    bridged = bridge_gaps(band[None], width, limits=EVERYTHING)[0]
    np.testing.assert_allclose(bridged, slow(band, width), rtol=1e-12)


def test_a_line_goes_from_end_to_end():
    image = np.array([[[0.0, NAN, NAN, 3.0, NAN], [5.0, 5.0, 5.0, 5.0, 5.0]]])
    np.testing.assert_allclose(bridge_gaps(image, 2, limits=EVERYTHING)[0, 0], [0, 1, 2, 3, NAN])
    assert bridge_gaps(image, 1, limits=EVERYTHING) is image
    assert bridge_gaps(image, 0, limits=EVERYTHING) is image and np.isnan(image).sum() == 3
    whole = np.ones((2, 4, 4))
    assert bridge_gaps(whole, 3) is whole


def test_both_ends_of_a_gap_have_to_be_bright():
    """The median is 0 and the scatter 1.48, so that 4.4 is the limit."""
    image = np.array([[[-1.0, 0, 1] * 40]])
    image[0, 0, 30:37] = [9, NAN, 9, 9, NAN, 4, 9]
    bridged = bridge_gaps(image, 1)
    np.testing.assert_array_equal(bridged[0, 0, 30:37], [9, 9, 9, 9, NAN, 4, 9])
    lower = bridge_gaps(image, 1, limits=[3.9])
    np.testing.assert_array_equal(lower[0, 0, 30:37], [9, 9, 9, 9, 6.5, 4, 9])


@pytest.mark.parametrize("bad", [0.0, -1.0, NAN])
def test_pixels_without_rms_are_gaps(bad):
    image = np.array([[[1.0, 99.0, 3.0]], [[2.0, bad, 4.0]]])
    bridged = bridge_gaps(image, 1, rms_band=-1, limits=EVERYTHING)
    np.testing.assert_allclose(bridged, [[[1, 2, 3]], [[2, 3, 4]]])
    assert bridge_gaps(image, 1, limits=EVERYTHING * 2)[0, 0, 1] == 99


@pytest.mark.parametrize("bad", [0.0, NAN])
def test_a_gap_of_the_rms_map_is_bridged_where_a_band_is(bad):
    """What the second band holds in the gap, 777, is no data; nor is the gap in dark sky."""
    bands = [[9.0, 99.0, 7.0, 0.0, 50.0, 0.0], [0.0, 777.0, 0.0, 0.0, 50.0, 0.0]]
    rms = [2.0, bad, 4.0, 1.0, bad, 1.0]
    bridged = bridge_gaps(np.array([*bands, rms])[:, np.newaxis], 1, rms_band=2, limits=[4, 4])
    np.testing.assert_array_equal(bridged[0, 0], [9, 8, 7, 0, 50, 0])
    np.testing.assert_array_equal(bridged[1, 0], [0, NAN, 0, 0, 50, 0])
    np.testing.assert_array_equal(bridged[2, 0], [2, 3, 4, 1, bad, 1])


def test_a_gap_without_two_ends_stays_however_small_the_image():
    column = np.array([[[NAN], [2.0], [NAN]]])
    np.testing.assert_array_equal(bridge_gaps(column, 5, limits=EVERYTHING), column)
    nothing = np.full((1, 3, 3), NAN)
    assert bridge_gaps(nothing, 5) is nothing


@pytest.mark.parametrize("n_rows", [7, 64, 1000])
def test_the_limit_is_the_same_measured_in_blocks(n_rows):
    rng = np.random.default_rng(0)
    image = rng.normal(5, 2, (3, 700, 900)).astype(np.float32)
    image[:2, 300:400, 200:] = NAN
    image[2] = rng.uniform(-0.5, 1, image.shape[1:])  # no data where it is not positive
    statistic, shape = SkyLimits(rms_band=-1), image.shape[1:]
    whole = statistic.combine([statistic.measure(image, 0, shape)], shape)
    parts = [
        statistic.measure(image[:, y0 : y0 + n_rows], y0, shape) for y0 in range(0, 700, n_rows)
    ]
    assert statistic.combine(parts, shape) == whole
    np.testing.assert_allclose(whole, [11, 11], atol=0.1)  # 5 + 3 × 2

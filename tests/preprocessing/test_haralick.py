"""The dense co-occurrence kernel against mahotas, window by window."""

import subprocess
import sys

import mahotas
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from galaxysegment.preprocessing._haralick import haralick_maps

CONSTANT = np.array(
    [1, 0, 1, 0, 1, 0, 0, 0, 0], dtype=float
)  # and twice the level as the sum average


@st.composite
def level_images(draw):
    """Random levels; hypothesis' fill value makes patches, whole windows often, constant."""
    n_levels = draw(st.sampled_from([8, 32, 256]))
    shape = draw(st.tuples(st.integers(2, 9), st.integers(2, 9)))
    lowest = draw(st.integers(0, n_levels - 1))
    return draw(arrays(np.int64, shape, elements=st.integers(lowest, n_levels - 1))), n_levels


def window_around(levels, y, x, window):
    radius = window // 2
    return levels[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]


def by_mahotas(levels, ignore_zeros=False):
    return mahotas.features.haralick(levels, return_mean=True, ignore_zeros=ignore_zeros)[:9]


def assert_equal_features(ours, theirs, levels):
    # mahotas takes the difference of rounded mean squares: its correlation is as good as they are
    # conditioned
    limit = 1e-9 + 1e-15 * levels.max() ** 2 / max(theirs[3], 1e-3) * (np.arange(9) == 2)
    assert (np.abs(ours - theirs) <= limit + 1e-9 * np.abs(theirs)).all(), ours - theirs


def some_pixels(data, shape):
    """Two pixels of an image; mahotas is too slow for all of them."""
    pixel = st.tuples(*(st.integers(0, side - 1) for side in shape))
    return data.draw(st.lists(pixel, min_size=2, max_size=2))


@settings(max_examples=40, deadline=None)
@given(level_images(), st.sampled_from([3, 5, 11]), st.data())
def test_features_equal_mahotas_on_the_clipped_window(image, window, data):
    levels, n_levels = image
    maps = haralick_maps(levels, window, n_levels)
    for y, x in some_pixels(data, levels.shape):
        around = window_around(levels, y, x, window)
        assert_equal_features(maps[:, y, x], by_mahotas(around), around)


@pytest.mark.parametrize("n_levels", [8, 32, 256])
def test_report_window_equals_mahotas(n_levels):
    levels = np.random.default_rng(n_levels).integers(0, n_levels, (40, 70))
    levels[20:, 30:] = n_levels - 1
    maps = haralick_maps(levels, 11, n_levels)
    for y, x in [(5, 5), (20, 64), (34, 31), (30, 50), (0, 69), (17, 0)]:
        around = window_around(levels, y, x, 11)
        assert_equal_features(maps[:, y, x], by_mahotas(around), around)


@pytest.mark.parametrize("level", [0, 5, 255])
def test_constant_windows_have_correlation_one(level):
    levels = np.full((12, 12), level)
    expected = CONSTANT.copy()
    expected[5] = 2 * level
    np.testing.assert_allclose(by_mahotas(levels), expected, atol=1e-12)
    maps = haralick_maps(levels, 5, 256)
    np.testing.assert_allclose(
        maps, np.broadcast_to(expected[:, None, None], maps.shape), atol=1e-12
    )


@settings(max_examples=40, deadline=None)
@given(level_images(), st.data())
def test_missing_pixels_take_part_in_no_pair(image, data):
    levels, n_levels = image
    missing = data.draw(arrays(np.bool_, levels.shape))
    ours = haralick_maps(np.where(missing, -1, levels), 5, n_levels)
    assert np.array_equal(np.isnan(ours).all(axis=0), missing) and np.array_equal(
        np.isnan(ours).any(axis=0), missing
    )
    shifted = np.where(missing, 0, levels + 1)
    for y, x in some_pixels(data, levels.shape):
        if missing[y, x]:
            continue
        around = window_around(shifted, y, x, 5)
        try:
            theirs = by_mahotas(around, ignore_zeros=True)
        except ValueError:  # a direction without a pair, which mahotas refuses
            continue
        theirs[5] -= 2  # of levels that are one higher
        assert_equal_features(ours[:, y, x], theirs, around)


def test_direction_without_pairs_is_left_out_of_the_mean():
    row = haralick_maps(np.array([[1, 3, 3, 0]]), 11, 4)[:, 0, 0]
    matrix = np.zeros((4, 4))
    for a, b in [(1, 3), (3, 3), (3, 0)]:
        matrix[a, b] += 1 / 6
        matrix[b, a] += 1 / 6
    a, b = np.indices((4, 4))
    np.testing.assert_allclose(row[0], (matrix**2).sum())
    np.testing.assert_allclose(row[1], (matrix * (a - b) ** 2).sum())
    np.testing.assert_allclose(row[5], (matrix * (a + b)).sum())
    np.testing.assert_allclose(row[8], -sum(p * np.log2(p) for p in matrix.ravel() if p))


def test_window_without_pairs_counts_as_constant():
    levels = np.full((7, 7), -1)
    levels[3, 3] = 6
    expected = CONSTANT.copy()
    expected[5] = 12
    np.testing.assert_array_equal(haralick_maps(levels, 5, 8)[:, 3, 3], expected)
    np.testing.assert_array_equal(haralick_maps(np.array([[6]]), 3, 8)[:, 0, 0], expected)


def test_results_do_not_depend_on_threads_or_on_the_part_that_is_computed():
    levels = np.random.default_rng(0).integers(-1, 32, (150, 90))
    maps = haralick_maps(levels, 9, 32)
    np.testing.assert_array_equal(haralick_maps(levels, 9, 32, n_jobs=3), maps)
    part = haralick_maps(levels[37:100, 11:80], 9, 32)
    np.testing.assert_array_equal(part[:, 4:-4, 4:-4], maps[:, 41:96, 15:76])


def test_largest_window_and_levels_do_not_overflow():
    levels = np.random.default_rng(0).integers(0, 256, (129, 130))
    levels[0] = 0
    levels[:, 0] = 255
    np.testing.assert_allclose(
        haralick_maps(levels, 127, 256)[:, 64, 64], by_mahotas(levels[1:128, 1:128]), rtol=1e-9
    )
    constant = haralick_maps(np.full((127, 127), 255), 127, 256)[:, 63, 63]
    np.testing.assert_allclose(constant, [1, 0, 1, 0, 1, 510, 0, 0, 0], atol=1e-12)


def test_writes_into_the_array_it_is_given():
    levels = np.random.default_rng(0).integers(0, 8, (20, 20))
    features = np.zeros((11, 20, 20), dtype=np.float32)
    haralick_maps(levels, 5, 8, out=features[2:])
    np.testing.assert_array_equal(features[2:], haralick_maps(levels, 5, 8).astype(np.float32))
    assert not features[:2].any()


def test_works_without_a_folder_to_cache_in():
    code = (
        "import numpy as np; from numba.core.caching import FunctionCache; "
        "FunctionCache._impl_class._locator_classes = []; "
        "from galaxysegment.preprocessing import _haralick; assert not _haralick.OPTIONS['cache']; "
        "print(_haralick._constant_window(3, np.zeros(9)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "None"


@pytest.mark.parametrize("n_levels", [4, 32])
def test_the_route_through_mahotas_is_equal(n_levels):
    from galaxysegment.preprocessing._haralick_mahotas import haralick_maps as by_windows

    levels = np.random.default_rng(n_levels).integers(-1, n_levels, (17, 13))
    levels[:6, :6] = -1  # windows without a pair, without data, and a pixel alone
    levels[2, 2] = 3
    levels[10:] = 2
    ours, theirs = haralick_maps(levels, 5, n_levels), by_windows(levels, 5, n_levels)
    np.testing.assert_allclose(theirs, ours, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(by_windows(levels[:1], 5, n_levels)[0, 0, :6], np.full(6, np.nan))
    out = np.zeros((9, *levels.shape), np.float32)
    assert by_windows(levels, 5, n_levels, out=out) is out
    np.testing.assert_array_equal(out, theirs.astype(np.float32))

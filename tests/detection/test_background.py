"""The fast background mesh against photutils' own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photutils.background import Background2D, MedianBackground
from photutils.utils import ShepardIDWInterpolator
from scipy import ndimage

from galaxysegment.detection._background import (
    _MAX_FITS,
    _MILD,
    _fill_unused,
    _measure_compiled,
    _measure_sorted,
    background_maps,
    background_meshes,
    fit_plane,
    median_near,
    spline_weights,
)


def sky(shape, seed=0, dtype=np.float32):
    """Noise on a pedestal with a gradient, and a few bright pixels to clip."""
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 2, shape) + np.linspace(0, 5, shape[1])
    image[rng.random(shape) < 0.02] += 50
    return image.astype(dtype)


def by_photutils(image, box=50, **options):
    theirs = Background2D(
        image,
        tuple(min(box, side) for side in image.shape),
        bkg_estimator=MedianBackground(),
        **options,
    )
    return theirs.background, theirs.background_rms


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(200, 200), (230, 175), (60, 333), (30, 40), (51, 51), (1, 70)])
def test_equals_photutils(shape, dtype):
    image = sky(shape, dtype=dtype)
    for ours, theirs in zip(
        background_maps(image),
        by_photutils(image, filter_size=3, exclude_percentile=15),
        strict=True,
    ):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, theirs, rtol=16 * np.finfo(dtype).eps)


def test_equals_photutils_where_boxes_are_left_out():
    image = sky((300, 250))
    mask = np.random.default_rng(1).random(image.shape) < 0.05
    mask[60:190, 40:120] = True
    image[200:260, :30] = np.nan
    theirs = by_photutils(image, mask=mask | np.isnan(image), filter_size=5, exclude_percentile=20)
    ours = background_maps(image, mask=mask, filter_size=5, exclude_percentile=20)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    box=st.integers(3, 40),
    filter_size=st.sampled_from([1, 3, 5]),
    seed=st.integers(0, 99),
)
def test_equals_photutils_for_any_shape(shape, box, filter_size, seed):
    image = sky(shape, seed, np.float64)
    try:
        theirs = by_photutils(image, box, filter_size=filter_size, exclude_percentile=30)
    except ValueError:  # no box has enough pixels: photutils gives up, we take what there is
        theirs = by_photutils(image, box, filter_size=filter_size, exclude_percentile=100)
    ours = background_maps(image, box_size=box, filter_size=filter_size, exclude_percentile=30)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-10)
    np.testing.assert_allclose(
        ours[1], theirs[1], atol=1e-7
    )  # a scatter of zero comes out as a root of rounding


def test_window_is_a_part_of_the_map():
    background, _ = background_meshes(sky((260, 240)))
    whole = background.window(0, 260, 0, 240)
    for y0, y1, x0, x1 in [(0, 1, 0, 240), (17, 99, 31, 140), (259, 260, 239, 240)]:
        assert np.array_equal(background.window(y0, y1, x0, x1), whole[y0:y1, x0:x1])


def test_constant_image_has_exactly_its_value_and_no_noise():
    background, noise = background_maps(np.full((120, 70), 7.3, dtype=np.float32))
    assert np.array_equal(background, np.full((120, 70), 7.3, dtype=np.float32))
    assert not noise.any()


def test_no_data_gives_no_background():
    maps = background_maps(np.full((60, 60), np.nan))
    assert np.isnan(maps).all()


def test_huge_pixel_values_are_clipped():
    image = sky((100, 100), dtype=np.float64)
    clean = background_maps(image)
    image[::20, ::20] = 1e30
    image[5::20, 5::20] = -1e30
    spoilt = background_maps(image)
    np.testing.assert_allclose(spoilt, clean, rtol=0.05)


def test_image_is_left_alone():
    image = sky((70, 70))
    before = image.copy()
    image.setflags(write=False)
    background_maps(image, mask=np.eye(70, dtype=bool))
    assert np.array_equal(image, before)


@pytest.mark.parametrize(("n_boxes", "box"), [(1, 4), (2, 3), (7, 50)])
def test_spline_weights_equal_zoom(n_boxes, box):
    values = np.random.default_rng(0).normal(size=n_boxes)
    coefficients = ndimage.spline_filter1d(values, order=3, mode="reflect")
    expected = ndimage.zoom(values, box, order=3, mode="reflect", grid_mode=True)
    np.testing.assert_allclose(
        spline_weights(0, n_boxes * box, box, n_boxes) @ coefficients, expected, atol=1e-12
    )


@pytest.mark.parametrize("n_used", [1, 2, 9, 10, 11, 60])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unused_boxes_are_filled_as_by_photutils(n_used, dtype):
    rng = np.random.default_rng(n_used)
    values = rng.normal(100, 5, (7, 9)).astype(dtype)
    used = np.zeros(values.size, dtype=bool)
    used[rng.permutation(values.size)[:n_used]] = True
    used = used.reshape(values.shape)
    interpolate = ShepardIDWInterpolator(np.argwhere(used), values[used])
    expected = values.copy()
    expected[~used] = interpolate(np.argwhere(~used), n_neighbors=10)
    filled, other = _fill_unused([values, values + 1], used)
    np.testing.assert_array_equal(filled, expected)
    np.testing.assert_allclose(other, expected + 1, rtol=1e-6)


@pytest.mark.parametrize("measure", [_measure_sorted, _measure_compiled])
def test_pixels_far_off_cost_a_box_no_precision(measure):
    pixels = sky((1, 1, 400, 1)).reshape(1, 400)
    filled = pixels.copy()
    filled[0, :20], filled[0, 20:30] = -1e15, 1e15
    expected = measure(pixels[:, 30:], 1, 370)
    np.testing.assert_allclose(measure(filled, 1, 400), expected, rtol=1e-12)


@pytest.mark.parametrize("n_values", [1, 2, 9, 500, 501])
@pytest.mark.parametrize("guess", [None, 0.0, 0.5, 1.0, 1.05, 3.0])
def test_a_guess_changes_no_median(n_values, guess):
    values = np.random.default_rng(n_values).uniform(0, 2, n_values)
    assert median_near(values, guess) == np.median(values)
    assert median_near(np.ones(n_values), guess) == 1


def slow_plane(heights, design):
    """The fit by weighted least squares, whose numbers need no squares."""
    plane = np.linalg.lstsq(design, heights)[0]
    for _ in range(_MAX_FITS):
        off = np.abs(heights - design @ plane)
        scale = _MILD * np.median(off)
        if scale == 0:
            break
        with np.errstate(over="ignore"):
            weight = 1 / np.hypot(1, off / scale)
        plane = np.linalg.lstsq(design * weight[:, np.newaxis], heights * weight)[0]
    return plane[1:]


def test_a_plane_through_few_boxes():
    """With three or four boxes all but two may lose their weight."""
    rng = np.random.default_rng(1)
    for _ in range(3000):
        shape = tuple(rng.integers(1, 5, 2))
        used = rng.random(shape) < 0.6
        if not used.any():
            continue
        values = rng.normal(size=shape)
        y, x = np.indices(shape) * 64 + 31.5
        rows, columns = y[used] - y[used].mean(), x[used] - x[used].mean()
        design = np.stack([np.ones_like(rows), rows, columns], axis=1)
        slope = fit_plane(values, used, y, x)[0]
        np.testing.assert_allclose(slope, slow_plane(values[used], design), atol=1e-9)


def test_a_plane_through_boxes_of_equal_height_and_a_source():
    heights = [1e6, 1e-12, 1e-12, 5.0, 1e6, 0.0]
    rng = np.random.default_rng(0)
    y, x = np.indices((3, 4)) * 64 + 31.5
    for _ in range(500):
        values, used = rng.choice(heights, (3, 4)), rng.random((3, 4)) < 0.5
        if used.any():
            assert np.abs(fit_plane(values, used, y, x)[0]).max() < 1e6 / 16

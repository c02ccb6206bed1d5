"""The block-wise separable convolution against astropy's."""

import warnings

import numpy as np
import pytest
from astropy.convolution import convolve
from photutils.segmentation import make_2dgaussian_kernel

from galaxysegment.detection._smoothing import convolve_block, gaussian_profile, row_blocks


def smooth(image, fwhm=3, size=5, step=None, prepare=None):
    profile = gaussian_profile(fwhm, size)
    height = image.shape[0]
    blocks = (
        row_blocks(image.shape)
        if step is None
        else [(y, min(y + step, height)) for y in range(0, height, step)]
    )
    return np.concatenate([convolve_block(image, y0, y1, profile, prepare) for y0, y1 in blocks])


def by_astropy(image, fwhm=3, size=5):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="nan_treatment")
        return convolve(image, make_2dgaussian_kernel(fwhm, size))


@pytest.mark.parametrize(("fwhm", "size"), [(3, 5), (1.2, 3), (6, 13), (2, 1)])
@pytest.mark.parametrize("shape", [(40, 37), (4, 60), (60, 4), (1, 1)])
def test_equals_astropy(shape, fwhm, size):
    image = np.random.default_rng(0).normal(size=shape)
    np.testing.assert_allclose(smooth(image, fwhm, size), by_astropy(image, fwhm, size), atol=1e-13)


def test_missing_pixels_are_interpolated_as_by_astropy():
    rng = np.random.default_rng(0)
    image = rng.normal(5, 1, (50, 60))
    image[rng.random(image.shape) < 0.2] = np.nan
    image[10:20, 10:20] = np.nan  # a hole wider than the kernel
    image[0, :] = np.nan
    expected = by_astropy(image)
    assert np.isnan(expected).any()
    np.testing.assert_allclose(smooth(image), np.nan_to_num(expected), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_do_not_change_a_bit(dtype):
    image = np.random.default_rng(0).normal(size=(45, 33)).astype(dtype)
    image[20:24, 5] = np.nan
    whole = smooth(image, step=45)
    assert whole.dtype == dtype
    for step in (1, 7, 20):
        assert np.array_equal(smooth(image, step=step), whole)


def test_prepare_sees_each_row_with_its_place():
    image = np.zeros((30, 10))
    ramp = np.broadcast_to(np.arange(30.0)[:, None], (30, 10))
    smoothed = smooth(
        image, step=8, prepare=lambda rows, y: rows + np.arange(y, y + len(rows))[:, None]
    )
    np.testing.assert_allclose(smoothed, smooth(ramp), atol=1e-12)


def test_row_blocks_cover_each_row_once():
    for shape in [(1, 1), (100, 10), (1000, 5000), (17, 10**6)]:
        rows = [y for y0, y1 in row_blocks(shape) for y in range(y0, y1)]
        assert rows == list(range(shape[0]))


def test_input_is_left_alone():
    image = np.random.default_rng(0).normal(size=(20, 20))
    image[3, 3] = np.nan
    before = image.copy()
    smooth(image)
    np.testing.assert_array_equal(image, before)

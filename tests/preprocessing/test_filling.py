import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from galaxysegment.preprocessing import BadPixelFiller
from galaxysegment.preprocessing import _filling as filling

METHODS = ["interpolate", "median"]


@pytest.fixture
def image():
    y, x = np.mgrid[:40, :50]
    return np.sin(y / 9) * 10 + x


@pytest.mark.parametrize("method", METHODS)
def test_scattered_pixels_come_back(image, method):
    damaged = image.copy()
    damaged[np.random.default_rng(0).random(image.shape) < 0.05] = np.nan
    result = BadPixelFiller(method=method).fit_transform(damaged[None])[0]
    known = ~np.isnan(damaged)
    assert_array_equal(result[known], image[known])
    assert np.abs(result - image)[2:-2, 2:-2].max() < 1.5


def test_median_is_the_median_of_the_window(image):
    damaged = image.copy()
    damaged[10, 10] = damaged[10, 11] = np.nan
    result = BadPixelFiller(method="median", size=3).fit_transform(damaged[None])[0]
    assert result[10, 10] == np.nanmedian(damaged[9:12, 9:12])
    inner = ndimage.median_filter(image, 3)
    lone = image.copy()
    lone[20, 20] = np.nan
    filled = BadPixelFiller(method="median", size=3).fit_transform(lone[None])[0, 20, 20]
    assert filled == pytest.approx(inner[20, 20], abs=1)


def test_median_ignores_a_cosmic_ray_that_the_mean_does_not(image):
    image[20, 21] = 1e5
    image[20, 20] = np.nan
    median = BadPixelFiller(method="median").fit_transform(image[None])[0, 20, 20]
    mean = BadPixelFiller().fit_transform(image[None])[0, 20, 20]
    assert abs(median - 20) < 10
    assert mean > 1000


def test_windows_are_worked_through_in_parts(image, monkeypatch):
    image[5:9, 5:9] = image[0, 0] = np.nan
    expected = BadPixelFiller(method="median").fit_transform(image[None])
    monkeypatch.setattr(filling, "_CHUNK", 60)  # two windows at a time
    assert_array_equal(BadPixelFiller(method="median").fit_transform(image[None]), expected)


@pytest.mark.parametrize("method", METHODS)
def test_large_hole_takes_the_nearest_value(method):
    X = np.full((1, 60, 60), 3.0)
    X[0, :, 30:] = 8.0
    X[0, 10:50, 10:20] = np.nan
    X[0, 10:50, 40:50] = np.nan
    result = BadPixelFiller(method=method, size=1).fit_transform(X)[0]
    assert_allclose(result[:, :30], 3.0)
    assert_allclose(result[:, 30:], 8.0)


@pytest.mark.parametrize("method", METHODS)
def test_image_with_one_pixel_and_with_none(method):
    X = np.full((2, 30, 30), np.nan)
    X[0, 12, 7] = 5.0
    result = BadPixelFiller(method=method).fit_transform(X)
    assert_allclose(result[0], 5.0)
    assert_array_equal(result[1], 0.0)


def test_bad_parameter_is_refused(image):
    with pytest.raises(ValueError, match=r"size must be odd where method='median'. Got 4"):
        BadPixelFiller(method="median", size=4).fit(image[None])
    with pytest.raises(ValueError, match="The 'method' parameter of BadPixelFiller"):
        BadPixelFiller(method="zero").fit(image[None])
    with pytest.raises(ValueError, match="The 'size' parameter of BadPixelFiller"):
        BadPixelFiller(size=0).fit(image[None])

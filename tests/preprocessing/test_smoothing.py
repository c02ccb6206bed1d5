import numpy as np
import pytest
from astropy.convolution import Gaussian2DKernel, convolve
from astropy.stats import gaussian_fwhm_to_sigma
from numpy.testing import assert_allclose, assert_array_equal

from galaxysegment.preprocessing import GaussianSmoother


@pytest.fixture
def image():
    return np.random.default_rng(4).normal(10, 3, (40, 50))


@pytest.mark.parametrize("with_nan", [False, True])
def test_agrees_with_astropy_away_from_the_edge(image, with_nan):
    if with_nan:
        image[12:15, 20] = image[30, 30] = np.nan
    sigma = 3 * gaussian_fwhm_to_sigma
    size = 2 * int(4 * sigma + 0.5) + 1
    expected = convolve(image, Gaussian2DKernel(sigma, x_size=size, y_size=size), preserve_nan=True)
    result = GaussianSmoother(fwhm=3).fit_transform(image[None])[0]
    inner = (slice(size, -size), slice(size, -size))
    assert_allclose(result[inner], expected[inner], rtol=1e-10)


def test_edges_and_holes_do_not_darken(image):
    X = np.full((1, 20, 20), 1e6, dtype=np.float32)
    X[0, 5:9, 5:9] = np.nan
    result = GaussianSmoother(fwhm=5).fit_transform(X)
    assert_array_equal(np.isnan(result), np.isnan(X))
    assert_allclose(result[~np.isnan(result)], 1e6, rtol=1e-6)


def test_pedestal_costs_no_precision(image):
    expected = GaussianSmoother().fit_transform(image[None])
    result = GaussianSmoother().fit_transform((image[None] + 2**14).astype(np.float32))
    assert_allclose(result - np.float32(2**14), expected, atol=0.01)


def test_noise_goes_down_and_mean_stays(image):
    result = GaussianSmoother(fwhm=4).fit_transform(image[None])
    assert result.std() < image.std() / 3
    assert result.mean() == pytest.approx(image.mean(), rel=0.01)


def test_rms_band_passes_untouched(image):
    X = np.stack([image, image**2])[None]
    result = GaussianSmoother(rms_band=1).fit_transform(X)
    assert_array_equal(result[0, 1], X[0, 1])
    assert_array_equal(result[0, 0], GaussianSmoother().fit_transform(image[None])[0])
    assert not np.array_equal(GaussianSmoother().fit_transform(X)[0, 1], X[0, 1])


def test_bad_parameter_is_refused(image):
    with pytest.raises(ValueError, match="The 'fwhm' parameter of GaussianSmoother"):
        GaussianSmoother(fwhm=0).fit(image[None])


def test_a_kernel_wider_than_the_image_takes_no_more_memory(image):
    wide, mean = GaussianSmoother(fwhm=1e9).fit_transform(image[None]), image.mean()
    assert_allclose(wide, mean, rtol=1e-9)
    fwhm = 30  # cut at 49 pixels instead of 51: beyond the image there is nothing to weigh
    rows, columns = np.indices(image.shape)
    weight = np.exp(
        -0.5 * ((rows - 20) ** 2 + (columns - 25) ** 2) / (fwhm * gaussian_fwhm_to_sigma) ** 2
    )
    result = GaussianSmoother(fwhm=fwhm).fit_transform(image[None])[0, 20, 25]
    assert_allclose(result, np.average(image, weights=weight), rtol=1e-9)

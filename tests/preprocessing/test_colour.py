import numpy as np
import pytest
from astropy.visualization import make_lupton_rgb
from numpy.testing import assert_allclose, assert_array_equal

from galaxysegment.preprocessing import LuptonRGB


@pytest.fixture
def bands():
    rng = np.random.default_rng(6)
    y, x = np.mgrid[:60, :70]
    source = np.exp(-((y - 30) ** 2 + (x - 30) ** 2) / 60)
    return rng.normal(0, 0.3, (3, 60, 70)) + source * np.array([300, 60, 5])[:, None, None]


@pytest.mark.parametrize("parameters", [{}, {"stretch": 0.5, "Q": 10}, {"stretch": 50, "Q": 2}])
def test_is_astropys_composite_up_to_rounding(bands, parameters):
    expected = make_lupton_rgb(*bands, **parameters)
    result = LuptonRGB(**parameters).fit_transform(bands[None])[0]
    assert result.min() == 0
    assert result.max() <= 1
    difference = np.moveaxis(expected.astype(float), -1, 0) - 255 * result
    assert difference.max() < 1e-6
    assert difference.min() > -1 - 1e-6  # astropy cuts the fraction off


def test_order_names_the_bands_of_red_green_and_blue(bands):
    expected = LuptonRGB().fit_transform(bands[None])
    assert_array_equal(LuptonRGB(order=(2, 1, 0)).fit_transform(bands[None, ::-1]), expected)
    assert_array_equal(LuptonRGB(order=[-3, -2, -1]).fit_transform(bands[None]), expected)


def test_one_band_becomes_grey(bands):
    result = LuptonRGB(order=(0, 0, 0)).fit_transform(bands[:1])
    assert result.shape == (1, 3, 60, 70)
    assert_array_equal(result[0, 0], result[0, 1])
    assert_array_equal(result[0, 0], result[0, 2])


def test_minimum_becomes_black(bands):
    minimum = (100, -7, 3)
    shifted = bands + np.array(minimum)[:, None, None]
    result = LuptonRGB(minimum=minimum).fit_transform(shifted[None])
    assert_allclose(result, LuptonRGB().fit_transform(bands[None]), atol=1e-12)
    assert_allclose(
        LuptonRGB(minimum=5).fit_transform(bands[None] + 5), LuptonRGB().fit_transform(bands[None])
    )


def test_colour_is_kept_at_any_brightness():
    X = np.geomspace(0.01, 1e4, 50) * np.array([4.0, 2.0, 1.0])[:, None, None]
    red, green, blue = LuptonRGB().fit_transform([X])[0]
    assert_allclose(red / green, 2)
    assert_allclose(green / blue, 2)


def test_pixel_missing_in_one_band_is_missing(bands):
    bands[1, 4, 5] = np.nan
    result = LuptonRGB().fit_transform(bands[None])
    assert np.isnan(result[0, :, 4, 5]).all()
    assert np.isnan(result).sum() == 3


@pytest.mark.parametrize("order", [(0, 1), (0, 1, 3), (0, 1, 2, 2), (0, 1, 0.5), ()])
def test_bad_order_is_refused(bands, order):
    with pytest.raises(
        ValueError, match=r"order must hold the indices .*X has 3 band\(s\).*order=\(0, 0, 0\)"
    ):
        LuptonRGB(order=order).fit(bands[None])


def test_wrong_number_of_bands_is_refused(bands):
    with pytest.raises(ValueError, match=r"X has 1 band\(s\)"):
        LuptonRGB().transform(bands[:1])


@pytest.mark.parametrize("minimum", [(1, 2), (1, 2, np.nan), np.inf])
def test_bad_minimum_is_refused(bands, minimum):
    with pytest.raises(ValueError, match="minimum must be one or three finite numbers"):
        LuptonRGB(minimum=minimum).fit(bands[None])


@pytest.mark.parametrize("parameter", ["stretch", "Q"])
def test_bad_parameter_is_refused(bands, parameter):
    with pytest.raises(ValueError, match=f"The '{parameter}' parameter of LuptonRGB"):
        LuptonRGB(**{parameter: 0}).fit(bands[None])

"""An RMS map becomes the last band of an image in one place, in one way."""

import numpy as np
import pytest

from galaxysegment import PhotutilsSegmenter
from galaxysegment._utils.rms import append_rms, mean_rms
from galaxysegment.io import Field
from galaxysegment.io._windows import open_pixels

NAN = np.nan


@pytest.fixture
def two_bands():
    """Two bands of 2 x 2 pixels; the RMS is missing in one band at (0, 0) and in both at (0, 1)."""
    image = np.arange(8.0).reshape(2, 2, 2)
    rms = np.array([[[NAN, NAN], [3.0, 1.0]], [[2.0, NAN], [4.0, 1.0]]])
    return image, rms


def test_an_rms_map_becomes_the_last_band():
    image = np.ones((3, 4, 5), dtype=np.float32)
    stacked = append_rms(image, np.full((4, 5), 7.0))
    assert stacked.shape == (4, 4, 5) and stacked.dtype == np.float32
    assert (stacked[-1] == 7).all() and (stacked[:3] == 1).all()
    assert append_rms(image, None) is image


def test_maps_per_band_become_the_root_mean_square_of_those_that_have_data(two_bands):
    image, rms = two_bands
    expected = [[2.0, NAN], [np.sqrt(12.5), 1.0]]
    np.testing.assert_allclose(append_rms(image, rms)[-1], expected)
    np.testing.assert_allclose(mean_rms(rms), expected)


def test_a_band_without_rms_has_no_data_there(two_bands):
    image, rms = two_bands
    expected = [[[NAN, NAN], [2.0, 3.0]], [[4.0, NAN], [6.0, 7.0]]]
    np.testing.assert_array_equal(append_rms(image, rms)[:-1], expected)
    assert not np.isnan(image).any()


def test_pixels_without_rms_are_blank_in_every_band():
    image, rms = np.ones((2, 2, 2)), np.array([[1.0, NAN], [1.0, 1.0]])
    assert np.isnan(append_rms(image, rms)[:, 0, 1]).all()


def test_patches_and_mosaics_stack_alike(two_bands):
    image, rms = two_bands
    field = Field(image, rms=rms)
    expected = append_rms(image, rms)
    np.testing.assert_array_equal(field.patches(size=2, rms=True)[0][0], expected)
    whole = slice(0, 2), slice(0, 2)
    np.testing.assert_array_equal(open_pixels(field, True).read(*whole), expected)
    np.testing.assert_array_equal(open_pixels(image, rms).read(*whole), expected)


def test_a_bad_value_in_a_band_without_rms_is_no_source():
    """The pixels that a weight map excludes in one band hold garbage that must not be detected."""
    image = np.random.default_rng(0).normal(0, 1, (2, 60, 60))
    image[0, 20:26, 20:26] = 1e4
    rms = np.ones((2, 60, 60))
    rms[0, 20:26, 20:26] = NAN
    segmenter = PhotutilsSegmenter(rms_band=-1, n_sigma=5)
    with pytest.warns(UserWarning, match="No source"):
        labels = segmenter.predict(append_rms(image, rms)[None])
    assert not labels.any()

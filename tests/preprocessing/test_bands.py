import numpy as np
import pytest
from numpy.testing import assert_array_equal

from galaxysegment.preprocessing import BandSelector


@pytest.fixture
def images():
    return np.arange(2 * 4 * 3 * 3, dtype=float).reshape(2, 4, 3, 3)


@pytest.mark.parametrize(
    ("parameters", "kept"),
    [
        ({}, [0]),
        ({"bands": -1}, [3]),
        ({"bands": [2, 0]}, [2, 0]),
        ({"bands": (1, 1)}, [1, 1]),
        ({"bands": -1, "drop": True}, [0, 1, 2]),
        ({"bands": [0, -1], "drop": True}, [1, 2]),
    ],
)
def test_keeps_the_bands_it_should(images, parameters, kept):
    assert_array_equal(BandSelector(**parameters).fit_transform(images), images[:, kept])


def test_image_without_band_axis_keeps_its_form():
    X = np.ones((2, 3, 4))
    assert BandSelector().fit_transform(X).shape == (2, 3, 4)


@pytest.mark.parametrize("bands", [4, -5, [0, 4], [], [0.5]])
def test_band_that_is_not_there_is_refused(images, bands):
    for call in (BandSelector(bands=bands).fit, BandSelector(bands=bands).transform):
        with pytest.raises(
            ValueError, match=r"bands must name bands of X, which has 4: integers from -4 to 3. Got"
        ):
            call(images)


def test_dropping_all_is_refused(images):
    with pytest.raises(ValueError, match="leaves none of the 4"):
        BandSelector(bands=[0, 1, 2, 3], drop=True).fit(images)

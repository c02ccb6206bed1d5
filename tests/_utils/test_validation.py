"""Images whose bands come last are not taken for stacks without a word."""

import warnings

import numpy as np
import pytest
from astropy.nddata import NDData

from galaxysegment import PhotutilsSegmenter
from galaxysegment.catalog import source_catalog
from galaxysegment.exceptions import ChannelsLastWarning
from galaxysegment.io import Field
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.preprocessing import GaussianSmoother

RGB = np.zeros((64, 48, 3))


@pytest.mark.parametrize(
    ("X", "read_as", "fix"),
    [
        (RGB, "64 images of 48 × 3 pixels", "np.moveaxis(X, -1, 0)[np.newaxis]"),
        (RGB[None], "64 bands of 48 × 3 pixels", "np.moveaxis(X, -1, 1)"),
        ([RGB, RGB], "64 bands of 48 × 3 pixels", "np.moveaxis(X[0], -1, 0)"),
        ([NDData(RGB)], "64 bands of 48 × 3 pixels", "np.moveaxis(image, -1, 0)"),
    ],
)
def test_bands_in_the_last_axis_are_noticed(X, read_as, fix):
    with pytest.warns(ChannelsLastWarning) as caught:
        GaussianSmoother().transform(X)
    text = str(caught[0].message)
    assert read_as in text and text.endswith(f"pass {fix}.")
    assert caught[0].filename == __file__


def test_the_fix_in_the_warning_is_right():
    fixed = {"stack": np.moveaxis(RGB, -1, 0)[np.newaxis], "many": np.moveaxis(RGB[None], -1, 1)}
    for X in fixed.values():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert GaussianSmoother().transform(X).shape == (1, 3, 64, 48)


@pytest.mark.parametrize(
    "function",
    [
        lambda: Field(RGB),
        lambda: segment_mosaic(PhotutilsSegmenter(), np.ones((40, 48, 3)), progress=False),
        lambda: source_catalog(np.ones((48, 3), dtype=int), RGB),
    ],
    ids=["Field", "segment_mosaic", "source_catalog"],
)
@pytest.mark.filterwarnings("ignore::galaxysegment.exceptions.NoSourcesWarning")
def test_single_images_are_noticed(function):
    with pytest.warns(ChannelsLastWarning, match=r"pass np.moveaxis\(image, -1, 0\)\."):
        function()


@pytest.mark.parametrize(
    "shape", [(3, 64, 48), (1, 3, 64, 48), (64, 48, 6), (64, 31, 3), (5, 4, 5)]
)
def test_ordinary_images_are_not(shape):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GaussianSmoother().transform(np.zeros(shape))

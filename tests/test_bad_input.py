"""Every kind of bad input has one documented outcome.

An error of the house form, or an empty map and a warning.
"""

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment import KMeansSegmenter, NoSourcesWarning, PhotutilsSegmenter, SEPSegmenter
from galaxysegment.io import read_field, read_image
from galaxysegment.testing import make_images

X, Y = make_images()
SEGMENTERS = [PhotutilsSegmenter(), KMeansSegmenter(random_state=0), SEPSegmenter()]
WITH_RMS = [
    PhotutilsSegmenter(rms_band=-1),
    KMeansSegmenter(rms_band=-1, random_state=0),
    SEPSegmenter(rms_band=-1),
]
each_segmenter = pytest.mark.parametrize(
    "segmenter", SEGMENTERS, ids=lambda segmenter: type(segmenter).__name__
)
each_with_rms = pytest.mark.parametrize(
    "segmenter", WITH_RMS, ids=lambda segmenter: type(segmenter).__name__
)


@each_segmenter
@pytest.mark.parametrize(
    ("images", "words"),
    [(X[0], "np.newaxis"), (X[:, :0], "empty"), (X[:0], "0 images"), ([X[0], X], "dimensions")],
    ids=["2-D", "zero-size", "no image", "mixed"],
)
def test_wrong_shapes_are_refused_before_any_work(segmenter, images, words):
    with pytest.raises(ValueError, match=words):
        segmenter.fit(images)


@each_segmenter
@pytest.mark.parametrize(
    "value", [np.nan, np.inf, 0.0, 7.0], ids=["nan", "inf", "zeros", "constant"]
)
def test_images_without_information_are_empty_maps_and_a_warning(segmenter, value):
    segmenter.fit(X)
    with pytest.warns(NoSourcesWarning, match="1 of 1 images"):
        labels = segmenter.predict(np.full((1, 40, 50), value, dtype=np.float32))
    assert labels.shape == (1, 40, 50) and labels.dtype == np.int32 and not labels.any()


@each_with_rms
def test_an_rms_map_of_zeros_is_refused(segmenter):
    with pytest.raises(ValueError, match="no positive value"):
        segmenter.fit(np.stack([X, np.zeros_like(X)], axis=1)).predict(
            np.stack([X, np.zeros_like(X)], axis=1)
        )


@each_with_rms
def test_an_rms_band_that_is_not_there_is_refused(segmenter):
    with pytest.raises(ValueError, match="rms_band"):
        segmenter.fit(X).predict(X)


@each_with_rms
def test_pixels_with_a_bad_rms_belong_to_no_source(segmenter):
    rms = np.ones_like(X)
    rms[:, :20], rms[:, 20:22], rms[:, 22:24] = 0, np.nan, -1
    images = np.stack([X, rms], axis=1)
    assert not segmenter.fit(images).predict(images)[:, :24].any()


@each_segmenter
def test_truth_of_another_shape_is_refused(segmenter):
    with pytest.raises(ValueError, match=r"y\[0\] has shape"):
        segmenter.fit(X, Y[:, :, 1:])
    with pytest.raises(ValueError, match="one per image"):
        segmenter.fit(X, Y[1:])


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(X[0], name="SCI")]).writeto(path)
    return path


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(b"A table, not an image\n" * 300), "FITS"),
        (lambda path: path.write_bytes(path.read_bytes()[:6000]), "truncated|bytes"),
        (lambda path: path.write_bytes(b""), "FITS|empty"),
        (lambda path: path.unlink(), "image.fits"),
    ],
    ids=["not FITS", "truncated", "empty", "missing"],
)
def test_files_that_cannot_be_read(image, spoil, words):
    spoil(image)
    with pytest.raises((OSError, ValueError), match=words):
        read_image(image)


def test_an_extension_that_is_not_there_names_those_that_are(image):
    with pytest.raises((OSError, ValueError, KeyError), match="SCI"):
        read_image(image, hdu="WEIGHT")


def test_an_rms_map_of_another_shape_is_refused_before_reading(image, tmp_path):
    rms = tmp_path / "rms.fits"
    fits.PrimaryHDU(np.ones((48, 41))).writeto(rms)
    with pytest.raises(ValueError, match=r"\(48, 41\)"):
        read_field(image, rms=rms)

"""Masks in the file of the image: used without being named if the header says what they mean."""

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment.io import read_field, read_image
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.segmenters import PhotutilsSegmenter

SHAPE = (6, 9)
FLAGS = np.arange(54, dtype=np.int16).reshape(SHAPE)


def write(path, flags=FLAGS, name="MASK", primary=None, **cards):
    """Write an image and a map of flags with these cards."""
    header = fits.Header(primary or {})
    sci = fits.ImageHDU(np.ones(SHAPE, np.float32), name="SCI")
    legal = {key if len(key) < 9 else f"HIERARCH {key}": value for key, value in cards.items()}
    mask = fits.ImageHDU(flags, fits.Header(legal), name=name)
    fits.HDUList([fits.PrimaryHDU(header=header), sci, mask]).writeto(path)
    return path


def missing(path, **options):
    return np.isnan(read_field(path, **options).image[0])


LSST = {"MP_BAD": 0, "MP_SAT": 1, "MP_INTRP": 2, "MP_CR": 3, "MP_DETECTED": 4, "MP_NO_DATA": 5}


def test_lsst_names_its_bits(tmp_path):
    """Bad pixels, cosmic rays and no data, unless interpolated; never what was detected."""
    path = write(tmp_path / "calexp.fits", name="", EXTTYPE="MASK", **LSST)
    expected = ((FLAGS & (1 + 8 + 32)) > 0) & ((FLAGS & 4) == 0)
    np.testing.assert_array_equal(missing(path), expected)
    other = write(
        tmp_path / "other.fits", EXTTYPE="MASK", **{**LSST, "MP_BAD": 4, "MP_DETECTED": 0}
    )
    expected = ((FLAGS & (16 + 8 + 32)) > 0) & ((FLAGS & 4) == 0)
    np.testing.assert_array_equal(missing(other), expected)


def test_unsigned_and_wide_masks(tmp_path):
    flags = np.zeros(SHAPE, np.uint32)
    flags[2, 3], flags[4, 5] = 2**31, 2**30
    path = write(tmp_path / "wide.fits", flags, MP_NO_DATA=31, MP_DETECTED=30)
    assert np.argwhere(missing(path)).tolist() == [[2, 3]]


def test_an_image_that_repeats_the_planes_is_no_mask(tmp_path):
    flags = np.full(SHAPE, 33, np.int16)
    path = write(tmp_path / "planes.fits", flags, name="", EXTTYPE="IMAGE", **LSST)
    assert not missing(path).any()


@pytest.mark.parametrize("name", ["MASK", "BPM", "BADPIX"])
def test_plain_masks(tmp_path, name):
    path = write(tmp_path / "ccd.fits", (FLAGS % 5 == 0).astype(np.uint8), name=name)
    np.testing.assert_array_equal(missing(path), FLAGS % 5 == 0)


@pytest.mark.parametrize(
    ("primary", "bits"),
    [
        ({"TELESCOP": "JWST"}, 1),
        ({"TELESCOP": "HST", "DETECTOR": "WFC"}, 2 + 4 + 8 + 32 + 4096 + 8192),
        ({"TELESCOP": "HST", "DETECTOR": "IR"}, 2 + 4 + 8 + 32 + 4096),
    ],
)
def test_data_quality_of_space_telescopes(tmp_path, primary, bits):
    flags = (1 << np.arange(54, dtype=np.int32) % 15).reshape(SHAPE)
    path = write(tmp_path / "flt.fits", flags, name="DQ", primary=primary)
    np.testing.assert_array_equal(missing(path), (flags & bits) > 0)


def test_masks_of_unknown_meaning_are_left(tmp_path):
    """Bits without names, fractions, other shapes and maps of sources."""
    assert not missing(write(tmp_path / "dq.fits", name="DQ")).any()
    assert not missing(write(tmp_path / "seg.fits", name="SEGMAP")).any()
    assert not missing(write(tmp_path / "float.fits", FLAGS.astype(np.float32))).any()
    assert not missing(write(tmp_path / "small.fits", FLAGS[1:])).any()
    assert not missing(write(tmp_path / "detected.fits", MP_DETECTED=0)).any()


def test_what_is_named_goes_before_and_false_takes_none(tmp_path):
    path = write(tmp_path / "image.fits")
    assert missing(path).sum() == 53
    assert not missing(path, mask=False).any()
    np.testing.assert_array_equal(missing(path, mask_hdu="MASK", mask_bits=8), (FLAGS & 8) > 0)
    other = np.zeros(SHAPE, bool)
    other[1, 1] = True
    np.testing.assert_array_equal(missing(path, mask=other), other)


def test_each_detector_has_its_own(tmp_path):
    hdus = [fits.PrimaryHDU(header=fits.Header({"TELESCOP": "HST"}))]
    for version in (1, 2):
        flags = np.zeros(SHAPE, np.int16)
        flags[version, version] = 4
        for name, values in (("SCI", np.ones(SHAPE, np.float32)), ("DQ", flags)):
            hdus.append(fits.ImageHDU(values, name=name, ver=version))
    fits.HDUList(hdus).writeto(tmp_path / "flt.fits")
    path = tmp_path / "flt.fits"
    assert np.argwhere(missing(path)).tolist() == [[1, 1]]
    assert np.argwhere(missing(path, hdu=("SCI", 2))).tolist() == [[2, 2]]
    both = np.isnan(read_field(path, hdu=[("SCI", 1), ("SCI", 2)]).image)
    assert np.argwhere(both).tolist() == [[0, 1, 1], [1, 2, 2]]


def test_the_flags_of_one_detector_are_not_those_of_the_other(tmp_path):
    hdus = [fits.PrimaryHDU(header=fits.Header({"TELESCOP": "HST"}))]
    for version in (1, 2):
        hdus.append(fits.ImageHDU(np.ones(SHAPE, np.float32), name="SCI", ver=version))
    hdus.append(fits.ImageHDU(np.full(SHAPE, 4, np.int16), name="DQ", ver=2))
    fits.HDUList(hdus).writeto(tmp_path / "flt.fits")
    assert not missing(tmp_path / "flt.fits").any()
    assert missing(tmp_path / "flt.fits", hdu=("SCI", 2)).all()


def test_a_mosaic_of_a_file_knows_its_mask(tmp_path):
    """The command line and `segment_mosaic` open files in the same way."""
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (120, 150)).astype(np.float32)
    image[40:60, 50:80] += 30
    flags = np.zeros(image.shape, np.uint8)
    flags[45:50, 60:66] = 1
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image, name="SCI"), fits.ImageHDU(flags, name="MASK")]
    fits.HDUList(hdus).writeto(tmp_path / "image.fits")
    labels = segment_mosaic(
        PhotutilsSegmenter(bridge=0), tmp_path / "image.fits", tile_size=70, progress=False
    )
    assert labels[45:50, 60:66].max() == 0 and labels[55, 60] > 0
    assert not np.isnan(read_image(tmp_path / "image.fits")).any()


@pytest.mark.parametrize("unit", ["nJy**-2", "1/nJy^2", "1 / (e-/s)**2", "nJy^(-2)", "nJy-2"])
def test_a_weight_whose_unit_is_an_inverse_square(tmp_path, unit):
    weight = fits.ImageHDU(np.full(SHAPE, 0.25, np.float32), name="WHT")
    weight.header["BUNIT"] = unit
    image = fits.ImageHDU(np.ones(SHAPE, np.float32), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), image, weight]).writeto(tmp_path / "stack.fits")
    assert np.unique(read_field(tmp_path / "stack.fits").rms).tolist() == [2]
    for other in ("s", "nJy", "nJy/s", "e-/s2", ""):
        weight.header["BUNIT"] = other
        fits.HDUList([fits.PrimaryHDU(), image, weight]).writeto(
            tmp_path / "stack.fits", overwrite=True
        )
        assert not read_field(tmp_path / "stack.fits").has_rms

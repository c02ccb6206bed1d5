"""Masks of every kind against booleans made by hand."""

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from galaxysegment.io import Field, read_field
from galaxysegment.io._mask import as_mask, blank, is_path

SHAPE = (6, 7)
FLAGS = [np.random.default_rng(band).integers(0, 8, SHAPE).astype(np.int16) for band in range(3)]


@given(
    values=hnp.arrays(st.sampled_from(["i1", "u1", "i2", "u4", "i8", "u8"]), (3, 4)),
    bits=st.lists(st.integers(-(2**63), 2**63 - 1).filter(bool), max_size=3),
)
def test_a_pixel_is_masked_if_it_shares_a_bit(values, bits):
    total = 0
    for bit in bits:
        total |= bit
    # 64 bits, as two's complement: the bits of a negative number go on for ever
    shared = [int(value) & total & (2**64 - 1) if bits else int(value) for value in values.flat]
    expected = np.array([value != 0 for value in shared]).reshape(values.shape)
    np.testing.assert_array_equal(as_mask(values, bits), expected)


def test_every_value_but_zero_masks():
    assert as_mask(np.array([0.0, -0.0, 0.5, np.nan, np.inf])).tolist() == [0, 0, 1, 1, 1]
    assert as_mask(np.array([0, -1, 3])).tolist() == [False, True, True]
    assert as_mask(np.array([True, False])).tolist() == [True, False]
    assert as_mask(np.array([True, False]), 1).tolist() == [True, False]
    assert as_mask(np.array([True, False]), 2).tolist() == [False, False]


@pytest.mark.parametrize("mask", [np.array(["a"]), np.array([1j]), np.array([None])])
def test_masks_of_other_kinds_are_refused(mask):
    with pytest.raises(TypeError, match="flags must hold booleans or numbers"):
        as_mask(mask, name="flags")
    with pytest.raises(TypeError, match="mask must hold booleans or numbers"):
        as_mask(mask)


def test_bits_of_fractions_are_refused():
    with pytest.raises(TypeError, match=r"mask_bits=5 picks bits .* but mask holds float64"):
        as_mask(np.array([1.0]), [1, 4])


def test_an_image_without_masked_pixels_stays_as_it_is():
    image = np.ones((2, *SHAPE), np.float32)
    assert blank(image, None) is image and blank(image, np.zeros(SHAPE, bool)) is image
    own = np.zeros((2, *SHAPE), bool)
    own[1, 2, 3] = True
    result = blank(image, own)
    assert result.dtype == np.float32 and np.argwhere(np.isnan(result)).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("shape", [(7, 6), (1, *SHAPE), (3, *SHAPE), (6,), (2, 2, *SHAPE)])
def test_masks_of_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"The mask has shape .* the image has shape \(2, 6, 7\)"):
        blank(np.zeros((2, *SHAPE)), np.zeros(shape, bool))


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", True), (["a", "b"], True), (("a",), True), ([], False), (["a", 1], False), (1, False)],
)
def test_paths(value, expected):
    assert is_path(value) is expected


# ---- files: a mask for all bands or one for each, in one file or several ----


@pytest.fixture
def files(tmp_path):
    images = []
    for band in range(3):
        images.append(tmp_path / f"image{band}.fits")
        fits.writeto(images[-1], np.full(SHAPE, band, np.float32))
        fits.writeto(tmp_path / f"mask{band}.fits", FLAGS[band])
    hdus = [
        fits.PrimaryHDU(),
        *(fits.ImageHDU(flags, name=f"DQ{k}") for k, flags in enumerate(FLAGS)),
    ]
    fits.HDUList(hdus).writeto(tmp_path / "masks.fits")
    return images, tmp_path


def masked_of(images, **options):
    return np.isnan(read_field(images, **options).image)


@pytest.mark.parametrize("bits", [None, 2, [1, 4], ~4])
def test_masks_of_bands(files, bits):
    images, folder = files
    expected = np.stack([as_mask(flags, bits) for flags in FLAGS])
    own = [folder / f"mask{band}.fits" for band in range(3)]
    together = folder / "masks.fits"
    for options in (
        {"mask": own},
        {"mask": tuple(own), "mask_hdu": 0},
        {"mask": own, "mask_hdu": [0, 0, 0]},
        {"mask": together, "mask_hdu": ["DQ0", "DQ1", "DQ2"]},
        {"mask": [together], "mask_hdu": [1, 2, 3]},
        {"mask": np.stack(FLAGS)},
    ):
        np.testing.assert_array_equal(masked_of(images, mask_bits=bits, **options), expected)
    masked = masked_of(images[1:], mask_bits=bits, mask=own[1:])
    np.testing.assert_array_equal(masked, expected[1:])
    for options in ({"mask": own[1]}, {"mask": together, "mask_hdu": "DQ1"}, {"mask": FLAGS[1]}):
        masked = masked_of(images, mask_bits=bits, **options)
        np.testing.assert_array_equal(masked, np.stack([expected[1]] * 3))


def test_numbers_of_masks_that_fit_no_bands(files):
    images, folder = files
    own = [folder / f"mask{band}.fits" for band in range(3)]
    for options, words in (
        ({"mask": own[:2]}, "mask lists 2 files and mask_hdu 2 HDUs for 3 bands"),
        ({"mask": own, "mask_hdu": [0, 0]}, "mask lists 3 files and mask_hdu 2 HDUs"),
        ({"mask": folder / "masks.fits", "mask_hdu": [1, 2]}, "mask lists 2 files and mask_hdu 2"),
        ({"mask": FLAGS[0], "mask_hdu": 1}, "mask_hdu=1 names an HDU of a file, but mask is an"),
    ):
        with pytest.raises(ValueError, match=words):
            read_field(images, **options)


def test_a_truncated_mask_is_refused_before_pixels_are_read(files):
    images, folder = files
    path = folder / "mask0.fits"
    path.write_bytes(path.read_bytes()[:2900])
    with pytest.raises(OSError, match="truncated"):
        read_field(images, mask=path)


@pytest.mark.parametrize("blank_value", [None, 3])
@pytest.mark.parametrize(("scale", "zero"), [(1, 0), (1, 2**15), (2, 0), (0.5, 1)])
def test_scaled_masks(tmp_path, scale, zero, blank_value):
    stored = np.arange(-4, 8, dtype=np.int16).reshape(3, 4)
    hdu = fits.PrimaryHDU(stored)
    hdu.header["BSCALE"], hdu.header["BZERO"] = scale, zero
    if blank_value is not None:
        hdu.header["BLANK"] = blank_value
    path = tmp_path / "mask.fits"
    hdu.writeto(path)
    expected = (stored * float(scale) + zero != 0) | (stored == blank_value)
    image = np.ones(stored.shape)
    np.testing.assert_array_equal(np.isnan(Field(image).image[0]), np.zeros(stored.shape))
    fits.writeto(tmp_path / "image.fits", image)
    np.testing.assert_array_equal(masked_of(tmp_path / "image.fits", mask=path)[0], expected)

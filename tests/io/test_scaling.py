"""BITPIX, BSCALE, BZERO and BLANK in every combination, read as astropy reads them, or better."""

import gzip
import warnings
from itertools import product

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment.io import read_image, read_label_map, read_rms, write_label_map
from galaxysegment.io._windows import open_pixels

TYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
ZEROS = (0, -128, -7.5, 2**15, 2**31, 2**63, 10**20)
SCALES = (1, -2.0, 0.001)
SECTION = np.s_[1:3, 1:4]


def stored_pixels(bitpix):
    """Return numbers to store: small ones, the ends of the type, and 3 for BLANK."""
    dtype = np.dtype(TYPES[bitpix])
    rng = np.random.default_rng(abs(bitpix))
    pixels = rng.integers(0, 120, (4, 5)).astype(dtype)
    if bitpix > 0:
        ends = np.iinfo(dtype)
        pixels[0, :3] = ends.min, ends.max, ends.min + 100
        pixels[1, 1] = pixels[3, 3] = 3
    return pixels


def write_scaled(path, pixels, bscale=1, bzero=0, blank=None):
    """Write pixels as they are, tile-compressed or not, under a header that scales them."""
    cards = {"BSCALE": bscale, "BZERO": bzero, "BLANK": blank}
    cards = {keyword: value for keyword, value in cards.items() if value is not None}
    # Under other names, or astropy would scale the pixels.
    header = fits.Header({f"X{keyword[1:]}": value for keyword, value in cards.items()})
    if ".fz" in path.suffixes:
        compression = (
            "GZIP_2" if pixels.dtype.itemsize == 8 or pixels.dtype.kind == "f" else "RICE_1"
        )
        image = fits.CompImageHDU(
            pixels, header, compression_type=compression, quantize_level=0, tile_shape=(2, 3)
        )
    else:
        image = fits.ImageHDU(pixels, header)
    plain = path.with_name("unscaled.fits")
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(plain, overwrite=True)
    data = plain.read_bytes()
    for keyword in cards:
        assert data.count(f"X{keyword[1:]}".ljust(8).encode() + b"=") == 1
        data = data.replace(f"X{keyword[1:]}".ljust(8).encode(), keyword.ljust(8).encode())
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path


def astropy_pixels(path):
    with warnings.catch_warnings(), np.errstate(all="ignore"), fits.open(path) as opened:
        warnings.simplefilter("ignore")
        return np.array(opened[1].data).astype(float)


def windows(path):
    """Read a file by windows of 3 x 2 pixels, as mosaics do."""
    pixels = open_pixels(path, None)
    whole = np.empty(pixels.shape)
    for top, left in product(range(0, 4, 2), range(0, 5, 3)):
        rows, columns = slice(top, top + 2), slice(left, min(left + 3, 5))
        whole[rows, columns] = pixels.read(rows, columns)[0]
    return whole


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.fz"])
@pytest.mark.parametrize("bitpix", TYPES)
def test_every_scaling_is_that_of_astropy(tmp_path, name, bitpix):
    for bscale, bzero, blank in product(SCALES, ZEROS, (None, 3)):
        path = write_scaled(tmp_path / name, stored_pixels(bitpix), bscale, bzero)
        expected = astropy_pixels(path)
        if blank is not None:
            # Only here: astropy keeps BLANK as a number, or fails, where it makes integers.
            path = write_scaled(path, stored_pixels(bitpix), bscale, bzero, blank)
            if bitpix > 0:
                expected[stored_pixels(bitpix) == blank] = np.nan
        told = f"BSCALE = {bscale}, BZERO = {bzero}, BLANK = {blank}"
        image = read_image(path)
        np.testing.assert_array_equal(image, expected, told)
        np.testing.assert_array_equal(read_image(path, section=SECTION), expected[SECTION], told)
        np.testing.assert_array_equal(windows(path), expected, told)
        with np.errstate(all="ignore"):
            is_noise = np.isfinite(expected) & (expected > 0)
        np.testing.assert_array_equal(
            read_rms(path), np.where(is_noise, image, np.nan).astype(image.dtype), told
        )


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.fz"])
def test_unsigned_64_bit_images_are_read_to_the_last_digit(tmp_path, name):
    pixels = np.array([[100, 5000], [2**53 - 1, 2**64 - 1]], np.uint64)
    options = {"compression_type": "GZIP_1"} if name.endswith("fz") else {}
    kind = fits.CompImageHDU if name.endswith("fz") else fits.ImageHDU
    fits.HDUList([fits.PrimaryHDU(), kind(pixels, **options)]).writeto(tmp_path / name)
    np.testing.assert_array_equal(read_image(tmp_path / name), pixels.astype(float))
    part = read_image(tmp_path / name, section=np.s_[:1, 1:])
    np.testing.assert_array_equal(part, [[5000]])


def exact_labels(pixels, bscale, bzero, blank):
    """Compute labels with Python's own integers; None where no label map comes out."""
    labels = [
        [0 if value == blank else value * bscale + bzero for value in row]
        for row in pixels.tolist()
    ]
    values = {value for row in labels for value in row}
    if min(values) < 0 or max(values) >= 2**64:
        return None
    if max(values) < 2**31:
        return np.array(labels)
    order = {value: index for index, value in enumerate(sorted(values | {0}))}
    return np.array([[order[value] for value in row] for row in labels])


@pytest.mark.parametrize("name", ["a.fits", "a.fits.fz"])
@pytest.mark.parametrize("bitpix", [8, 16, 32, 64])
def test_every_scaling_of_label_maps_is_exact(tmp_path, name, bitpix):
    n_read = 0
    whole_zeros = [zero for zero in ZEROS if zero == int(zero)]
    small = stored_pixels(bitpix)
    small[0, :3] = 0, 1, 100
    for pixels, bscale, bzero, blank in product(
        (stored_pixels(bitpix), small), (1, 2.0, -1), whole_zeros, (None, 3)
    ):
        path = write_scaled(tmp_path / name, pixels, bscale, bzero, blank)
        expected = exact_labels(pixels, int(bscale), bzero, blank)
        if expected is None:
            with pytest.raises(ValueError, match=r"positive for sources"):
                read_label_map(path)
        else:
            n_read += 1
            np.testing.assert_array_equal(read_label_map(path), expected)
    assert n_read > 8


@pytest.mark.parametrize("reader", [read_image, read_label_map, read_rms])
def test_a_scale_of_zero_is_refused(tmp_path, reader):
    path = write_scaled(tmp_path / "a.fits", stored_pixels(16), bscale=0)
    with pytest.raises(OSError, match=r"a\.fits has BSCALE = 0, so that all pixels"):
        reader(path)


def test_a_shift_that_float32_cannot_hold(tmp_path):
    path = write_scaled(tmp_path / "a.fits", stored_pixels(16), bzero=1e300)
    np.testing.assert_array_equal(read_image(path), 1e300)


def test_labels_that_no_integer_holds_are_named(tmp_path):
    path = write_scaled(tmp_path / "a.fits", stored_pixels(32), bzero=10**20)
    with pytest.raises(
        ValueError, match=r"a\.fits holds numbers from 9\d+ to 1\d+ .*below 2\*\*64"
    ):
        read_label_map(path)


@pytest.mark.parametrize("dtype", [">f4", ">f8"])
def test_infinite_labels_are_refused(tmp_path, dtype):
    pixels = np.array([[0, 1], [np.inf, 2]], dtype)
    path = write_scaled(tmp_path / "a.fits", pixels)
    with pytest.raises(ValueError, match="Got infinit"):
        read_label_map(path)
    np.testing.assert_array_equal(read_label_map(path, section=np.s_[:1, :]), [[0, 1]])


@pytest.mark.parametrize("value", [2.0**31, 2.0**40, 1e30])
def test_labels_that_need_more_than_32_bits_are_numbered(tmp_path, value):
    path = write_scaled(tmp_path / "a.fits", np.array([[0, 5], [value, 5]], ">f4"))
    assert read_label_map(path).tolist() == [[0, 1], [2, 1]]


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
def test_infinite_labels_of_arrays_are_refused(tmp_path, dtype):
    for value in (np.inf, -np.inf):
        with pytest.raises(ValueError, match="Got infinit"):
            write_label_map(tmp_path / "a.fits", np.array([[0, value]], dtype))


@pytest.mark.parametrize("dtype", [">i2", ">i4", ">i8", ">u8", ">f4", "?", "u1"])
@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.fz"])
def test_label_maps_of_any_byte_order_are_written(tmp_path, name, dtype):
    labels = np.array([[0, 1, 1], [0, 0, 1]]).astype(dtype)
    path = write_label_map(tmp_path / name, labels)
    assert read_label_map(path).tolist() == [[0, 1, 1], [0, 0, 1]]
    assert labels.dtype == dtype and labels.tolist() == np.array(labels).tolist()


def test_masked_pixels_of_label_maps_are_background(tmp_path):
    labels = np.ma.array([[1, 2], [0, 3]], mask=[[False, True], [False, False]])
    path = write_label_map(tmp_path / "a.fits", labels)
    assert read_label_map(path).tolist() == [[1, 0], [0, 3]]


@pytest.mark.parametrize(("scale", "zero"), [(1, -1), (2, -9), (2.0**62, 2.0**63), (-1, 0)])
def test_a_map_of_nothing_but_blank_is_background_whatever_its_scale(tmp_path, scale, zero):
    path = tmp_path / "a.fits"
    fits.writeto(path, np.full((3, 4), 7, np.int32))
    with fits.open(path, mode="update", do_not_scale_image_data=True) as opened:
        opened[0].header.update({"BLANK": 7, "BSCALE": scale, "BZERO": zero})
    assert not read_label_map(path).any()

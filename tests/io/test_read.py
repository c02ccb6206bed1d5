import sys
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment.io import image_shape, read_header, read_image, read_panoptic_map

SECTION = np.s_[5:17, 30:]


def table():
    return fits.BinTableHDU.from_columns([fits.Column("A", "J", array=[1, 2])], name="CAT")


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.bz2", "a.fits.fz"])
@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ("u1", "f4"),
        (">i2", "f4"),
        (">i4", "f8"),
        (">i8", "f8"),
        (">f4", "f4"),
        (">f8", "f8"),
        ("u2", "f4"),
        ("u4", "f8"),
    ],
)
def test_every_dtype_in_every_packing(write, image, name, stored, read):
    compressed = name.endswith("fz")
    needs_gzip = compressed and stored in (">i8", ">f4", ">f8")  # RICE cannot, or not without loss
    options = {"compression_type": "GZIP_1", "quantize_level": 0} if needs_gzip else {}
    pixels = image.astype(stored)
    path = write(name, (fits.CompImageHDU if compressed else fits.PrimaryHDU)(pixels, **options))
    whole, part = read_image(path), read_image(path, section=SECTION)
    assert whole.dtype == part.dtype == np.dtype(read)
    assert whole.dtype.isnative
    np.testing.assert_array_equal(whole, image)
    np.testing.assert_array_equal(part, image[SECTION])
    assert image_shape(path) == (30, 40)


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.fz"])
@pytest.mark.parametrize("blank", [7, 0, -32768])  # astropy itself forgets a BLANK of 0
def test_scaled_integers_with_blank(write, image, name, blank):
    image = image.astype(np.int16)
    image[3, 4], image[5, 31] = blank, blank
    header = fits.Header({"BLANK": blank})
    compressed = name.endswith("fz")
    hdu = (fits.CompImageHDU if compressed else fits.PrimaryHDU)(image, header)
    path = write(name, hdu)
    _patch_cards(path, {"BSCALE": 0.5, "BZERO": 100.0}) if name == "a.fits" else None
    scale, zero = (0.5, 100) if name == "a.fits" else (1, 0)
    expected = np.where(image == blank, np.nan, image * scale + zero).astype(np.float32)
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(read_image(path, section=SECTION), expected[SECTION])


def _patch_cards(path, cards):
    """Overwrite cards of the first header, in place of the empty ones behind END."""
    data = bytearray(path.read_bytes())
    end = data.index(b"END" + b" " * 77)
    text = "".join(str(fits.Card(key, value)) for key, value in cards.items())
    data[end : end + len(text) + 80] = text.encode() + b"END" + b" " * 77
    path.write_bytes(data)


def test_unsigned_16_bit_with_blank_is_nan(write):
    path = write("a.fits", fits.PrimaryHDU(np.array([[0, 40000], [65535, 32768]], dtype=np.uint16)))
    _patch_cards(path, {"BLANK": -32768})  # stored -32768 is 0
    np.testing.assert_array_equal(read_image(path), [[np.nan, 40000], [65535, 32768]])


def test_scaled_floats_and_blank_of_floats(write, image):
    path = write("a.fits", fits.PrimaryHDU(image))
    _patch_cards(path, {"BSCALE": 2.0, "BZERO": -1.0, "BLANK": 4})  # BLANK means nothing for floats
    np.testing.assert_array_equal(read_image(path), image * 2 - 1)


def test_nan_in_compressed_floats(write, image):
    image = image + np.random.default_rng(1).normal(size=image.shape).astype(np.float32)
    image[2, 3:9] = np.nan
    path = write("a.fits.fz", fits.CompImageHDU(image))
    np.testing.assert_array_equal(np.isnan(read_image(path)), np.isnan(image))
    with fits.open(path) as opened:
        np.testing.assert_array_equal(read_image(path), opened[1].data)


def test_default_skips_what_holds_no_image(write, image):
    path = write(
        "a.fits",
        table(),
        fits.ImageHDU(name="EMPTY"),
        fits.ImageHDU(np.arange(5.0), name="SPECTRUM"),
        fits.ImageHDU(image, name="SCI"),
        fits.ImageHDU(image + 1, name="SCI", ver=2),
    )
    np.testing.assert_array_equal(read_image(path), image)
    for hdu in (5, -1, ("SCI", 2), ("sci", 2), np.int64(5)):
        np.testing.assert_array_equal(read_image(path, hdu=hdu), image + 1)
    np.testing.assert_array_equal(read_image(path, hdu="sci "), image)


def test_compressed_image_behind_a_table(write, image):
    path = write("a.fits", table(), fits.CompImageHDU(image.astype(np.int32), name="SCI"))
    np.testing.assert_array_equal(read_image(path, section=SECTION), image[SECTION])
    assert image_shape(path, "SCI") == (30, 40)
    header = read_header(path)
    assert (header["NAXIS1"], header["BITPIX"]) == (40, 32)
    assert "ZBITPIX" not in header


def test_cube_and_degenerate_axes(write, image):
    cube = np.stack([image, image + 1, image + 2])
    path = write("a.fits", fits.PrimaryHDU(cube))
    np.testing.assert_array_equal(read_image(path, section=SECTION), cube[:, *SECTION])
    for name, stored, shape in (
        ("b.fits", image[None, None], (30, 40)),
        ("c.fits.gz", cube[:, None], (3, 30, 40)),
        ("d.fits", image[:1], (1, 40)),
    ):
        path = write(name, fits.PrimaryHDU(stored))
        assert image_shape(path) == shape == read_image(path).shape
        np.testing.assert_array_equal(read_image(path), stored.reshape(shape))
    path = write("e.fits.fz", fits.CompImageHDU(cube[None].astype(np.int16)))
    np.testing.assert_array_equal(read_image(path, section=SECTION), cube[:, *SECTION])


def test_gzipped_cube_section(write, image):
    cube = np.stack([image, image + 1])
    path = write("a.fits.gz", fits.PrimaryHDU(), fits.ImageHDU(cube))
    np.testing.assert_array_equal(read_image(path, section=SECTION), cube[:, *SECTION])


def test_section_like_python(write, image):
    path = write("a.fits", fits.PrimaryHDU(image))
    np.testing.assert_array_equal(read_image(path, section=np.s_[-5:, :-38]), image[-5:, :-38])


@pytest.mark.parametrize(
    ("section", "error", "message"),
    [
        (np.s_[0:31, :], ValueError, r"section asks for rows 0:31, but the image has 30"),
        (np.s_[:, 3:3], ValueError, r"section asks for columns 3:3, but the image has 40"),
        (np.s_[:, -41:3], ValueError, r"columns -41:3"),
        (np.s_[::2, :], ValueError, r"section must have step 1"),
        (np.s_[0:3], TypeError, r"section must be a pair of slices"),
        (((0, 3), (0, 3)), TypeError, r"section must be a pair of slices"),
    ],
)
def test_bad_section(write, image, section, error, message):
    path = write("a.fits", fits.PrimaryHDU(image))
    with pytest.raises(error, match=message):
        read_image(path, section=section)


def test_result_is_new_and_writable(write, image):
    path = write("a.fits", fits.PrimaryHDU(image))
    read = read_image(path)
    read[:] = 0
    np.testing.assert_array_equal(read_image(path), image)


@pytest.mark.skipif(
    sys.platform == "win32", reason="the file is sparse, which truncate() does not do on Windows"
)
def test_section_of_a_mosaic_reads_no_mosaic(tmp_path):
    path = tmp_path / "mosaic.fits"
    side = 20_000
    header = fits.PrimaryHDU(np.zeros((1, 1), np.float32)).header
    header["NAXIS1"], header["NAXIS2"] = side, side
    with path.open("wb") as file:
        file.write(header.tostring().encode())
        file.truncate(file.tell() + 4 * side * side)
    peak = _peak_memory(lambda: read_image(path, section=np.s_[9000:9064, 100:164]))
    assert peak < 1_000_000  # the mosaic has 1.6 GB


def test_section_of_a_compressed_mosaic_unpacks_touched_tiles_only(write):
    mosaic = np.random.default_rng(0).integers(0, 1000, (2000, 2000)).astype(np.int32)
    path = write("a.fits.fz", fits.CompImageHDU(mosaic, tile_shape=(100, 100)))
    section = np.s_[950:1050, 150:250]
    np.testing.assert_array_equal(read_image(path, section=section), mosaic[section])
    peak = _peak_memory(lambda: read_image(path, section=section))
    assert peak < mosaic.nbytes / 8


def test_section_of_a_gzipped_mosaic_keeps_its_rows_only(write):
    mosaic = np.zeros((2000, 2000), np.float32)
    mosaic[500] = 1
    path = write("a.fits.gz", fits.PrimaryHDU(mosaic))
    peak = _peak_memory(lambda: read_image(path, section=np.s_[500:510, :10]))
    assert peak < mosaic.nbytes / 8


def _peak_memory(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_header_without_illegal_cards(write, image):
    path = write("a.fits", fits.PrimaryHDU(image))
    cards = [
        "ESO-LOG 03:04:08>-START EXPO EMMI RED          / Start exp. on EMMI Red CC",
        "FILTER  = 'r'",
        "OBJECT  = 'unclosed",
        "SEEING  = 1.2.3",
        "PLACE   = 'Mauna K\xe9a'",
        "HIERARCH ESO DET CHIP = 3",
        "COMMENT kept",
    ]
    data = bytearray(path.read_bytes())
    end = data.index(b"END" + b" " * 77)
    text = b"".join(card.encode("latin-1").ljust(80) for card in [*cards, "END"])
    data[end : end + len(text)] = text
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path), image)
    header = read_header(path)  # warnings are errors here
    repr(header), header.copy().tostring()
    assert header["FILTER"] == "r"
    assert header["ESO DET CHIP"] == 3
    assert header["COMMENT"][0] == "kept"
    assert not any("ESO-LOG" in card.image for card in header.cards)


def test_header_of_any_hdu(write, image):
    path = write("a.fits", table(), fits.ImageHDU(image, name="SCI"))
    assert read_header(path)["EXTNAME"] == "SCI"
    assert read_header(path, 0)["NAXIS"] == 0
    assert read_header(path, "CAT")["TFIELDS"] == 1


@pytest.mark.parametrize("value", [1.5, np.nan, np.inf])
def test_classes_of_a_panoptic_map_are_whole_numbers(tmp_path, value):
    labels, classes = np.ones((3, 4), np.int32), np.ones((3, 4), np.float32)
    classes[1, 2] = value
    path = tmp_path / "panoptic.fits"
    hdus = [fits.PrimaryHDU(labels), fits.ImageHDU(classes, name="SEMANTIC")]
    fits.HDUList(hdus).writeto(path)
    with pytest.raises(ValueError, match=r"SEMANTIC.* holds numbers that are no classes"):
        read_panoptic_map(path)
    assert read_panoptic_map(path, section=(slice(2), slice(2))).tolist() == [[[1, 1]] * 2] * 2

"""Tile-compressed images equal astropy's; damaged tiles reach no decoder written in C."""

import gzip
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment.io import read_header, read_image

KINDS = ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1", "NOCOMPRESS"]
SHAPE = (50, 70)


def compressed(tmp_path, kind, shape=SHAPE, tile_shape=(20, 33), is_float=False, **options):
    """Write an image of noise and a source; return its path and the place of its table and heap."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(100, 10, shape)
    pixels[..., 5:9, 7:12] += 1000
    dtype = np.float32 if is_float else np.int16 if kind == "PLIO_1" else np.int32
    image = fits.CompImageHDU(
        pixels.astype(dtype), compression_type=kind, tile_shape=tile_shape, **options
    )
    path = tmp_path / "a.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(path, overwrite=True)
    with fits.open(path) as opened:
        table = opened[1]._bintable
        return path, table._data_offset, table._data_offset + table._theap


def change(path, changes):
    """Overwrite bytes of a file."""
    data = bytearray(path.read_bytes())
    for place, new in changes.items():
        data[place : place + len(new)] = new
    path.write_bytes(data)


def set_card(path, keyword, value):
    start = path.read_bytes().index(f"{keyword:8}=".encode())
    change(path, {start: f"{keyword:8}= {value!s:>20}".ljust(80).encode()})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_float", [False, True])
@pytest.mark.parametrize(
    ("shape", "tile_shape"), [(SHAPE, (20, 33)), (SHAPE, (1, 70)), ((3, *SHAPE), (1, 20, 33))]
)
def test_sections_are_those_of_astropy(tmp_path, kind, is_float, shape, tile_shape):
    if is_float and kind in ("PLIO_1", "NOCOMPRESS"):
        kind = "RICE_1"
    if kind == "HCOMPRESS_1" and tile_shape == (1, 70):
        tile_shape = (23, 70)
    options = {"quantize_method": 1, "dither_seed": 7} if is_float else {}
    path, *_ = compressed(tmp_path, kind, shape, tile_shape, is_float, **options)
    with fits.open(path) as opened:
        expected = opened[1].data
    np.testing.assert_array_equal(read_image(path), expected)
    for section in (np.s_[3:4, 60:], np.s_[19:41, 30:34], np.s_[40:, :]):
        np.testing.assert_array_equal(read_image(path, section=section), expected[..., *section])
    packed = tmp_path / "a.fits.fz.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(
        read_image(packed, section=np.s_[19:41, 30:34]),
        read_image(path, section=np.s_[19:41, 30:34]),
    )
    assert read_header(packed)["NAXIS1"] == shape[-1]


def test_tiles_that_could_not_be_quantized_are_read(tmp_path):
    pixels = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    pixels[:20, 0] = 1e12  # so large in units of the noise that 32 bits do not hold it
    path = tmp_path / "a.fits.fz"
    image = fits.CompImageHDU(pixels, compression_type="RICE_1", tile_shape=(10, 70))
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(path)
    with fits.open(path) as opened:
        assert opened[1]._bintable.data["GZIP_COMPRESSED_DATA"][0].size
        np.testing.assert_array_equal(read_image(path), opened[1].data)


@pytest.mark.parametrize("size", [(20, 34), (21, 33), (33, 20), (2**20, 2**20), (-1, 5), (0, 0)])
def test_a_tile_of_hcompress_that_says_another_size(tmp_path, size):
    path, _, heap = compressed(tmp_path, "HCOMPRESS_1")
    change(path, {heap + 2: struct.pack(">ii", *size)})
    with pytest.raises(
        OSError, match=r"a\.fits\.fz cannot be decompressed: a tile of shape \(20, 33\)"
    ):
        read_image(path)
    assert read_image(path, section=np.s_[45:, 40:]).shape == (5, 30)


@pytest.mark.parametrize("place", [0, 1, 22, 23, 24])
def test_a_damaged_head_of_a_tile_of_hcompress(tmp_path, place):
    path, _, heap = compressed(tmp_path, "HCOMPRESS_1")
    change(path, {heap + place: b"\xf0"})
    with pytest.raises(OSError, match="cannot be decompressed: a tile"):
        read_image(path)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.98])
def test_a_tile_of_hcompress_that_ends_early(tmp_path, kept):
    path, table, _ = compressed(tmp_path, "HCOMPRESS_1")
    length = int.from_bytes(path.read_bytes()[table : table + 4], "big")
    change(path, {table: struct.pack(">i", int(kept * length))})
    with pytest.raises(OSError, match="cannot be decompressed"):
        read_image(path)


@pytest.mark.parametrize(
    "head", [(0, 7, 0, 32767, 32767), (0, 7, 32767, 0, 0), (0, -3, 0, 90, 0), (0, 7, 0, 0, 0)]
)
def test_a_tile_of_plio_that_says_another_length(tmp_path, head):
    path, _, heap = compressed(tmp_path, "PLIO_1")
    change(path, {heap: struct.pack(">5h", *head)})
    with pytest.raises(OSError, match="a tile of PLIO has words"):
        read_image(path)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("ZVAL2", 8), ("ZVAL2", 64), ("ZVAL2", -4), ("ZVAL1", 0), ("ZVAL1", 2**31 - 1)],
)
def test_settings_that_rice_does_not_have(tmp_path, keyword, value):
    path, *_ = compressed(tmp_path, "RICE_1")
    set_card(path, keyword, value)
    with pytest.raises(OSError, match=r"RICE cannot have BYTEPIX = -?\d+ and BLOCKSIZE"):
        read_image(path)


@pytest.mark.parametrize("seed", [-(10**9), -3, 0, 10_001])
def test_seeds_of_no_dither_are_refused(tmp_path, seed):
    path, *_ = compressed(tmp_path, "RICE_1", is_float=True, quantize_method=1, dither_seed=7)
    set_card(path, "ZDITHER0", seed)
    with pytest.raises(OSError, match=f"ZDITHER0 = {seed} must be 1 to 10000"):
        read_image(path)


@pytest.mark.parametrize("descriptor", [(10**6, 0), (-5, 0), (100, 10**6), (100, -100)])
def test_tiles_outside_of_the_file_are_refused(tmp_path, descriptor):
    path, table, _ = compressed(tmp_path, "RICE_1")
    change(path, {table: struct.pack(">ii", *descriptor)})
    with pytest.raises(OSError, match="lies outside its data"):
        read_image(path)


def test_a_tile_that_unpacks_without_end_is_refused(tmp_path):
    bomb = gzip.compress(bytes(3 * 10**8))
    pixels = np.random.default_rng(0).integers(0, 2**31, (400, 400)).astype(np.int32)
    path = tmp_path / "a.fits.fz"
    image = fits.CompImageHDU(pixels, compression_type="GZIP_1", tile_shape=(400, 400))
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(path)
    with fits.open(path) as opened:
        table = opened[1]._bintable
        heap = table._data_offset + table._theap
    change(path, {heap: bomb})
    with pytest.raises(OSError, match="a tile of at most 1280000 bytes unpacks to more"):
        read_image(path)


def test_formats_of_columns_that_do_not_fill_a_row(tmp_path):
    path, *_ = compressed(tmp_path, "RICE_1")
    for form in ("'7J'", "'nonsense'", "'2PB(5)'"):
        set_card(path, "TFORM1", form)
        with pytest.raises(OSError, match=r"cannot be decompressed: (its columns|TFORM1)"):
            read_image(path)


def test_threads_decode_hcompress_one_at_a_time(tmp_path):
    path, *_ = compressed(tmp_path, "HCOMPRESS_1", (300, 300), (50, 300))
    expected = read_image(path)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda _: read_image(path), range(16)))
    assert all(np.array_equal(image, expected) for image in images)

"""Tables of tiles: what astropy writes, with columns moved, settings left out and tiles counted."""

import gzip
from dataclasses import replace
from math import ceil, prod

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment.io import _limits, read_image
from galaxysegment.io._compressed import Tiles
from galaxysegment.io._hdus import find_image, tile_lengths

SHAPE = (50, 70)


def write(path, kind="RICE_1", shape=SHAPE, tile_shape=(20, 33), dtype=np.int32):
    pixels = np.random.default_rng(0).normal(100, 10, shape).astype(dtype)
    image = fits.CompImageHDU(pixels, compression_type=kind, tile_shape=tile_shape)
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(path)
    return pixels


def rewrite(path, change):
    """Write the table of tiles anew, with ``change(table)`` in its place."""
    with fits.open(path, disable_image_compression=True) as opened:
        table = change(opened[1])
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)


FORMATS = ["L", "3X", "8X", "9X", "B", "I", "2J", "K", "7A", "E", "D", "C", "M", "5M", "0J"]
FORMATS += ["1PB(7)", "QJ(3)"]


@pytest.mark.parametrize("form", [*FORMATS, None])
def test_places_of_columns_are_those_of_astropy(tmp_path, form):
    path = tmp_path / "a.fits.fz"
    write(path)
    hdu = find_image(path)
    for n_before in range(3 if form else 1):
        forms = [form] * n_before if form else FORMATS
        names = [f"MORE{index}" for index in range(len(forms))]
        forms, names = [*forms, "1QB(9)", "B", "1PJ(9)"], [*names, "COMPRESSED_DATA", "X"]
        names.append("UNCOMPRESSED_DATA")
        columns = [fits.Column(*pair) for pair in zip(names, forms, strict=True)]
        table = fits.BinTableHDU.from_columns(columns)
        header = hdu.header.copy()
        for card in table.header.cards:
            if card.keyword.startswith(("TTYPE", "TFORM", "TFIELDS", "NAXIS1")):
                header[card.keyword] = card.value
        places = {name: table.columns.dtype.fields[name][1] for name in names}
        first, last = "COMPRESSED_DATA", "UNCOMPRESSED_DATA"
        assert Tiles(replace(hdu, header=header)).columns == {
            first: (places[first], ">i8", np.dtype("u1")),
            last: (places[last], ">i4", np.dtype(">i4")),
        }
        header["NAXIS1"] += 1
        with pytest.raises(OSError, match="its columns take"):
            Tiles(replace(hdu, header=header))


def test_tiles_are_rows_unless_the_header_says_otherwise(tmp_path):
    path = tmp_path / "a.fits.fz"
    write(path, tile_shape=(1, 70))

    def change(table):
        for axis in (1, 2):
            del table.header[f"ZTILE{axis}"]
        return table

    rewrite(path, change)
    assert tile_lengths(find_image(path)) == [1, 70]
    with pytest.raises(OSError, match="cannot be decompressed"):  # astropy does not know that
        read_image(path)


def test_settings_of_rice_have_defaults(tmp_path):
    path = tmp_path / "a.fits.fz"
    pixels = write(path)

    def change(table):
        assert (table.header["ZVAL1"], table.header["ZVAL2"]) == (32, 4)
        for card in ("ZNAME1", "ZVAL1", "ZNAME2", "ZVAL2"):
            del table.header[card]
        return table

    rewrite(path, change)
    np.testing.assert_array_equal(read_image(path), pixels)


def test_settings_are_looked_up_by_name(tmp_path):
    path = tmp_path / "a.fits.fz"
    write(path)

    def change(table):
        table.header["ZNAME1"], table.header["ZNAME2"] = "OTHER", "BytePix"
        table.header["ZVAL1"], table.header["ZVAL2"] = 77, 2
        table.header["ZNAME3"], table.header["ZVAL3"] = "BLOCKSIZE", 16
        return table

    rewrite(path, change)
    tiles = Tiles(find_image(path))
    assert tiles._setting("bytepix", 4) == 2 and tiles._setting("blocksize", 32) == 16
    assert tiles._setting("other", 5) == 77 and tiles._setting("scale", 5) == 5


SECTIONS = [np.s_[0:50, 0:70], np.s_[0:1, 0:1], np.s_[19:21, 32:34], np.s_[40:50, 66:70]]


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize(
    ("shape", "tile_shape"),
    [(SHAPE, (20, 33)), (SHAPE, (1, 70)), (SHAPE, (50, 70)), ((3, *SHAPE), (2, 20, 33))],
)
def test_tiles_that_a_section_touches(tmp_path, monkeypatch, section, shape, tile_shape):
    """Against all tiles, one by one; the bytes they unpack to are what a limit counts."""
    path = tmp_path / "a.fits.fz"
    write(path, shape=shape, tile_shape=tile_shape)
    windows = (*(slice(0, side) for side in shape[:-2]), *section)
    expected = {}
    grid = [ceil(side / tile) for side, tile in zip(shape, tile_shape, strict=True)]
    touched = np.zeros(shape, dtype=bool)
    for row, place in enumerate(np.ndindex(*grid)):
        own = np.zeros(shape, dtype=bool)
        own[
            tuple(
                slice(k * tile, (k + 1) * tile) for k, tile in zip(place, tile_shape, strict=True)
            )
        ] = True
        if own[windows].any():
            sides = [np.ptp(axis) + 1 for axis in np.nonzero(own)]
            assert prod(sides) == own.sum()
            expected[row] = tuple(sides)
            touched |= own
    assert Tiles(find_image(path))._touched(windows) == expected
    monkeypatch.setattr(_limits, "_ALWAYS_ALLOWED", 0)
    monkeypatch.setattr(_limits, "_LARGEST_RATIO", 0)
    planes = touched.any(axis=(-1, -2)).sum() if len(shape) > 2 else 1
    n_bytes = 4 * planes * touched.reshape(-1, *SHAPE).any(axis=0).sum()
    with pytest.raises(OSError, match=f"unpacks to {n_bytes} bytes or more"):
        read_image(path, section=section)


def test_a_tile_of_several_members_is_counted_as_a_whole(tmp_path):
    """Members without a byte, too, behind which a bomb could hide."""
    path = tmp_path / "a.fits.fz"
    write(path, "GZIP_1")
    tiles = Tiles(find_image(path))
    parts = [gzip.compress(bytes(size)) for size in (10**5, 3 * 10**5, 0, 6 * 10**5)]
    stream = gzip.compress(b"", mtime=0) * 4000 + b"".join(parts)
    assert tiles._check_gzip(stream, 10**6) is None
    assert tiles._check_gzip(stream[:-4], 10**6) is None
    for damaged in (stream, stream[:-4]):
        with pytest.raises(OSError, match="a tile of at most 999999 bytes unpacks to more"):
            tiles._check_gzip(damaged, 10**6 - 1)
    with pytest.raises(OSError, match="cannot be decompressed"):
        tiles._check_gzip(stream + b"no member", 10**6)

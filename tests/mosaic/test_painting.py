"""Pixels of tiles of any size come to their places, in an array or in a file."""

import os
import shutil
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxysegment.mosaic import _join, _tile_kernels, _tile_numpy, segment_mosaic
from galaxysegment.mosaic._join import NOWHERE, _Brush, _list_nodes, _to_redo, paint
from galaxysegment.mosaic._output import check_space, flush, label_header, reserve, write_line
from galaxysegment.mosaic._plan import Window, cut_tiles
from galaxysegment.mosaic._run import Memory
from galaxysegment.mosaic._store import RecordError


@pytest.mark.parametrize("loops", [_tile_kernels, _tile_numpy], ids=["compiled", "numpy"])
@pytest.mark.parametrize(("side", "dtype"), [(40_000, np.int32), (50_000, np.int64)])
def test_tiles_of_more_than_two_to_the_31_pixels(side, dtype, loops):
    y, x = np.array([0, side - 3, side - 1]), np.array([7, 5, side - 1])
    core = Window(100, 200, 100 + side, 200 + side)
    record = _list_nodes(y + 100, x + 200, np.array([1, 2, 1]), core, (60_000, 60_000), 2, loops)
    assert record["pixels"].dtype == dtype
    np.testing.assert_array_equal(record["pixels"].astype(object), y.astype(object) * side + x)
    rows = np.zeros((4, side), dtype=np.int32)
    table, columns = np.array([0, 11, 12]), (0, side)
    _Brush(record, table, np.int32, columns, (side - 4) * side, loops).paint(rows)
    assert np.argwhere(rows).tolist() == [[1, 5], [3, side - 1]]
    assert rows[rows > 0].tolist() == [12, 11]


@pytest.mark.parametrize("loops", [_tile_kernels, _tile_numpy], ids=["compiled", "numpy"])
@pytest.mark.parametrize(
    ("pixels", "values"), [([3, 1], [1, 1]), ([1, 3], [1, 3]), ([1, 3], [-1, 1]), ([5, 1], [1, 1])]
)
def test_no_pixel_outside_of_a_block_is_painted(pixels, values, loops):
    """Who can compute checksums can forge a record, but not write beside an array."""
    record = {"pixels": np.array(pixels), "values": np.array(values, dtype=np.int32)}
    brush = _Brush(record, np.array([0, 5, 6]), np.dtype(">i4"), (1, 2), 0, loops)
    guard = np.zeros((5, 4), dtype=">i4")
    with pytest.raises(RecordError, match="not those of its tile"):
        for y in range(1, 4):
            brush.paint(guard[y : y + 1])
    assert not guard[0].any() and not guard[4].any() and not guard[:, 0].any()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 30)),
    tile_size=st.integers(3, 25),
    n_rows=st.sampled_from([1, 3, 256]),
    dtype=st.sampled_from(["int32", "int64"]),
    loops=st.sampled_from([_tile_kernels, _tile_numpy]),
)
def test_rows_of_tiles_against_pixel_by_pixel(
    tmp_path_factory, seed, shape, tile_size, n_rows, dtype, loops
):
    """Each tile has nodes and a table of numbers; blends that were done again lie on top."""
    rng = np.random.default_rng(seed)
    folder, expected = Memory(), np.zeros(shape, dtype=dtype)
    lines = cut_tiles(shape, tile_size, 5)
    tables = {}
    for tile in [tile for line in lines for tile in line]:
        nodes = rng.integers(0, 4, tile.core.shape)
        table = np.concatenate([[0], rng.integers(0, 99, 3)])
        expected[tile.core.slices] = table[nodes]
        pixels = np.flatnonzero(nodes)
        folder.save("tile", tile.index, {"pixels": pixels, "values": nodes.ravel()[pixels]})
        tables[tile.index] = table
    blends = []
    for index in range(2):
        pixels = np.sort(
            rng.choice(shape[0] * shape[1], min(5, shape[0] * shape[1]), replace=False)
        )
        values, numbers = rng.integers(1, 4, len(pixels)), rng.integers(1, 99, 3)
        folder.save("blend", index, {"pixels": pixels, "values": values})
        expected.ravel()[pixels] = numbers[values - 1]
        blends.append((index, numbers))
    work = [(line, [tables[tile.index] for tile in line], blends) for line in lines]
    with (
        mock.patch.object(_join, "_PIXELS", n_rows * shape[1]),
        mock.patch.object(_join, "_loops", lambda _: loops),
    ):
        np.testing.assert_array_equal(paint(work, shape, dtype, folder), expected)
        path = tmp_path_factory.mktemp("painting") / "labels"
        stored = np.dtype(dtype).newbyteorder(">")
        reserve(path, b"head", shape, stored)
        assert path.stat().st_size == 4 + -(-expected.nbytes // 2880) * 2880
        for line in work[::-1]:  # rows of tiles finish in any order
            write_line(SimpleNamespace(shape=shape, folder=folder), line, path, 4, stored)
    data = path.read_bytes()
    assert data[:4] == b"head" and not any(data[4 + expected.nbytes :])
    np.testing.assert_array_equal(
        np.frombuffer(data[4:], stored)[: expected.size], expected.ravel()
    )


@pytest.mark.parametrize(("most", "n_redo", "n_large"), [(19, 0, 2), (20, 1, 1), (24, 2, 0)])
def test_blends_up_to_a_size_are_done_again(most, n_redo, n_large):
    """Nodes 0 and 1 are a blend of 4 × 5 pixels, 2 of 6 × 4; 3 is whole, 4 in a ring only."""
    parts = {
        "cut": np.array([True, False, True, False, True]),
        "boxes": np.array([[0, 2, 3, 5], [1, 3, 4, 7], [8, 0, 14, 4], [0, 0, 1, 1], [0, 0, 1, 1]]),
        "first": np.array([40, 20, 90, 3, NOWHERE]),
    }
    blend, source = np.array([0, 0, 1, 2, 3]), np.array([7, 5, 5, 1, 0])
    redo, too_large = _to_redo(blend, source, parts, most)
    assert (len(redo), too_large) == (n_redo, n_large)
    expected = [(Window(0, 2, 4, 7), 20, [5, 7]), (Window(8, 0, 14, 4), 90, [5])]
    assert [(window, first, own.tolist()) for window, first, own in redo] == expected[:n_redo]


@pytest.mark.parametrize(("free", "is_refused"), [(2400, False), (2399, True)])
def test_a_map_that_does_not_fit_is_refused(tmp_path, monkeypatch, free, is_refused):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    if is_refused:
        with pytest.raises(OSError, match=r"The label map takes 0\.0 GB, but the disk"):
            check_space(tmp_path, (20, 30))
    else:
        check_space(tmp_path, (20, 30))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_the_header_is_that_of_a_map(dtype):
    pixels = SimpleNamespace(shape=(20, 30), header=fits.Header({"OBJECT": "M31", "BUNIT": "adu"}))
    text = label_header(pixels, dtype, None)
    header = fits.Header.fromstring(text.decode("ascii"))
    assert len(text) % 2880 == 0 and [*header][:5] == [
        "SIMPLE",
        "BITPIX",
        "NAXIS",
        "NAXIS1",
        "NAXIS2",
    ]
    cards = {"BITPIX": 8 * np.dtype(dtype).itemsize, "NAXIS": 2, "NAXIS1": 30, "NAXIS2": 20}
    cards |= {"EXTNAME": "LABELS", "OBJECT": "M31"}
    assert {card: header[card] for card in cards} == cards
    assert "BUNIT" not in header and "DATE" not in header and "SEGVERS" in header


def test_a_file_of_a_mosaic_is_fits_to_the_byte(tmp_path):
    from galaxysegment import PhotutilsSegmenter

    image = np.random.default_rng(0).normal(size=(70, 90))
    image[10:20, 30:70] += 30
    image[50:60, 5:15] += 30
    segmenter = PhotutilsSegmenter(n_pixels=3)
    options = {"tile_size": 40, "progress": False}
    path = segment_mosaic(segmenter, image, output=tmp_path / "labels.fits", **options)
    with fits.open(path, checksum=True) as opened:
        opened.verify("exception")
        assert len(opened) == 1
        np.testing.assert_array_equal(opened[0].data, segment_mosaic(segmenter, image, **options))
    assert [entry.name for entry in tmp_path.iterdir()] == ["labels.fits"]


def test_the_finished_file_is_flushed_through_a_handle_that_may_write(tmp_path, monkeypatch):
    """Windows flushes no file that is open for reading only."""
    monkeypatch.setattr(os, "fsync", lambda file: os.write(file, b""))
    path = tmp_path / "labels.fits"
    path.write_bytes(b"SIMPLE")
    flush(path)
    assert path.read_bytes() == b"SIMPLE"

"""Sources of pixels: a section of what is read is what is read of a section."""

from functools import partial

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxysegment.io._hdus import find_image
from galaxysegment.io._pixels import read_floats
from galaxysegment.io._sources import (
    ArraySource,
    CubeSource,
    CutSource,
    FitsSource,
    MaskedSource,
    StackSource,
    UnknownNoise,
)

SHAPE = (9, 14)
RNG = np.random.default_rng(0)
PLANES = [RNG.normal(size=SHAPE).astype(dtype) for dtype in (np.float32, np.float32, np.float64)]
MASK = RNG.random(SHAPE) < 0.3
NOISE = np.where(RNG.random(SHAPE) < 0.2, np.nan, 1.0)


def cut(array, section):
    return array[(..., *section)]


def sections(height, width):
    def bounds(length):
        pairs = st.tuples(st.integers(0, length), st.integers(0, length))
        return pairs.filter(lambda pair: pair[0] < pair[1]).map(lambda pair: slice(*pair))

    return st.tuples(bounds(height), bounds(width))


def stack(*dtypes):
    planes = [RNG.normal(size=SHAPE).astype(dtype) for dtype in dtypes]
    source = StackSource([ArraySource(plane) for plane in planes])
    return source, np.stack(planes).astype(np.result_type(*dtypes))


SOURCES = {
    "array": (ArraySource(PLANES[0]), PLANES[0]),
    "cube": (CubeSource(ArraySource(PLANES[0])), PLANES[0][None]),
    "one type": stack("f4", "f4", "f4"),
    "wider later": stack("f4", "f4", "f8"),
    "wider first": stack("f8", "f4"),
    "masked": (
        MaskedSource(ArraySource(PLANES[0]), ArraySource(MASK)),
        np.where(MASK, np.float32(np.nan), PLANES[0]),
    ),
    "not masked": (
        MaskedSource(ArraySource(PLANES[0]), ArraySource(np.zeros(SHAPE, bool))),
        PLANES[0],
    ),
    "noise": (UnknownNoise(ArraySource(NOISE)), np.isnan(NOISE)),
    "cut": (
        CutSource(ArraySource(np.pad(PLANES[0], ((2, 3), (4, 1)))), slice(2, 11), slice(4, 18)),
        PLANES[0],
    ),
    "cut twice": (
        CutSource(
            CutSource(ArraySource(np.pad(PLANES[0], 7)), slice(3, 20), slice(2, 26)),
            slice(4, 13),
            slice(5, 19),
        ),
        PLANES[0],
    ),
}


@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=30)
@given(section=sections(*SHAPE))
def test_a_section_is_a_piece_of_the_whole(name, section):
    source, expected = SOURCES[name]
    assert tuple(source.shape) == expected.shape and not source.reads_whole
    for read, wanted in (
        (source.read(), expected),
        (source.read(section), cut(expected, section)),
    ):
        np.testing.assert_array_equal(read, wanted)
        assert read.dtype == wanted.dtype


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_packed_files_are_read_whole(suffix, tmp_path):
    path = tmp_path / f"image.fits{suffix}"
    fits.writeto(path, PLANES[0])
    file = FitsSource(read_floats, find_image(path))
    plain, is_packed = ArraySource(PLANES[0]), suffix == ".gz"
    assert tuple(file.shape) == SHAPE
    sources = [file, CubeSource(file), StackSource([plain, file]), StackSource([file, plain])]
    sources += [MaskedSource(file, ArraySource(MASK)), MaskedSource(plain, UnknownNoise(file))]
    sources += [UnknownNoise(file), CutSource(file, slice(1, 4), slice(0, 3))]
    assert [source.reads_whole for source in sources] == [is_packed] * len(sources)
    np.testing.assert_array_equal(file.read(), PLANES[0])
    np.testing.assert_array_equal(file.read(np.s_[2:5, 3:4]), PLANES[0][2:5, 3:4])


def test_only_what_is_asked_for_is_read(tmp_path):
    path = tmp_path / "image.fits"
    fits.writeto(path, PLANES[0])
    seen = []

    def reader(hdu, section=None, note=None):
        seen.append((note, section))
        return read_floats(hdu, section)

    bands = [FitsSource(partial(reader, note=note), find_image(path)) for note in "ab"]
    CutSource(StackSource(bands), slice(2, 8), slice(3, 9)).read(np.s_[1:3, 0:2])
    assert seen == [(note, (slice(3, 5), slice(3, 5))) for note in "ab"]


class CountingMask(ArraySource):
    """A mask that counts how often it is read."""

    n_reads = 0

    def read(self, section=None):
        self.n_reads += 1
        return super().read(section)


def test_a_mask_is_read_again_only_near_its_true_pixels():
    image, mask = np.zeros((1, 700, 900)), np.zeros((700, 900), dtype=bool)
    mask[350, 420] = True
    counting = CountingMask(mask)
    source = MaskedSource(ArraySource(image), counting)
    for y0 in range(0, 700, 300):
        source.read(np.s_[y0 : min(y0 + 300, 700), 0:900])
    assert counting.n_reads == 3
    for clear in (np.s_[0:350, 0:900], np.s_[351:700, 3:897], np.s_[100:700, 512:900]):
        assert not np.isnan(source.read(clear)).any()
    assert counting.n_reads == 3
    assert np.isnan(source.read(np.s_[340:360, 410:430])).sum() == 1
    assert counting.n_reads == 4


edges = st.lists(st.integers(0, 600), min_size=2, max_size=2, unique=True).map(sorted)


@given(
    sections=st.lists(st.tuples(edges, edges), min_size=1, max_size=8),
    pixels=st.lists(st.tuples(st.integers(0, 599), st.integers(0, 599)), max_size=3),
    by_band=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_what_is_remembered_of_a_mask_changes_no_pixel(sections, pixels, by_band):
    image, mask = np.zeros((2, 600, 600)), np.zeros((2, 600, 600), dtype=bool)
    for index, (y, x) in enumerate(pixels):
        mask[slice(index % 2, index % 2 + 1) if by_band else slice(None), y, x] = True
    source = MaskedSource(ArraySource(image), ArraySource(mask if by_band else mask[0]))
    for rows, columns in sections:
        section = slice(*rows), slice(*columns)
        np.testing.assert_array_equal(np.isnan(source.read(section)), mask[:, *section])

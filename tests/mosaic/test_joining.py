"""Tiles joined are the whole: for any shape, tile, overlap, source size and number of workers."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from galaxysegment.base import BaseSegmenter
from galaxysegment.detection._deblending import deblend
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.structures import NoSourcesWarning, label_components, remove_small


class LocalSegmenter(BaseSegmenter):
    """Sum over 3×3 pixels against a threshold.

    Exact in whole numbers, so that tiles cannot differ by rounding.
    """

    _requires_fit = False
    reach = 1

    @property
    def splits_blends(self):
        return self.deblend

    def __init__(self, *, n_pixels=5, deblend=False, threshold=4):
        self.n_pixels = n_pixels
        self.deblend = deblend
        self.threshold = threshold

    def _segment_image(self, image):
        total = ndimage.correlate(np.nan_to_num(image[0]), np.ones((3, 3)), mode="constant")
        mask = (total > self.threshold) & ~np.isnan(image[0])
        labels = remove_small(label_components(mask), self.n_pixels)
        return deblend(labels, total, self.n_pixels) if self.deblend else labels


def in_raster_order(labels):
    """Renumber by first pixel, as `segment_mosaic` does."""
    values, first = np.unique(labels, return_index=True)
    order = np.argsort(first[values > 0])
    table = np.zeros(labels.max() + 1, dtype=int)
    table[values[values > 0][order]] = np.arange(1, len(order) + 1)
    return table[labels]


def make_image(shape, smoothness, seed, holes=False):
    """Whole numbers with structures of a few pixels, or of the size of the image.

    Some pixels without data.
    """
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=shape), smoothness, mode="wrap")
    image = np.rint(2 * noise / (noise.std() or 1))
    if holes:
        image[rng.random(shape) < 0.02] = np.nan
    return image


def whole(segmenter, image):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoSourcesWarning)
        return segmenter.predict(image[np.newaxis])[0]


def tiled(segmenter, image, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoSourcesWarning)
        return segment_mosaic(segmenter, image, progress=False, **options)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    tile_size=st.integers(6, 40),
    halo=st.integers(0, 15),
    n_pixels=st.integers(1, 9),
    smoothness=st.sampled_from([0.5, 1.5, 4, 9]),
    threshold=st.sampled_from([1, 4, 9]),
    holes=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_joined_tiles_are_the_whole_image(
    shape, tile_size, halo, n_pixels, smoothness, threshold, holes, seed
):
    image = make_image(shape, smoothness, seed, holes)
    segmenter = LocalSegmenter(n_pixels=n_pixels, threshold=threshold)
    joined = tiled(segmenter, image, tile_size=tile_size, overlap=n_pixels + 1 + halo)
    np.testing.assert_array_equal(joined, whole(segmenter, image))
    assert joined.dtype == np.int32


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(30, 90), st.integers(30, 90)),
    tile_size=st.integers(20, 60),
    overlap=st.integers(8, 20),
    threshold=st.sampled_from([4, 9, 14]),
    seed=st.integers(0, 2**31),
)
def test_blends_are_split_as_in_the_whole_image(shape, tile_size, overlap, threshold, seed):
    image = make_image(shape, 2, seed)
    segmenter = LocalSegmenter(deblend=True, threshold=threshold)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tiled = segment_mosaic(
            segmenter, image, tile_size=tile_size, overlap=overlap, progress=False
        )
    if not any("blend" in str(warning.message) for warning in caught):
        np.testing.assert_array_equal(tiled, in_raster_order(whole(segmenter, image)))


def test_the_blends_of_that_test_do_cross_tiles_and_do_split():
    image = make_image((80, 90), 2, 1)
    segmenter = LocalSegmenter(deblend=True, threshold=9)
    unsplit = tiled(LocalSegmenter(threshold=9), image, tile_size=40, overlap=8)
    labels = tiled(segmenter, image, tile_size=40, overlap=8)
    assert labels.max() > unsplit.max()
    across = np.unique(
        np.concatenate(
            [labels[39][labels[40] == labels[39]], labels[:, 44][labels[:, 45] == labels[:, 44]]]
        )
    )
    assert len(across) > 3
    np.testing.assert_array_equal(labels, in_raster_order(whole(segmenter, image)))


def test_a_source_wider_than_many_tiles_is_one():
    image = np.zeros((120, 120))
    image[5:115, 5:8] = image[5:8, 5:115] = image[112:115, 5:115] = (
        10  # a C that no tile sees much of
    )
    labels = tiled(LocalSegmenter(), image, tile_size=16, overlap=6)
    assert labels.max() == 1
    np.testing.assert_array_equal(labels, whole(LocalSegmenter(), image))


def test_workers_do_not_show(tmp_path):
    image = make_image((150, 170), 3, 5)
    segmenter = LocalSegmenter(deblend=True, threshold=9)
    alone = tiled(segmenter, image, tile_size=50, overlap=10)
    np.testing.assert_array_equal(
        tiled(segmenter, image, tile_size=50, overlap=10, n_jobs=2), alone
    )


def test_blends_larger_than_four_tiles_are_left_with_a_warning():
    image = make_image((120, 120), 6, 0)
    segmenter = LocalSegmenter(deblend=True, threshold=-9)
    with pytest.warns(UserWarning, match="larger tile_size"):
        labels = segment_mosaic(segmenter, image, tile_size=20, overlap=8, progress=False)
    np.testing.assert_array_equal(labels > 0, whole(segmenter, image) > 0)


def test_pixels_without_data_change_nothing_elsewhere():
    image = make_image((90, 90), 2, 3)
    masked = image.copy()
    masked[40:60, :45] = np.nan
    before, after = (
        tiled(LocalSegmenter(), picture, tile_size=30, overlap=8) for picture in (image, masked)
    )
    far = np.ones(image.shape, dtype=bool)
    far[38:62, :47] = False
    touched = np.unique(before[~far])
    unchanged = far & ~np.isin(before, touched[touched > 0])
    np.testing.assert_array_equal(before[unchanged] > 0, after[unchanged] > 0)
    assert not after[40:60, :45].any()


def test_a_source_in_two_pieces_stays_one():
    """A label need not be connected: two tiles that see all of it know it by its first pixel."""

    class Pairs(LocalSegmenter):
        def _segment_image(self, image):
            return (image[0] > 5).astype(np.int32)

    image = np.zeros((20, 40))
    image[10, 14:16] = image[10, 24:26] = 9
    labels = tiled(Pairs(n_pixels=1), image, tile_size=20, overlap=12)
    assert labels.max() == 1
    assert np.count_nonzero(labels) == 4


def test_no_source_is_zeros_and_a_warning():
    with pytest.warns(NoSourcesWarning, match="mosaic"):
        labels = segment_mosaic(LocalSegmenter(), np.zeros((40, 50)), tile_size=20, progress=False)
    assert labels.shape == (40, 50)
    assert not labels.any()


def test_nothing_but_pixels_without_data():
    with pytest.warns(NoSourcesWarning):
        assert not segment_mosaic(
            LocalSegmenter(), np.full((30, 30), np.nan), tile_size=20, progress=False
        ).any()


def test_a_stranger_is_joined_where_most_pixels_agree():
    """A segmenter that says nothing about its reach, and gets the outermost pixels wrong, merges no
    neighbours.
    """

    class Stranger(BaseSegmenter):
        _requires_fit = False

        def _segment_image(self, image):
            labels = label_components(image[0] > 1, connectivity=4)
            if labels.shape[1] < 100:  # a tile, not the whole: sources grow by a pixel to the right
                labels = np.where(labels == 0, np.roll(labels, 1, axis=1), labels)
            return labels

    image = np.zeros((60, 120))
    image[10:50, 20:40] = image[10:50, 41:100] = (
        9  # two neighbours and the seams of tiles within them
    )
    labels = tiled(Stranger(), image, tile_size=30, overlap=20)
    assert len(np.unique(labels[12:48, 20:40])) == len(np.unique(labels[12:48, 41:100])) == 1
    assert labels[30, 30] != labels[30, 60]


@pytest.mark.parametrize(("width", "n_large"), [(18, 0), (19, 1)])
def test_blends_of_more_than_four_tiles_are_too_large(width, n_large):
    """A tile of 5 pixels reads 9 × 9 with its overlap: four of them have 324 pixels, 18 × 18."""
    image = np.zeros((40, 40))
    image[10:28, 10 : 10 + width] = 1
    image[11:27, 11 : 9 + width] = 0
    segmenter = Touching()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        labels = segment_mosaic(segmenter, image, tile_size=5, overlap=2, progress=False)
    said = [str(warning.message) for warning in caught]
    assert len(said) == n_large and all("1 blend(s) cover more than 324 pixels" in s for s in said)
    np.testing.assert_array_equal(labels > 0, image > 0)
    if not n_large:
        np.testing.assert_array_equal(labels, segmenter.predict(image[None])[0])


class Touching(BaseSegmenter):
    """Connected pixels above 0, which have to be seen whole."""

    _requires_fit = False
    reach, n_pixels, splits_blends = 1, 1, True

    def _segment_image(self, image):
        return label_components(image[0] > 0)

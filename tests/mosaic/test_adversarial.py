"""Images that are hard to segment in tiles.

What crosses many seams, touches itself, or fills everything.
"""

import warnings
from functools import cache

import numpy as np
import pytest

from galaxysegment import KMeansSegmenter, PhotutilsSegmenter
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.structures import NoSourcesWarning

SHAPE = (150, 170)
Y, X = np.indices(SHAPE)
CENTRE_Y, CENTRE_X = 74.5, 84.5
RADIUS = np.hypot(Y - CENTRE_Y, X - CENTRE_X)
ANGLE = np.arctan2(Y - CENTRE_Y, X - CENTRE_X)


def _noise(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).normal(size=shape)


def _blobs(n, seed=0, peak=(6, 60), width=(1.2, 3)):
    rng = np.random.default_rng(seed)
    image = np.zeros(SHAPE)
    for _ in range(n):
        y, x, size = rng.uniform(0, SHAPE[0]), rng.uniform(0, SHAPE[1]), rng.uniform(*width)
        image += rng.uniform(*peak) * np.exp(-((Y - y) ** 2 + (X - x) ** 2) / (2 * size**2))
    return image


def _blob(y, x, size, peak=50):
    return peak * np.exp(-((Y - y) ** 2 + (X - x) ** 2) / (2 * size**2))


def _with_gaps(image):
    image = image.copy()
    image[:, 40:43] = image[70:72] = np.nan
    image[100:148, 96:144] = np.nan
    return image


@cache
def make_images():
    """Return a dict of name and image, float32, each on a sky of noise 1 unless its name says
    otherwise.
    """
    spiral = np.abs((RADIUS - 4 * (ANGLE + np.pi)) % (8 * np.pi) - 4 * np.pi) < 4
    rings = (RADIUS % 14) < 5
    comb = (X % 12 < 5) | (Y < 8)
    sky = _noise()
    images = {
        "constant": np.full(SHAPE, 7.0),
        "zero": np.zeros(SHAPE),
        "noise": sky,
        "one row": _noise(1, (1, 400)) + 20 * (np.arange(400) % 50 < 15),
        "one column": _noise(2, (400, 1)) + 20 * (np.arange(400) % 50 < 15)[:, None],
        "narrow": _noise(3, (9, 300)) + 20 * (np.arange(300) % 60 < 20),
        "checkerboard": sky + 20 * ((Y // 10 + X // 10) % 2),
        "checkerboard of pixels": 20.0 * ((Y + X) % 2),
        "spiral": sky + 20 * spiral,
        "ring through many tiles": sky + 20 * (np.abs(RADIUS - 60) < 4),
        "nested rings": sky + 20 * rings,
        "comb": sky + 20 * comb,
        "grid": sky + 20 * ((X % 30 < 4) | (Y % 30 < 4)),
        "trail": sky + 30 * (np.abs(Y - 0.7 * X - 10) < 2.5),
        "two trails that cross": sky
        + 30 * (np.abs(Y - 0.7 * X - 10) < 2.5)
        + 20 * (np.abs(Y + 0.8 * X - 130) < 2.5),
        "bleed": sky + _blob(70, 80, 6, 500) + 500 * (np.abs(X - 80) < 1.5),
        "star with spikes": sky
        + 300 / (1 + np.minimum(np.abs(Y - 75), np.abs(X - 85)) ** 2) * 9 / (9 + RADIUS),
        "halo wider than a tile": sky + 2000 / (1 + (RADIUS / 8) ** 2),
        "galaxy over four corners": sky + _blob(48, 48, 8),
        "pair across a seam": sky + _blob(74, 44, 3) + _blob(74, 53, 3),
        "bridge along a seam": sky
        + _blob(48, 30, 4)
        + _blob(48, 120, 4)
        + 8 * ((Y == 48) & (X > 30) & (X < 120)),
        "crowded": sky + _blobs(150),
        "very crowded": sky + _blobs(450, 1),
        "faint": sky + _blobs(60, 2, peak=(1, 3), width=(2, 4)),
        "no data": _with_gaps(sky + _blobs(120, 3)),
        "gradient and noise that grows": (1 + X / 60) * sky
        + 0.5 * X
        + _blobs(80, 4, peak=(20, 90)),
        "single bright pixels": sky + 1000 * ((Y % 24 == 0) & (X % 24 == 0)),
        "integers": np.rint(sky + _blobs(100, 5)),
    }  # fmt: skip
    return {name: image.astype(np.float32) for name, image in images.items()}


KINDS = list(make_images())


def whole_and_tiled(segmenter, name, *tile_sizes):
    image = make_images()[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoSourcesWarning)
        whole = segmenter.predict(image[None])[0]
        tiled = [
            segment_mosaic(segmenter, image, tile_size=size, progress=False) for size in tile_sizes
        ]
    return [in_raster_order(whole), *tiled]


def in_raster_order(labels):
    """Renumber by first pixel, as `segment_mosaic` does."""
    values, first = np.unique(labels, return_index=True)
    order = np.argsort(first[values > 0])
    table = np.zeros(labels.max() + 1, dtype=int)
    table[values[values > 0][order]] = np.arange(1, len(order) + 1)
    return table[labels]


def n_unmatched(labels, other):
    """Number of sources of `labels` that are not, pixel for pixel, sources of `other`."""
    masks = {np.flatnonzero(other == label).tobytes() for label in range(1, other.max() + 1)}
    return sum(
        np.flatnonzero(labels == label).tobytes() not in masks
        for label in range(1, labels.max() + 1)
    )


def test_there_are_enough_kinds_and_they_do_cross_tiles():
    assert len(KINDS) >= 26
    n_crossing = 0
    for name in KINDS:
        whole, _ = whole_and_tiled(PhotutilsSegmenter(), name, 1000)
        seam = whole[min(48, len(whole) - 1)]
        n_crossing += bool((seam > 0).any())
    assert n_crossing > 15


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("deblend", [False, True])
def test_photutils_in_tiles_is_photutils(name, deblend):
    whole, tiled = whole_and_tiled(PhotutilsSegmenter(deblend=deblend), name, 48)
    np.testing.assert_array_equal(tiled, whole)


def assert_same_but_a_pixel(tiled, whole):
    """Stated tolerance: a pixel at the threshold, because the mesh is rounded otherwise."""
    assert tiled.max() == whole.max()
    assert np.count_nonzero(tiled != whole) <= 1


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("clean", [False, True])
def test_sep_in_tiles_is_sep(name, clean):
    pytest.importorskip("sep")
    from galaxysegment import SEPSegmenter

    whole, tiled, coarser = whole_and_tiled(SEPSegmenter(deblend=False, clean=clean), name, 48, 70)
    np.testing.assert_array_equal(coarser, tiled)
    assert_same_but_a_pixel(tiled, whole)


@pytest.mark.parametrize("name", KINDS)
def test_blends_of_sep_do_not_merge_at_seams(name):
    """The same sources; sep gives faint pixels between them to either by a random number."""
    pytest.importorskip("sep")
    from galaxysegment import SEPSegmenter

    whole, tiled, coarser = whole_and_tiled(SEPSegmenter(), name, 48, 70)
    np.testing.assert_array_equal(coarser, tiled)
    assert tiled.max() == whole.max()
    assert_same_but_a_pixel(tiled > 0, whole > 0)
    pairs = np.stack([whole, tiled])[:, whole > 0]
    same, n_same = np.unique(pairs, axis=1, return_counts=True)
    largest = np.zeros(whole.max() + 1, dtype=int)
    np.maximum.at(largest, same[0], n_same)
    share = largest[1:] / np.maximum(np.bincount(whole.ravel())[1:], 1)
    assert (share > 0.5).all()


@pytest.mark.parametrize("name", KINDS)
def test_k_means_in_tiles_is_k_means(name):
    crowd = make_images()["crowded"][None]
    deblend = KINDS.index(name) % 2 == 0
    segmenter = KMeansSegmenter(random_state=0, deblend=deblend, n_pixels=3).fit(crowd)
    whole, tiled = whole_and_tiled(segmenter, name, 48)
    np.testing.assert_array_equal(tiled, whole)


@pytest.fixture(scope="module")
def small_net():
    pytest.importorskip("torch")
    from galaxysegment import UNetSegmenter
    from galaxysegment.testing import make_images as make_training_images

    X, y = make_training_images(n_images=4, shape=(64, 64))
    unet = UNetSegmenter(
        base_width=4, depth=1, max_epochs=4, n_views=1, scaling="noise", n_pixels=5, random_state=0
    )
    return unet.fit(X - 5, y)


@pytest.mark.parametrize("name", KINDS)
def test_a_net_in_tiles_is_the_net(name, small_net):
    """Stated tolerance: a pixel at the threshold, because another batch rounds otherwise."""
    assert small_net.deblend
    whole, tiled = whole_and_tiled(small_net, name, 48)
    assert np.count_nonzero((tiled > 0) != (whole > 0)) <= 1 + 1e-4 * np.count_nonzero(whole)
    assert n_unmatched(whole, tiled) <= 2


@pytest.mark.parametrize(("tile_size", "clean"), [(100, False), (100, True), (333, True)])
def test_a_crowd_has_as_many_sources_in_tiles(tile_size, clean):
    pytest.importorskip("sep")
    from galaxysegment import SEPSegmenter

    rng = np.random.default_rng(0)
    image = rng.normal(size=(400, 512))
    for _ in range(600):
        y, x, size, peak = rng.uniform((0, 0, 1.2, 4), (400, 512, 3, 80))
        top, left = max(0, int(y) - 15), max(0, int(x) - 15)
        rows, columns = np.ogrid[top : min(400, int(y) + 16), left : min(512, int(x) + 16)]
        blob = peak * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * size**2))
        image[top : top + blob.shape[0], left : left + blob.shape[1]] += blob
    segmenter = SEPSegmenter(deblend=True, clean=clean)
    whole = segmenter.predict(image[None])[0]
    tiled = segment_mosaic(segmenter, image, tile_size=tile_size, progress=False)
    assert whole.max() > 400
    assert abs(int(tiled.max()) - int(whole.max())) <= clean  # one in 460 is cleaned otherwise

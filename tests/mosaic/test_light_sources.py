"""Which sources a window of a mosaic sees, against the masks and positions of the whole mosaic."""

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment import Instances
from galaxysegment.io._hdus import find_labels, scan
from galaxysegment.mosaic._light_sources import InstanceSources, LabelSources, PlaceSources
from galaxysegment.mosaic._plan import Window
from galaxysegment.separation._divide import Exposure
from galaxysegment.separation._positions import MOST_RADIUS, masks_at

SHAPE = (47, 61)
RNG = np.random.default_rng(3)
LABELS = np.where(RNG.random(SHAPE) < 0.02, RNG.integers(1, 900, SHAPE), 0)
LABELS[10:19, 20:33], LABELS[0, 0], LABELS[-1, -1] = 1000, 1001, 1002
WINDOWS = [Window(0, 0, 47, 61), Window(10, 20, 19, 33), Window(11, 0, 12, 61)]
WINDOWS += [Window(18, 32, 30, 40), Window(19, 33, 20, 34), Window(0, 60, 47, 61)]


def some_masks(n=40):
    """Masks with holes, also of single pixels, that overlap and reach the edges."""
    rng, masks = np.random.default_rng(5), []
    while len(masks) < n:
        y0, x0 = rng.integers(0, SHAPE)
        mask = np.zeros(SHAPE, dtype=bool)
        mask[y0 : y0 + rng.integers(1, 14), x0 : x0 + rng.integers(1, 14)] = True
        mask &= rng.random(SHAPE) < 0.7
        masks += [mask] if mask.any() else []
    return masks


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("classes", [None, np.arange(40) % 3])
def test_instances_are_cut_as_their_masks_are(window, classes):
    masks, scores = some_masks(), np.linspace(0, 1, 40)
    sources = InstanceSources(Instances.from_masks(masks, scores, classes))
    ids, cut, places = sources.inside(window)
    seen = [index for index, mask in enumerate(masks) if mask[window.slices].any()]
    assert ids.tolist() == seen and ids.dtype == np.int64 and places is None
    parts = [masks[index][window.slices] for index in seen]
    np.testing.assert_array_equal(cut.masks, np.reshape(parts, (-1, *window.shape)))
    np.testing.assert_array_equal(cut.scores, scores[seen])
    assert (cut.classes is None) == (classes is None)
    if classes is not None:
        np.testing.assert_array_equal(cut.classes, classes[seen])


def all_label_sources(tmp_path):
    path = tmp_path / "labels.fits"
    fits.HDUList(
        [fits.PrimaryHDU(), fits.ImageHDU(LABELS.astype(np.int32), name="LABELS")]
    ).writeto(path)
    in_file = LabelSources(find_labels(path, None, scan(path)))
    (tmp_path / "work").mkdir()
    assert in_file.for_workers(tmp_path / "work") is in_file
    assert not list((tmp_path / "work").iterdir())  # workers open the file themselves
    in_memory = LabelSources(LABELS)
    return [in_file, in_memory, in_memory.for_workers(tmp_path / "work")]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_label_maps_are_the_same_in_memory_in_files_and_for_workers(tmp_path, window):
    part = LABELS[window.slices]
    for sources in all_label_sources(tmp_path):
        assert sources.shape == SHAPE and sources.has_masks and sources.context == 0
        ids, instances, places = sources.inside(window)
        assert ids.tolist() == np.unique(part[part > 0]).tolist()
        assert ids.dtype == np.int64 and places is None
        masks = np.reshape([part == label for label in ids], (-1, *part.shape))
        np.testing.assert_array_equal(instances.masks, masks)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_a_tile_looks_one_pixel_around_itself(tmp_path, window):
    """Sources that touch across a seam share a pixel or are neighbours there."""
    y0, x0 = max(window.y0 - 1, 0), max(window.x0 - 1, 0)
    around = Window(y0, x0, min(window.y1 + 1, SHAPE[0]), min(window.x1 + 1, SHAPE[1]))
    masks = InstanceSources(Instances.from_masks(some_masks()))
    for sources in [*all_label_sources(tmp_path), masks]:
        ids, instances, seen = sources.around(window, None)
        assert seen == around
        expected_ids, expected, _ = sources.inside(around)
        assert ids.tolist() == expected_ids.tolist() and instances == expected


def test_labels_that_are_no_label_map_are_refused_where_they_are_read(tmp_path):
    for values, words in ((-LABELS, "background"), (LABELS + 0.5, "whole")):
        sources = LabelSources(values)
        with pytest.raises((ValueError, TypeError), match=words):
            sources.inside(WINDOWS[0])
        with pytest.raises((ValueError, TypeError), match=words):
            sources.for_workers(tmp_path).inside(WINDOWS[0])


@pytest.mark.parametrize("make", ["labels", "instances", "places"])
def test_the_identity_changes_with_any_source(make):
    places = np.array([[3.0, 4.0], [8.0, 9.0]])
    if make == "labels":
        changed = LABELS.copy()
        changed[5, 5] += 1
        first, same, other = (LabelSources(values) for values in (LABELS, LABELS.copy(), changed))
    elif make == "instances":
        masks = some_masks()
        first, same, other = (
            InstanceSources(Instances.from_masks(masks[:n])) for n in (30, 30, 31)
        )
    else:
        moved = places + 1e-9
        first, same, other = (
            PlaceSources(values, SHAPE) for values in (places, places.copy(), moved)
        )
    assert first.identity() == same.identity() != other.identity()


# ---- positions ----

BIG = (260, 300)
GRID = np.mgrid[0:260:13, 0:300:15].reshape(2, -1).T.astype(float)
#: Also places on the edges of pixels and of the mosaic.
PLACES = np.concatenate([GRID, GRID[::7] + 0.5, [[-0.49, -0.49], [259.49, 299.49]]])


def a_sky(window=None):
    rng = np.random.default_rng(0)
    light = np.zeros(BIG)
    for y, x in GRID.astype(int):
        light[y, x] = rng.uniform(0, 300)
    exposure = Exposure.of(light[None], np.ones((1, *BIG)))
    if window is None:
        return exposure
    return Exposure.of(light[None][:, *window.slices], np.ones((1, *window.shape)))


@pytest.mark.parametrize(
    "window", [Window(0, 0, 260, 300), Window(13, 15, 26, 45), Window(100, 103, 250, 300)], ids=str
)
def test_positions_belong_to_the_window_of_their_pixel(window):
    sources = PlaceSources(PLACES, BIG)
    assert not sources.has_masks and sources.for_workers(None) is sources
    exposure = a_sky(window)
    ids, masks, places = sources.inside(window, exposure)
    expected = [
        index
        for index, (y, x) in enumerate(PLACES)
        if window.y0 <= np.floor(y + 0.5) < window.y1 and window.x0 <= np.floor(x + 0.5) < window.x1
    ]
    assert ids.tolist() == expected and len(expected) > 0
    np.testing.assert_array_equal(places, PLACES[expected] - [window.y0, window.x0])
    assert masks == masks_at(places, exposure.smooth, exposure.detection_noise)


@pytest.mark.parametrize(
    "core", [Window(0, 0, 40, 50), Window(90, 120, 130, 160), Window(220, 0, 260, 70)], ids=str
)
def test_positions_whose_masks_may_touch_those_of_a_tile_have_the_masks_of_the_mosaic(core):
    """A mask reaches 32 pixels: sources whose positions are 66 pixels from a tile may touch."""
    whole = a_sky()
    all_masks = masks_at(PLACES, whole.smooth, whole.detection_noise)
    sources, asked = PlaceSources(PLACES, BIG), []

    def read(window):
        asked.append(window)
        return a_sky(window)

    ids, masks, window = sources.around(core, read)
    assert asked == [window]
    near = core.grow(2 * (MOST_RADIUS + 1), BIG)
    assert window == near.grow(MOST_RADIUS + 6, BIG)
    pixels = np.floor(PLACES + 0.5)
    expected = np.flatnonzero(
        ((pixels >= [near.y0, near.x0]) & (pixels < [near.y1, near.x1])).all(axis=1)
    )
    assert ids.tolist() == expected.tolist() and len(ids) < len(PLACES)
    corner = np.array([window.y0, window.x0] * 2)
    np.testing.assert_array_equal(masks.boxes + corner, all_masks.boxes[ids])
    for crop, index in zip(masks.crops, ids, strict=True):
        np.testing.assert_array_equal(crop, all_masks.crops[index])

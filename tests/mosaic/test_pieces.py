"""Tiles, margins, seams and joins, each against a slow reference."""

import re
from collections import Counter
from itertools import product
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from galaxysegment import Instances
from galaxysegment.base import BaseSegmenter
from galaxysegment.mosaic import _join, _tile_kernels, _tile_numpy, segment_mosaic
from galaxysegment.mosaic._instances import describe_instances, join_instances
from galaxysegment.mosaic._join import _mostly_same, describe_tile
from galaxysegment.mosaic._plan import Plan, Tile, Window, choose_overlap, cut_tiles
from galaxysegment.structures import NoSourcesWarning, _labels, label_components
from galaxysegment.structures._labels import touching_groups


class Components(BaseSegmenter):
    """Connected pixels above 0, each decided by itself: single pixels and diagonals are sources."""

    _requires_fit = False
    reach = 0
    splits_blends = False

    def __init__(self, *, connectivity=8):
        self.connectivity = connectivity

    def _segment_image(self, image):
        return label_components(image[0] > 0, connectivity=self.connectivity)


# --- tiles and overlaps -------------------------------------------------------------------------


@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    tile_size=st.integers(1, 50),
    overlap=st.integers(1, 30),
    phase=st.sampled_from([1, 2, 8, 16]),
)
def test_write_regions_tile_the_mosaic_and_read_regions_begin_at_the_phase(
    shape, tile_size, overlap, phase
):
    tiles = [tile for line in cut_tiles(shape, tile_size, overlap, phase) for tile in line]
    assert [tile.index for tile in tiles] == list(range(len(tiles)))
    owners = np.zeros(shape, dtype=int)
    for tile in tiles:
        owners[tile.core.slices] += 1
        core, read = tile.core, tile.read
        for side, edge in ((0, "y"), (1, "x")):
            low, high = getattr(core, f"{edge}0"), getattr(core, f"{edge}1")
            start, stop = getattr(read, f"{edge}0"), getattr(read, f"{edge}1")
            assert high - low <= tile_size
            assert stop == min(shape[side], high + overlap)
            assert start % phase == 0 and start <= max(0, low - overlap) < start + phase
    assert (owners == 1).all()
    for axis in (0, 1):
        sides = {tile.core.shape[axis] for tile in tiles}
        assert max(sides) - min(sides) <= 1


def stub_plan(reach, n_pixels):
    return SimpleNamespace(reach=lambda: reach, n_pixels=n_pixels, segmenter=Components())


@pytest.mark.parametrize("n_pixels", [1, 10, 64, 100])
@pytest.mark.parametrize("reach", [None, 0, 1, 30, 200])
def test_the_overlap_by_default(reach, n_pixels):
    """The margin is the reach, or half of the overlap; a source of `n_pixels` fits beside it."""
    overlap, margin = choose_overlap(stub_plan(reach, n_pixels), None)
    assert overlap == (max(128, 2 * n_pixels) if reach is None else margin + max(n_pixels, 64))
    assert margin == (overlap // 2 if reach is None else max(reach, 1))
    assert choose_overlap(stub_plan(reach, n_pixels), overlap) == (overlap, margin)


@pytest.mark.parametrize("n_pixels", [2, 11])
@pytest.mark.parametrize("reach", [None, 0, 1, 30])
def test_the_smallest_overlap_is_the_one_that_the_error_names(reach, n_pixels):
    plan = stub_plan(reach, n_pixels)
    with pytest.raises(ValueError, match="use overlap >= ") as caught:
        choose_overlap(plan, 1)
    needed = int(re.search(r"overlap >= (\d+)", str(caught.value))[1])
    margin = n_pixels if reach is None else max(reach, 1)
    assert choose_overlap(plan, needed) == (margin + n_pixels, margin)
    with pytest.raises(ValueError, match="use overlap >= "):
        choose_overlap(plan, needed - (1 if reach is not None else 2))


def test_reaches_of_all_steps_add_up():
    from sklearn.pipeline import make_pipeline

    from galaxysegment import PhotutilsSegmenter
    from galaxysegment.preprocessing import GaussianSmoother, ImageNormalizer

    smoother, segmenter = GaussianSmoother(fwhm=5), PhotutilsSegmenter()
    plan = Plan(make_pipeline(ImageNormalizer(), smoother, segmenter))
    assert segmenter.bridge == 32  # whose gaps are bridged before
    assert plan.reach() == smoother.reach + 33 + segmenter.reach > 33 + segmenter.reach > 33


# --- what a tile tells --------------------------------------------------------------------------

SHAPE, CORE, MARGIN = (60, 70), Window(20, 20, 40, 50), 3
SIDES = [("up", 0, -1), ("down", 0, 1), ("left", 1, -1), ("right", 1, 1)]


def bar_towards(axis, sign, read, distance):
    """Mask on the mosaic: a bar from the core to `distance` pixels from an edge of `read`."""
    mask = np.zeros(SHAPE, dtype=bool)
    if axis == 0:
        mask[
            slice(read.y0 + distance, 26) if sign < 0 else slice(34, read.y1 - distance), 30:32
        ] = 1
    else:
        mask[
            28:30, slice(read.x0 + distance, 26) if sign < 0 else slice(44, read.x1 - distance)
        ] = 1
    return mask


@pytest.mark.parametrize("as_instances", [False, True])
@pytest.mark.parametrize("distance", [0, MARGIN - 1, MARGIN, MARGIN + 1, MARGIN + 2])
@pytest.mark.parametrize(("axis", "sign"), [side[1:] for side in SIDES], ids=[s[0] for s in SIDES])
def test_a_source_is_cut_if_it_reaches_into_the_margin(axis, sign, distance, as_instances):
    """At most `margin` pixels from an edge that goes on; not at the edge of the mosaic."""
    read = CORE.grow(10, SHAPE)
    mask = bar_towards(axis, sign, read, distance)
    part = mask[read.slices]
    for at_the_end in (False, True):
        shape = SHAPE
        if at_the_end:  # the mosaic ends there: nothing is cut
            if sign > 0:
                shape = (read.y1, SHAPE[1]) if axis == 0 else (SHAPE[0], read.x1)
            else:
                continue
        if as_instances:
            sources = Instances.from_masks([part])
            record = describe_instances(sources, Tile(0, CORE, read), shape, MARGIN)
        else:
            record = describe_tile(part.astype(np.int32), CORE, read, shape, MARGIN, splits=False)
            y, x = np.argwhere(mask)[0]
            assert record["key"].tolist() == [-1 if record["cut"][0] else y * shape[1] + x]
        assert record["cut"].tolist() == [distance <= MARGIN and not at_the_end]


@pytest.mark.parametrize("as_instances", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_first_row_and_column_of_the_mosaic_cut_nothing(axis, as_instances):
    core = Window(0, 0, 30, 30)
    read = core.grow(10, SHAPE)
    mask = np.zeros(read.shape, dtype=bool)
    mask[(slice(0, 5), slice(8, 12)) if axis == 0 else (slice(8, 12), slice(0, 5))] = True
    if as_instances:
        tile = Tile(0, core, read)
        record = describe_instances(Instances.from_masks([mask]), tile, SHAPE, MARGIN)
    else:
        record = describe_tile(mask.astype(np.int32), core, read, SHAPE, MARGIN, splits=False)
    assert record["cut"].tolist() == [False]


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    tile_size=st.integers(3, 25),
    density=st.sampled_from([0.0, 0.2, 0.5, 0.9]),
    splits=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_compiled_functions_describe_a_tile_as_numpy_does(shape, tile_size, density, splits, seed):
    rng = np.random.default_rng(seed)
    labels = label_components(rng.random(shape) < density)
    labels[labels > 0] += rng.integers(0, 2, np.count_nonzero(labels), dtype=np.int32)
    for tile in [tile for line in cut_tiles(shape, tile_size, 4) for tile in line]:
        part, records = labels[tile.read.slices], []
        for loops in (_tile_kernels, _tile_numpy):
            with mock.patch.object(_join, "_loops", lambda _, loops=loops: loops):
                records.append(describe_tile(part, tile.core, tile.read, shape, 2, splits=splits))
        assert records[0].keys() == records[1].keys()
        for name, array in records[0].items():
            assert array.dtype == records[1][name].dtype
            np.testing.assert_array_equal(array, records[1][name])


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    density=st.sampled_from([0.2, 0.5, 0.9]),
    seed=st.integers(0, 2**31),
)
def test_labels_that_touch_are_grouped_over_edges_and_corners(shape, density, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(1, 12, shape) * (rng.random(shape) < density)
    pixels = np.flatnonzero(labels)
    n_labels = int(labels.max())
    groups = []
    for pays in (True, False):
        with mock.patch.object(_labels, "compiling_pays", lambda _, pays=pays: pays):
            groups.append(touching_groups(labels, pixels, n_labels))
    group, by_numpy = groups
    np.testing.assert_array_equal(group, by_numpy)
    expected = {label: {label} for label in range(n_labels + 1)}
    for y, x in np.argwhere(labels):
        for dy, dx in product((-1, 0, 1), repeat=2):
            if 0 <= y + dy < shape[0] and 0 <= x + dx < shape[1] and labels[y + dy, x + dx]:
                together = expected[labels[y, x]] | expected[labels[y + dy, x + dx]]
                expected |= dict.fromkeys(together, together)
    for a, b in product(range(1, n_labels + 1), repeat=2):
        assert (group[a] == group[b]) == (b in expected[a])


# --- joins --------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    tile_size=st.integers(6, 20),
    overlap=st.integers(2, 12),
    density=st.sampled_from([0.1, 0.3, 0.4, 0.6]),
    connectivity=st.sampled_from([4, 8]),
    seed=st.integers(0, 2**31),
)
@pytest.mark.filterwarnings("ignore::galaxysegment.exceptions.NoSourcesWarning")
def test_single_pixels_and_diagonals_cross_tiles(
    shape, tile_size, overlap, density, connectivity, seed
):
    """At a density of 0.4 pixels that touch at corners percolate, at 0.6 those that share edges."""
    image = (np.random.default_rng(seed).random(shape) < density).astype(float)
    segmenter = Components(connectivity=connectivity)
    labels = segment_mosaic(segmenter, image, tile_size=tile_size, overlap=overlap, progress=False)
    np.testing.assert_array_equal(labels, label_components(image > 0, connectivity=connectivity))


@pytest.mark.parametrize("mirror", [False, True])
def test_a_diagonal_through_the_corner_of_four_tiles_is_one_source(mirror):
    image = np.eye(40)[:, ::-1] if mirror else np.eye(40)
    labels = segment_mosaic(Components(), image, tile_size=10, overlap=3, progress=False)
    np.testing.assert_array_equal(labels, image)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(4, 7)), min_size=1, max_size=30))
def test_neighbours_are_joined_at_half_of_the_smaller_seam(shared):
    """Nodes 0–3 are of tiles 0 and 1, nodes 4–7 of tiles 2 and 3; each pair is a common pixel."""
    tile = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    counts, own_size, other_size = Counter(shared), Counter(), Counter()
    for (own, other), n_pixels in counts.items():
        own_size[own, tile[other]] += n_pixels
        other_size[other, tile[own]] += n_pixels
    expected = {
        (own, other)
        for (own, other), n_pixels in counts.items()
        if n_pixels >= min(own_size[own, tile[other]], other_size[other, tile[own]]) / 2
    }
    joined = _mostly_same(np.array(shared).T, tile)
    assert sorted(map(tuple, joined.T.tolist())) == sorted(expected)


# --- instances ----------------------------------------------------------------------------------

WIDE = (20, 60)  # two tiles: columns 0–29 and 30–59; both read columns 15–44


def two_records(left, right, margin=2, scores=(0.4, 0.9), classes=(1, 2)):
    """Join the masks that two tiles saw, given on the whole mosaic; None if a tile saw nothing."""
    (tiles,) = cut_tiles(WIDE, 30, 15)
    records = []
    for tile, mask, score, category in zip(tiles, (left, right), scores, classes, strict=True):
        masks = [] if mask is None else [mask[tile.read.slices]]
        sources = Instances.from_masks(
            masks, [score] * len(masks), [category] * len(masks), shape=tile.read.shape
        )
        records.append(describe_instances(sources, tile, WIDE, margin))
    return join_instances(records, tiles, WIDE)


def box_mask(x0, x1, y0=5, y1=10):
    mask = np.zeros(WIDE, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize(("left_score", "right_score"), [(0.4, 0.9), (0.9, 0.4), (0.5, 0.5)])
def test_an_object_has_the_score_and_class_of_the_tile_that_is_surest(left_score, right_score):
    left, right = box_mask(25, 34), box_mask(25, 35)
    joined = two_records(left, right, scores=(left_score, right_score))
    assert len(joined) == 1
    surest = 0 if left_score >= right_score else 1  # of equal scores, the first tile's
    assert joined.scores.tolist() == [(left_score, right_score)[surest]]
    assert joined.classes.tolist() == [surest + 1]


@pytest.mark.parametrize(("x0", "nearer"), [(22, 0), (27, 1)])
def test_an_object_has_the_mask_of_the_tile_whose_middle_is_nearest(x0, nearer):
    masks = box_mask(x0, x0 + 9), box_mask(x0, x0 + 9, y1=11)
    joined = two_records(*masks)
    np.testing.assert_array_equal(joined.masks[0], masks[nearer])


def test_a_mask_that_is_cut_gives_way_to_a_whole_one():
    """The left tile reads up to column 44: it saw the object cut, though the middle is its own."""
    whole = box_mask(17, 48)
    joined = two_records(whole & (np.arange(60) < 45), whole & (np.arange(60) >= 15))
    np.testing.assert_array_equal(joined.masks[0], whole)
    # and the other way round
    whole = box_mask(12, 43)
    joined = two_records(whole, whole & (np.arange(60) >= 15))
    np.testing.assert_array_equal(joined.masks[0], whole)


def test_masks_that_are_all_cut_are_put_together_from_what_each_tile_owns():
    """Each tile is right about its own columns, and wrong by a row about the other's."""
    whole = box_mask(5, 55)
    wrong = np.roll(whole, 1, axis=0)
    left = np.where(np.arange(60) < 30, whole, wrong) & (np.arange(60) < 45)
    right = np.where(np.arange(60) < 30, wrong, whole) & (np.arange(60) >= 15)
    joined = two_records(left, right)
    assert len(joined) == 1
    np.testing.assert_array_equal(joined.masks[0], whole)


@pytest.mark.parametrize("width", range(4, 10))
def test_masks_are_one_object_from_an_iou_of_a_half(width):
    """The right tile sees `width` of the ten columns that the left one sees."""
    joined = two_records(box_mask(25, 35), box_mask(35 - width, 35))
    assert len(joined) == (1 if width >= 5 else 2)


def test_the_iou_counts_pixels_that_both_tiles_read_only():
    """What the left tile sees beyond the reach of the right one is no disagreement."""
    joined = two_records(box_mask(2, 33), box_mask(15, 33))
    assert len(joined) == 1
    np.testing.assert_array_equal(joined.masks[0], box_mask(2, 33))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), size=st.integers(3, 12))
def test_every_object_counts_once_wherever_tiles_meet(seed, size):
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(rng.integers(1, 5)):
        mask = np.zeros((40, 40), dtype=bool)
        y, x = rng.integers(0, 40 - size, 2)
        mask[y : y + size, x : x + size] = rng.random((size, size)) < 0.7
        masks += [mask] if mask.any() else []
    # a net tells such apart; here objects that overlap by more than a tile's doubt are left out
    apart = []
    for mask in masks:
        if not any((ndimage.binary_dilation(mask, iterations=2) & other).any() for other in apart):
            apart.append(mask)
    scores = rng.permutation(len(apart)) / 10
    tiles = [tile for line in cut_tiles((40, 40), 14, 13) for tile in line]
    records = []
    for tile in tiles:
        seen = [(mask[tile.read.slices], score) for mask, score in zip(apart, scores, strict=True)]
        seen = [pair for pair in seen if pair[0].any()]
        sources = Instances.from_masks(
            [mask for mask, _ in seen], [score for _, score in seen], shape=tile.read.shape
        )
        records.append(describe_instances(sources, tile, (40, 40), 1))
    joined = join_instances(records, tiles, (40, 40))
    assert joined.classes is None
    expected = sorted(
        (np.flatnonzero(mask)[0], score) for mask, score in zip(apart, scores, strict=True)
    )
    pieces = [
        (np.flatnonzero(mask)[0], score)
        for mask, score in zip(joined.masks, joined.scores, strict=True)
    ]
    assert pieces == expected
    for mask in joined.masks:
        assert any(np.array_equal(mask, component) for component in apart)


def test_no_instance_at_all_is_an_empty_list():
    joined = two_records(None, None)
    assert len(joined) == 0 and joined.shape == WIDE


def test_a_warning_tells_that_nothing_was_seen():
    with pytest.warns(NoSourcesWarning):
        segment_mosaic(Components(), np.zeros((9, 9)), tile_size=5, overlap=3, progress=False)

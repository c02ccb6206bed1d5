"""Which sources of a mosaic are divided together, and in which windows: against the whole image."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from galaxysegment import Instances
from galaxysegment.io._windows import ArrayPixels
from galaxysegment.mosaic._light_run import (
    LightRun,
    Survey,
    _no_record,
    _pieces_of_tiles,
    plan_pieces,
)
from galaxysegment.mosaic._light_sources import InstanceSources, LabelSources, PlaceSources
from galaxysegment.mosaic._light_work import LightJob, _is_own, survey_tile
from galaxysegment.mosaic._plan import Window, cut_tiles
from galaxysegment.mosaic._run import Memory
from galaxysegment.separation import TemplateSeparator


def tiles_of(shape, tile_size):
    return [tile for line in cut_tiles(shape, tile_size, 1) for tile in line]


def survey_of(sources, tile_size):
    """Survey tile by tile."""
    pixels = ArrayPixels(np.zeros((1, *sources.shape)), np.ones(sources.shape))
    unknown = dict.fromkeys(("separator", "sky", "levels"))
    job = LightJob(lambda: pixels, Memory(), sources=sources, **unknown)
    tiles = tiles_of(sources.shape, tile_size)
    for tile in tiles:
        survey_tile(job, tile)
    names = ("ids", "boxes", "first", "pairs")
    records = [job.folder.load("survey-tile", tile.index, names) for tile in tiles]
    return Survey.of(iter(records), sources.shape), tiles


def check_survey(survey, masks, ids, *, is_tight=True):
    """Compare with what all masks of the mosaic say: touching is sharing a pixel or a corner."""
    assert survey.ids.tolist() == list(ids)
    grown = [ndimage.binary_dilation(mask, np.ones((3, 3))) for mask in masks]
    groups = np.arange(len(masks))
    for first in range(len(masks)):
        for second in range(first):
            if (grown[first] & masks[second]).any():
                groups[groups == groups[first]] = groups[second]
    same = survey.groups[:, None] == survey.groups[None]
    np.testing.assert_array_equal(same, groups[:, None] == groups[None])
    firsts = np.array([np.flatnonzero(mask)[0] for mask in masks], dtype=int)
    for index, mask in enumerate(masks):
        rows, columns = np.nonzero(mask)
        box = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        assert not is_tight or survey.boxes[index].tolist() == box
        own = groups == groups[index]
        rows, columns = np.nonzero(np.any([masks[k] for k in np.flatnonzero(own)], axis=0))
        box = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        assert not is_tight or survey.group_boxes[survey.groups[index]].tolist() == box
        assert survey.first_of_blend()[index] == firsts[own].min()
    assert len(survey.first) == len(survey.group_boxes) == len(np.unique(groups))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), tile_size=st.integers(3, 40))
def test_the_survey_of_tiles_is_that_of_the_mosaic(seed, tile_size):
    rng = np.random.default_rng(seed)
    shape, masks = (30, 37), []
    for _ in range(rng.integers(0, 14)):
        y0, x0 = rng.integers(0, shape)
        mask = np.zeros(shape, dtype=bool)
        mask[y0 : y0 + rng.integers(1, 9), x0 : x0 + rng.integers(1, 12)] = True
        mask &= rng.random(shape) < 0.8  # often in several pieces
        masks += [mask] if mask.any() else []
    if masks:  # a mask may leave the edges of its box empty
        boxes = [(max(np.nonzero(mask)[0].min() - 1, 0), 0, 30, 37) for mask in masks]
        crops = [mask[box[0] :] for mask, box in zip(masks, boxes, strict=True)]
        for instances in (Instances.from_masks(masks), Instances(shape, boxes, crops)):
            survey = survey_of(InstanceSources(instances), tile_size)[0]
            is_tight = instances.boxes[:, 1].any()
            check_survey(survey, masks, range(len(masks)), is_tight=is_tight)
    labels = np.zeros(shape, dtype=int)
    for index, mask in enumerate(masks):
        labels[mask] = 7 * (index + 1)
    ids = np.unique(labels[labels > 0])
    survey, _ = survey_of(LabelSources(labels), tile_size)
    check_survey(survey, [labels == label for label in ids], ids)


# ---- pieces ----


def middle_tile(box, tiles):
    y, x = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
    (index,) = (
        tile.index
        for tile in tiles
        if tile.core.y0 <= y < tile.core.y1 and tile.core.x0 <= x < tile.core.x1
    )
    return index


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), side=st.integers(8, 30), most=st.integers(40, 900))
def test_blends_go_with_a_tile_or_have_a_window_or_are_cut(seed, side, most):
    rng = np.random.default_rng(seed)
    shape, tile_size = (60, 75), 20
    labels = np.where(rng.random(shape) < 0.004, np.arange(60 * 75).reshape(shape), 0)
    labels = ndimage.grey_dilation(labels, (int(rng.integers(1, 9)), int(rng.integers(1, 9))))
    survey, tiles = survey_of(LabelSources(labels), tile_size)
    boxes = survey.group_boxes
    margins = rng.integers(0, 9, len(boxes))
    pieces, n_split = plan_pieces(survey, tiles, shape, margins, (side, most))
    assert [piece.index for piece in pieces] == list(range(len(pieces)))
    answered = np.concatenate([piece.ids for piece in pieces] or [[]])
    assert sorted(answered.tolist()) == survey.ids.tolist()  # each source once

    expected, n_large = {}, 0
    for group, (box, margin) in enumerate(zip(boxes, margins, strict=True)):
        own = np.flatnonzero(survey.groups == group)
        window = Window(*(box - [margin, margin, -margin, -margin]).tolist())
        window = Window(
            max(window.y0, 0), max(window.x0, 0), min(window.y1, 60), min(window.x1, 75)
        )
        height, width = window.shape
        if max(height, width) <= side:
            expected.setdefault(("tile", middle_tile(box, tiles)), []).append((window, own))
        elif height * width <= most:
            expected["blend", group] = [(window, own)]
        else:
            n_large += 1
            for index in own:
                tile = tiles[middle_tile(survey.boxes[index], tiles)]
                around = tile.core.grow(192, shape)
                expected.setdefault(("cut", group, tile.index), []).append((around, [index]))
    assert n_split == n_large
    wanted = set()
    for key, members in expected.items():
        windows = np.array([[w.y0, w.x0, w.y1, w.x1] for w, _ in members])
        window = Window(*windows[:, :2].min(axis=0), *windows[:, 2:].max(axis=0))
        ids = survey.ids[np.sort(np.concatenate([own for _, own in members]).astype(int))]
        core = tiles[key[2]].core if key[0] == "cut" else None
        wanted.add((window, tuple(ids.tolist()), core))
    assert {(piece.window, tuple(piece.ids.tolist()), piece.core) for piece in pieces} == wanted


def test_tiles_of_a_blend_that_is_cut_read_192_pixels_around_them():
    labels = np.zeros((500, 450), dtype=int)
    labels[10:400, 5], labels[300, 5:440] = 1, 2
    survey, tiles = survey_of(LabelSources(labels), 250)
    pieces, n_split = plan_pieces(survey, tiles, labels.shape, np.array([3]), (100, 10_000))
    assert n_split == 1 and str(pieces[0]) == "sources at rows 0:442, columns 0:417"
    windows = [(piece.window, piece.core, piece.ids.tolist()) for piece in pieces]
    assert windows == [
        (Window(0, 0, 442, 417), Window(0, 0, 250, 225), [1]),
        (Window(58, 0, 500, 417), Window(250, 0, 500, 225), [2]),
    ]


def a_run(sources, *, tile_size=100, growth=1.5, n_bands=1, **options):
    shape = sources.shape
    pixels = SimpleNamespace(n_bands=n_bands + 1, with_rms=True, shape=shape, in_files=False)
    defaults = {"kind": "parts", "background": None, "n_jobs": 1, "progress": False}
    return LightRun(
        TemplateSeparator(growth=growth),
        pixels,
        sources,
        None,
        tile_size=tile_size,
        resume=False,
        overwrite=False,
        **defaults | options,
    )


@pytest.mark.parametrize(
    ("tile_size", "n_bands", "limits"),
    [(100, 1, (256, 456**2)), (600, 1, (300, 1456**2)), (601, 3, (300, 1458**2 // 3))],
)
def test_a_window_holds_about_four_tiles(tile_size, n_bands, limits):
    sources = LabelSources(np.ones((9, 9), dtype=int))
    assert a_run(sources, tile_size=tile_size, n_bands=n_bands)._limits() == limits


@pytest.mark.parametrize("growth", [0, 1.5])
def test_margins_hold_the_light_of_a_blend_and_the_mask_of_its_neighbour(growth):
    """Light reaches `growth` radii, 3 to 64 pixels; smoothing and finding masks look farther."""
    boxes = np.array([[0, 0, 2, 3], [5, 9, 25, 49], [0, 0, 400, 500]])
    survey = SimpleNamespace(group_boxes=boxes)
    areas = np.array([2 * 3, 20 * 40, 400 * 500])
    reach = np.clip(growth * np.sqrt(areas / np.pi), 3, 64)
    expected = np.ceil(2 * reach) + 6
    sources = LabelSources(np.ones((9, 9), dtype=int))
    assert a_run(sources, growth=growth)._margins(survey).tolist() == expected.tolist()
    places = PlaceSources(np.zeros((1, 2)), (9, 9))
    assert a_run(places, growth=growth)._margins(survey).tolist() == (expected + 38).tolist()


def test_new_sources_are_numbered_after_those_given():
    labels = LabelSources(np.array([[4, 0, 9]]))
    masks = InstanceSources(Instances.from_masks([np.ones((1, 3), dtype=bool)] * 2))
    for sources, ids, expected in (
        (labels, [4, 9], [4, 9, 10, 11]),
        (masks, [0, 1], [1, 2, 3, 4]),
        (labels, [], [1, 2, 3, 4]),
    ):
        numbers = a_run(sources)._labels(np.array(ids, dtype=np.int64), 4)
        assert numbers.tolist() == expected
    assert a_run(masks)._labels(np.array([0, 1]), 2).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("place", "is_inside"),
    [
        ((9.5, 29.5), True),
        ((9.49, 29.5), False),
        ((9.5, 29.49), False),
        ((19.49, 39.49), True),
        ((19.5, 39.49), False),
        ((19.49, 39.5), False),
    ],
)
def test_a_tile_of_a_blend_answers_for_the_companions_in_it(place, is_inside):
    """Given sources are assigned; a companion belongs to the tile that holds its pixel."""
    window, core = Window(3, 21, 60, 70), Window(10, 30, 20, 40)
    piece = SimpleNamespace(window=window, core=core)
    canvas = SimpleNamespace(places=[None, None, np.array(place) - [3, 21]])
    wanted = np.array([True, False])
    assert [bool(_is_own(canvas, index, wanted, piece)) for index in range(3)] == [
        True,
        False,
        is_inside,
    ]
    piece.core = None
    assert _is_own(canvas, 2, wanted, piece)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_tile_reads_the_parts_that_reach_into_it(seed):
    rng = np.random.default_rng(seed)
    shape = (40, 50)
    tiles, records = tiles_of(shape, 13), []
    for _ in range(5):
        low = rng.integers(0, shape, (int(rng.integers(0, 3)), 2))
        high = np.minimum(low + rng.integers(1, 20, low.shape), shape)
        records.append({"boxes": np.hstack([low, high])})
    for tile, pieces in zip(tiles, _pieces_of_tiles(records, tiles), strict=True):
        expected = []
        for index, record in enumerate(records):
            covered = np.zeros(shape, dtype=bool)
            for y0, x0, y1, x1 in record["boxes"]:
                covered[y0:y1, x0:x1] = True
            expected += [index] if covered[tile.core.slices].any() else []
        assert pieces == expected


def test_a_mosaic_without_sources_has_tables_without_rows():
    names = ("ids", "boxes", "fluxes", "mask_boxes", "mask_bits", "parts", "places", "scores")
    names += ("errors", "blendedness", "classes", "mask_ends", "lead")
    record = _no_record(3, names)
    shapes = dict.fromkeys(("fluxes", "errors", "blendedness"), (0, 3))
    shapes |= {"boxes": (0, 4), "mask_boxes": (0, 4), "places": (0, 2)}
    assert {name: value.shape for name, value in record.items()} == {
        name: shapes.get(name, (0,)) for name in names
    }
    floats = ("fluxes", "errors", "blendedness", "places", "scores")
    types = dict.fromkeys(floats, "f8") | {"parts": "f4", "mask_bits": "u1"}
    assert {name: value.dtype for name, value in record.items()} == {
        name: np.dtype(types.get(name, "i8")) for name in names
    }

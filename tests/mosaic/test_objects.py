"""Overlapping sources of many tiles against slow references, on mosaics that are not square."""

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxysegment import Instances
from galaxysegment.mosaic import _instances, _plan
from galaxysegment.mosaic._instances import describe_instances, join_instances, write_instances
from galaxysegment.mosaic._join import NOWHERE, drop_sources, number_sources
from galaxysegment.mosaic._plan import cut_tiles
from galaxysegment.structures import NoSourcesWarning, relabel
from galaxysegment.structures._painting import painting_order

SHAPE = (34, 90)
TILES = [tile for line in cut_tiles(SHAPE, 17, 14) for tile in line]


def record_of(tile, masks, scores, margin=1, classes=None):
    masks = [mask[tile.read.slices] for mask in masks]
    seen = Instances.from_masks(masks, scores, classes, shape=tile.read.shape)
    return describe_instances(seen, tile, SHAPE, margin)


def box_mask(y0, x0, y1, x1):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


@settings(max_examples=60, deadline=None)
@given(
    y0=st.integers(0, 26), x0=st.integers(0, 80), height=st.integers(6, 8), width=st.integers(6, 9)
)
def test_the_nearest_tile_that_sees_an_object_whole_decides(y0, x0, height, width):
    """Each tile sees another pixel missing. Nearest: the larger of the distances along the axes."""
    y1, x1 = min(y0 + height, SHAPE[0]), min(x0 + width, SHAPE[1])
    records, distances = [], {}
    for tile in TILES:
        mask = box_mask(y0, x0, y1, x1)
        missing = divmod(tile.index, 4)
        mask[y0 + 1 + missing[0], x0 + 1 + missing[1]] = False
        read, core = tile.read, tile.core
        is_seen = bool(mask[read.slices].any())
        records.append(record_of(tile, [mask] if is_seen else [], [0.5] * is_seen))
        whole = all(
            low - start > 1 or start == 0 for low, start in ((y0, read.y0), (x0, read.x0))
        ) and all(
            stop - high > 1 or stop == side
            for high, stop, side in ((y1, read.y1, SHAPE[0]), (x1, read.x1, SHAPE[1]))
        )
        if whole and mask[core.slices].any():
            middle = [
                (y0 + y1) / 2 - (core.y0 + core.y1) / 2,
                (x0 + x1) / 2 - (core.x0 + core.x1) / 2,
            ]
            distances[tile.index] = max(map(abs, middle))
    joined = join_instances(records, TILES, SHAPE)
    assert len(joined) == 1
    nearest = min(distances, key=lambda index: (distances[index], index))
    lost = np.argwhere(box_mask(y0, x0, y1, x1) & ~joined.masks[0])
    assert lost.tolist() == [[y0 + 1 + nearest // 4, x0 + 1 + nearest % 4]]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_an_object_that_every_tile_cuts_is_put_together(seed):
    """Pixels that a tile owns are as it says; elsewhere, as any says."""
    rng = np.random.default_rng(seed)
    y0, y1 = sorted(rng.choice(35, 2, replace=False).tolist())
    whole = box_mask(y0, int(rng.integers(0, 10)), max(y1, y0 + 3), int(rng.integers(75, 91)))
    records, members = [], []
    for tile in TILES:
        seen = np.zeros(SHAPE, dtype=bool)
        seen[tile.read.slices] = True
        mask = whole & seen & (rng.random(SHAPE) < 0.9)
        is_seen = bool(mask[tile.core.slices].any())
        records.append(record_of(tile, [mask] if is_seen else [], [0.5] * is_seen))
        members += [(tile, mask)] if is_seen else []
    joined = join_instances(records, TILES, SHAPE)
    assert len(joined) == 1
    expected, owned = np.zeros(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
    for tile, mask in members:
        expected[tile.core.slices] |= mask[tile.core.slices]
        owned[tile.core.slices] = True
    for _, mask in members:
        expected |= mask & ~owned
    np.testing.assert_array_equal(joined.masks[0], expected)


def test_an_object_ends_where_the_owner_of_its_pixels_ends_it():
    """Tile 0 sees columns 10 to 28, and owns those up to 14. Tile 1 sees 1 to 19, owns the rest."""
    seen = [[box_mask(2, 10, 6, 29)], [box_mask(2, 1, 6, 20)], *([] for _ in TILES[2:])]
    records = [
        record_of(tile, masks, [0.5] * len(masks)) for tile, masks in zip(TILES, seen, strict=True)
    ]
    assert all(record["cut"].all() for record in records)
    box, crop, *_ = _instances._AllInstances(records, TILES, SHAPE).merge(np.arange(2))
    assert box == (2, 10, 6, 20)
    assert crop.shape == (4, 10) and crop.all()


def test_objects_are_in_raster_order():
    boxes = [(0, 80, 3, 84), (1, 2, 5, 6), (1, 40, 9, 44), (8, 0, 12, 3), (8, 60, 9, 61)]
    masks = [box_mask(*box) for box in boxes]
    masks[2][1, 40:43] = False  # the first pixel is not the corner of the box
    records = []
    for tile in TILES:
        inside = [k for k in (4, 2, 0, 3, 1) if masks[k][tile.read.slices].any()]
        scores, classes = [0.1 * (k + 1) for k in inside], [k + 1 for k in inside]
        records.append(record_of(tile, [masks[k] for k in inside], scores, 1, classes))
    joined = join_instances(records, TILES, SHAPE)
    order = np.argsort([np.flatnonzero(mask)[0] for mask in masks])
    np.testing.assert_array_equal(joined.masks, [masks[k] for k in order])
    np.testing.assert_allclose(joined.scores, 0.1 * (order + 1))
    assert joined.classes.tolist() == (order + 1).tolist()


def test_numbers_are_those_of_the_tile_that_decides():
    """Each tile measured its own number; classes are told once all objects are there."""
    masks = [box_mask(2, 16, 6, 22), box_mask(2, 70, 6, 76)]
    records, asked = [], []
    for tile in TILES:
        inside = [k for k in (1, 0) if masks[k][tile.core.slices].any()]
        seen = Instances.from_masks(
            [masks[k][tile.read.slices] for k in inside],
            classes=np.arange(len(inside))[::-1],
            shape=tile.read.shape,
        )
        rows = np.array([[tile.index, k] for k in inside[::-1]], dtype=float).reshape(-1, 2)
        records.append(describe_instances(seen, tile, SHAPE, 1, rows))

    def classes_of(measured):
        asked.append(measured.tolist())
        return measured[:, 1].astype(int) + 7

    joined = join_instances(records, TILES, SHAPE, classes_of)
    assert joined.classes.tolist() == [7, 8]
    nearest = [_nearest_whole(mask) for mask in masks]
    assert asked == [[[nearest[0], 0.0], [nearest[1], 1.0]]]
    nothing = [record_of(tile, [], []) for tile in TILES]
    assert len(join_instances(nothing, TILES, SHAPE, classes_of)) == 0


def _nearest_whole(mask):
    """Index of the tile of the object whose middle is nearest to that of the object."""
    y, x = (values.mean() + 0.5 for values in np.nonzero(mask))
    distances = {
        tile.index: max(
            abs(2 * y - tile.core.y0 - tile.core.y1), abs(2 * x - tile.core.x0 - tile.core.x1)
        )
        for tile in TILES
        if mask[tile.core.slices].any()
    }
    return min(distances, key=lambda index: (distances[index], index))


def test_classes_are_kept_only_if_all_tiles_have_them():
    masks = [box_mask(2, 2, 6, 6), box_mask(2, 70, 6, 76)]
    for classes, expected in (([3, 0], [3, 0]), ([None, None], None)):
        records = []
        for tile in TILES:
            inside = [k for k in (0, 1) if masks[k][tile.core.slices].any()]
            own = None if None in classes else [classes[k] for k in inside]
            kept = [masks[k] for k in inside]
            records.append(record_of(tile, kept, [0.5] * len(kept), 1, own))
        joined = join_instances(records, TILES, SHAPE).classes
        assert (joined if joined is None else joined.tolist()) == expected


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), margin=st.integers(0, 4))
def test_a_tile_keeps_what_has_a_pixel_in_its_core(seed, margin):
    """Boxes may be larger than their masks."""
    rng = np.random.default_rng(seed)
    tile = TILES[rng.integers(len(TILES))]
    read, core = tile.read, tile.core
    boxes, crops, kept, cut = [], [], [], []
    for _ in range(8):
        y0, x0 = (int(rng.integers(side)) for side in read.shape)
        y1 = min(y0 + int(rng.integers(1, 12)), read.shape[0])
        x1 = min(x0 + int(rng.integers(1, 12)), read.shape[1])
        crop = rng.random((y1 - y0, x1 - x0)) < 0.08
        if not crop.any():
            continue
        boxes.append((y0, x0, y1, x1))
        crops.append(crop)
        whole = np.zeros(SHAPE, dtype=bool)
        whole[read.y0 + y0 : read.y0 + y1, read.x0 + x0 : read.x0 + x1] = crop
        if whole[core.slices].any():
            kept.append(len(boxes) - 1)
            low, high = (read.y0, read.x0), (read.y1, read.x1)
            cut.append(
                any(at <= margin and start > 0 for at, start in zip((y0, x0), low, strict=True))
                or any(
                    stop - start - at <= margin and stop < side
                    for at, start, stop, side in zip((y1, x1), low, high, SHAPE, strict=True)
                )
            )
    scores = rng.random(len(boxes))
    record = describe_instances(Instances(read.shape, boxes, crops, scores), tile, SHAPE, margin)
    corner = [read.y0, read.x0] * 2
    assert record["boxes"].tolist() == [np.add(boxes[k], corner).tolist() for k in kept]
    assert record["scores"].tolist() == [scores[k] for k in kept]
    assert record["cut"].tolist() == cut and record["classes"].tolist() == [-1] * len(kept)
    for k, crop in zip(kept, _instances._unpack(record), strict=True):
        np.testing.assert_array_equal(crop, crops[k])


# ---- painting into a file ----


@pytest.mark.parametrize("height", [3, 255, 256, 257, 600])
def test_the_surest_is_painted_on_top(tmp_path, height):
    rng = np.random.default_rng(height)
    shape, masks = (height, 23), []
    for _ in range(30):
        y0, x0 = int(rng.integers(height)), int(rng.integers(23))
        mask = np.zeros(shape, dtype=bool)
        mask[y0 : y0 + int(rng.integers(1, 300)), x0 : x0 + 6] = True
        masks.append(mask & (rng.random(shape) < 0.8))
    masks = [mask for mask in masks if mask.any()]
    scores = rng.integers(0, 4, len(masks)) / 4  # equal scores, too: the later one is on top
    instances = Instances.from_masks(masks, scores, shape=shape)
    expected = np.zeros(shape, dtype=int)
    for index in painting_order(instances):
        expected[masks[index]] = index + 1
    np.testing.assert_array_equal(relabel(expected), instances.to_label_map())
    visible = np.unique(expected[expected > 0])
    expected = np.searchsorted(visible, expected) + 1
    expected[~np.any(masks, axis=0)] = 0
    path, header = tmp_path / "labels.fits", fits.PrimaryHDU(np.zeros(shape, ">i4")).header
    start = header.tostring().encode()
    n_bytes = -(-4 * height * 23 // 2880) * 2880
    path.write_bytes(start + bytes(n_bytes))
    write_instances(path, len(start), instances)
    with fits.open(path) as opened:
        np.testing.assert_array_equal(opened[0].data, expected)
        assert [hdu.name for hdu in opened[1:]] == ["SCORES", "INSTANCES"]
        assert opened["SCORES"].data["SCORE"].tolist() == scores[visible - 1].tolist()
        assert len(opened["INSTANCES"].data) == len(masks)
    assert path.stat().st_size % 2880 == 0


# ---- numbers ----


@given(
    parts=st.lists(st.lists(st.integers(0, 40), max_size=6), min_size=1, max_size=4),
    gone=st.sets(st.integers(0, 40)),
)
def test_sources_are_numbered_and_dropped_by_their_first_pixels(parts, gone):
    used, firsts = set(), []
    for part in parts:  # each pixel begins one source at most; some sources are not wanted
        own = [pixel for pixel in dict.fromkeys(part) if pixel not in used]
        used |= {*own}
        firsts.append(np.array([NOWHERE if pixel < 5 else pixel for pixel in own], dtype=np.int64))
    first, *redone = firsts
    wanted = sorted(pixel for part in firsts for pixel in part.tolist() if pixel != NOWHERE)
    expected = {pixel: place for place, pixel in enumerate(wanted, start=1)} | {NOWHERE: 0}
    numbers, numbers_redone, n_sources = number_sources(first.copy(), redone)
    assert n_sources == len(wanted) and len(numbers_redone) == len(redone)
    for part, numbered in zip(firsts, [numbers, *numbers_redone], strict=True):
        assert [expected[pixel] for pixel in part.tolist()] == numbered.tolist()

    seen = []

    def keep(measured):
        seen.extend(measured[:, 0].tolist())
        return np.array([value not in gone for value in measured[:, 0]], dtype=bool)

    measured = [part[:, None].astype(float) for part in firsts]
    kept, kept_redone = drop_sources(keep, first.copy(), measured[0], redone, measured[1:])
    assert seen == wanted
    for part, after in zip(firsts, [kept, *kept_redone], strict=True):
        assert after.tolist() == [NOWHERE if pixel in gone else pixel for pixel in part.tolist()]


@pytest.mark.parametrize("deblend", [False, True])
def test_nothing_is_cleaned_where_no_pixel_has_data(deblend):
    pytest.importorskip("sep")
    from galaxysegment import SEPSegmenter
    from galaxysegment.mosaic import segment_mosaic

    image = np.full((60, 80), np.nan)
    with pytest.warns(NoSourcesWarning):
        labels = segment_mosaic(
            SEPSegmenter(deblend=deblend), image, tile_size=40, overlap=80, progress=False
        )
    assert not labels.any()


# ---- statistics in blocks of rows ----


@pytest.mark.parametrize("n_pixels", [1, 700, 4000, 1 << 22])
def test_the_size_of_blocks_does_not_matter(monkeypatch, n_pixels):
    from galaxysegment import PhotutilsSegmenter
    from galaxysegment.mosaic import segment_mosaic

    image = np.random.default_rng(0).normal(size=(90, 70)) + np.linspace(0, 9, 70)
    image[30:40, 20:50] += 20
    monkeypatch.setattr(_plan, "_BLOCK", n_pixels)
    segmenter = PhotutilsSegmenter(deblend=False, box_size=16, n_pixels=3)
    tiled = segment_mosaic(segmenter, image, tile_size=50, progress=False)
    np.testing.assert_array_equal(tiled, segmenter.predict(image[None])[0])


def test_rows_are_painted_in_pieces_of_the_same_map():
    rng = np.random.default_rng(1)
    masks = [rng.random((50, 20)) < 0.05 for _ in range(9)]
    instances = Instances.from_masks(masks, rng.random(9), shape=(50, 20))
    order = np.argsort(instances.scores)
    whole = _instances._paint_rows(instances, order, 0, 50)
    for y0, y1 in ((0, 7), (7, 8), (8, 50)):
        piece = _instances._paint_rows(instances, order, y0, y1)
        np.testing.assert_array_equal(piece, whole[y0:y1])
    assert whole.shape == (50, 20)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_one_tile_sees_an_object_inside_its_core_and_the_next_across_the_seam(axis, swapped):
    """The seam is an edge of the first tile and of the next one below or beside it."""
    first, last = TILES[0], next(tile for tile in TILES if _is_next(tile, axis))
    seam = first.core.y1 if axis == 0 else first.core.x1
    inside, across = [(seam - 8, seam), (seam - 8, seam + 2)]
    if swapped:
        inside, across = (seam - 2, seam + 8), (seam, seam + 8)
    masks = []
    for low, high in (inside, across):
        masks.append(box_mask(low, 3, high, 9) if axis == 0 else box_mask(3, low, 9, high))
    records = []
    for tile in TILES:
        own = {first.index: masks[0], last.index: masks[1]}.get(tile.index)
        records.append(record_of(tile, [] if own is None else [own], [] if own is None else [0.5]))
    assert len(join_instances(records, TILES, SHAPE)) == 1


def _is_next(tile, axis):
    first = TILES[0].core
    if axis == 0:
        return tile.core.y0 == first.y1 and tile.core.x0 == 0
    return tile.core.x0 == first.x1 and tile.core.y0 == 0

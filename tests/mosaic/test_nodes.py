"""The record of a tile, and which nodes are one source, against pixel by pixel references."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from galaxysegment.mosaic._join import (
    NOWHERE,
    _blends,
    _same_keys,
    _same_pixels,
    describe_tile,
    join_tiles,
    stack_tables,
)
from galaxysegment.mosaic._plan import Window

EIGHT = np.ones((3, 3), dtype=bool)


def random_labels(rng, shape):
    """Labels in several pieces, some in the first and last pixels."""
    labels = np.zeros(shape, dtype=np.int32)
    for label in range(1, int(rng.integers(1, 9))):
        for _ in range(rng.integers(1, 3)):
            y, x = rng.integers(0, shape)
            labels[y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = label
    labels[rng.random(shape) < 0.1] = 0
    return labels


def box_of(pixels, width):
    y, x = np.divmod(np.array(sorted(pixels)), width)
    return [y.min(), x.min(), y.max() + 1, x.max() + 1]


def nodes_of(record, core, shape):
    """Pixels of each node in the core and in the ring, counted in the mosaic."""
    y, x = np.divmod(record["pixels"].astype(np.int64), core.shape[1])
    places = (y + core.y0) * shape[1] + x + core.x0
    nodes = [set() for _ in record["key"]]
    pairs = [
        *zip(places, record["values"], strict=True),
        *zip(record["ring_index"], record["ring_value"], strict=True),
    ]
    for pixel, node in pairs:
        assert not any(pixel in others for others in nodes)
        nodes[node - 1].add(int(pixel))
    return nodes


def groups_of(labels, n_labels):
    """Labels that touch, through others too, by label; all pieces of a label are one."""
    groups = {label: {label} for label in range(1, n_labels + 1)}
    touching, _ = ndimage.label(labels > 0, EIGHT)
    for first, second in combinations(groups, 2):
        if {*touching[labels == first]} & {*touching[labels == second]}:
            together = groups[first] | groups[second]
            groups |= dict.fromkeys(together, together)
    return groups


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 2**31), splits=st.booleans(), margin=st.integers(0, 3))
def test_a_record_is_what_its_read_region_shows(seed, splits, margin):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(6, 24, 2).tolist())
    (y0, y1), (x0, x1) = (sorted(rng.choice(side + 1, 2, replace=False)) for side in shape)
    core = Window(int(y0), int(x0), int(y1), int(x1))
    read = core.grow(int(rng.integers(1, 7)), shape)
    labels = random_labels(rng, read.shape)
    n_labels = labels.max()
    measured = rng.random((n_labels, 2)) if rng.random() < 0.5 else None
    record = describe_tile(labels, core, read, shape, margin, splits=splits, measured=measured)

    whole = np.zeros(shape, dtype=int)
    whole[read.slices] = labels
    trusted = np.zeros(shape, dtype=bool)  # neither in the margin nor at its edge
    low = [start + (margin + 1) * (start > 0) for start in (read.y0, read.x0)]
    high = [
        stop - (margin + 1) * (stop < side)
        for stop, side in zip((read.y1, read.x1), shape, strict=True)
    ]
    trusted[low[0] : max(high[0], 0), low[1] : max(high[1], 0)] = True
    cut = {label for label in range(1, n_labels + 1) if ((whole == label) & ~trusted).any()}
    groups = groups_of(whole, n_labels) if splits else {k: {k} for k in range(1, n_labels + 1)}
    if splits:
        cut = {label for label in groups if groups[label] & cut}
    seen = np.zeros(shape, dtype=bool)
    seen[core.grow(1, shape).slices] = True
    in_core = np.zeros(shape, dtype=bool)
    in_core[core.slices] = True
    expected = {}
    for label in groups:
        mask = (whole == label) & seen
        pieces, n_pieces = ndimage.label(mask, EIGHT) if label in cut else (mask.astype(int), 1)
        for piece in range(1, n_pieces + 1):
            pixels = frozenset(np.flatnonzero(pieces == piece).tolist())
            if pixels:
                expected[pixels] = label

    nodes = [frozenset(pixels) for pixels in nodes_of(record, core, shape)]
    assert {*nodes} == {*expected} and len(nodes) == len(expected)
    for index, pixels in enumerate(nodes):
        label = expected[pixels]
        assert record["cut"][index] == (label in cut)
        first = int(np.flatnonzero(whole == label)[0])
        assert record["key"][index] == (-1 if label in cut else first)
        assert record["boxes"][index].tolist() == box_of(pixels, shape[1])
        own = sorted(pixels & {*np.flatnonzero(in_core).tolist()})
        assert record["first"][index] == (own[0] if own else NOWHERE)
        for other, pixels_of_other in enumerate(nodes):
            same = expected[pixels_of_other] in groups[label]
            assert (record["group"][index] == record["group"][other]) == same
        if measured is None:
            assert record["measured"].shape == (len(nodes), 0)
        else:
            numbers = np.full(2, np.nan) if label in cut else measured[label - 1]
            np.testing.assert_array_equal(record["measured"][index], numbers)
    border = in_core & (whole > 0)
    border[core.y0 + 1 : core.y1 - 1, core.x0 + 1 : core.x1 - 1] = False
    assert record["border_index"].tolist() == np.flatnonzero(border).tolist()
    assert record["ring_index"].tolist() == np.flatnonzero(seen & ~in_core & (whole > 0)).tolist()
    for pixel, node in zip(record["border_index"], record["border_value"], strict=True):
        assert pixel in nodes[node - 1]


@given(st.lists(st.integers(-1, 4), max_size=12))
def test_sources_with_the_same_first_pixel_are_one(keys):
    """Also those that begin at the first pixel of the mosaic; -1 is no key."""
    pairs = _same_keys(np.array(keys, dtype=np.int64))
    joined = {index: {index} for index in range(len(keys))}
    for first, second in pairs.T.tolist():
        together = joined[first] | joined[second]
        joined |= dict.fromkeys(together, together)
    for first, second in combinations(range(len(keys)), 2):
        same = keys[first] == keys[second] >= 0
        assert (second in joined[first]) == same


@given(
    st.dictionaries(st.integers(0, 30), st.integers(0, 5), max_size=12),
    st.lists(st.tuples(st.integers(0, 33), st.integers(0, 5)), max_size=12),
)
def test_nodes_that_share_a_pixel_are_pairs(border, ring):
    def arrays(pairs):
        return tuple(np.array(pairs, dtype=np.int64).reshape(-1, 2).T)

    expected = [(node, border[pixel]) for pixel, node in ring if pixel in border]
    pairs = _same_pixels(arrays(ring), arrays(list(border.items())[::-1]))
    assert [tuple(pair) for pair in pairs.T.tolist()] == expected


@given(
    st.integers(1, 4).flatmap(  # groups in a tile
        lambda n: st.lists(
            st.tuples(st.integers(0, 5), st.integers(0, n - 1)), min_size=1, max_size=10
        )
    ),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=6),
)
def test_a_blend_is_all_that_groups_and_pairs_join(nodes, pairs):
    """Node: its tile and its group there."""
    tile, group = np.array(sorted(nodes)).T
    pairs = [(a % len(tile), b % len(tile)) for a, b in pairs]
    joined = {index: {index} for index in range(len(tile))}
    same = [
        (a, b)
        for a, b in combinations(range(len(tile)), 2)
        if (tile[a], group[a]) == (tile[b], group[b])
    ]
    for first, second in same + pairs:
        together = joined[first] | joined[second]
        joined |= dict.fromkeys(together, together)
    blend = _blends(group, tile, np.array(pairs, dtype=np.int64).reshape(-1, 2).T)
    for first, second in combinations(range(len(tile)), 2):
        assert (blend[first] == blend[second]) == (second in joined[first])


def test_tables_without_a_row_may_lack_columns():
    tables = [np.zeros((0, 0)), np.ones((2, 3)), np.zeros((0, 3)), np.full((1, 3), 2.0)]
    assert stack_tables(tables).tolist() == [[1, 1, 1], [1, 1, 1], [2, 2, 2]]
    assert stack_tables([np.zeros((0, 0)), np.zeros((0, 4))]).shape == (0, 4)


@pytest.mark.parametrize("corner", [(0, 0), (3, 4)])
def test_a_source_that_two_tiles_see_whole_is_one_where_seams_tell_nothing(corner):
    """Tiles that do not see the same in their overlap: one shared pixel of many joins nothing."""
    shape = (20, 40)
    labels = np.zeros(shape, dtype=np.int32)
    labels[corner[0] : corner[0] + 3, corner[1] : 22] = 1
    tiles = [Window(0, 0, 20, 20), Window(0, 20, 20, 40)]
    records = []
    for core in tiles:
        part = labels.copy()
        if core.x0:  # the second sees nothing at the seam but a corner
            part[corner[0] + 1 :, 18:21] = 0
        record = describe_tile(
            *(part, core, Window(0, 0, *shape), shape, 1),
            splits=False,
            measured=np.full((1, 2), 7.0),
        )
        record["sums"] = np.ones((len(record["key"]), 2))
        records.append(record)
    assert all(corner[0] * 40 + corner[1] in record["key"] for record in records)

    def load(index, names):
        return {name: records[index][name] for name in names}

    join = join_tiles(load, 2, exact=False, splits=False, max_pixels=100)
    first = corner[0] * 40 + corner[1]
    whole = {int(join.source[node]) for node in np.flatnonzero(_keys(records) == first)}
    assert len(whole) == 1
    (source,) = whole
    assert join.first[source] == first
    n_nodes = np.count_nonzero(join.source == source)
    assert join.sums[source].tolist() == [n_nodes, n_nodes]
    assert join.measured[source].tolist() == [7, 7]


def _keys(records):
    return np.concatenate([record["key"] for record in records])

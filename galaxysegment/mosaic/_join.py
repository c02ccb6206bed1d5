"""Join the tiles' nodes into sources, find cut blends, and number the sources."""

from dataclasses import dataclass

import numpy as np

from ..detection._touching import connect
from ._describe import NOWHERE
from ._tiles import Window

_SMALL = (
    "key",
    "group",
    "cut",
    "boxes",
    "first",
    "sums",
    "measured",
    "ring_index",
    "ring_value",
    "border_index",
    "border_value",
)


@dataclass(frozen=True)
class Join:
    """All tiles together."""

    offsets: np.ndarray  # of each tile's nodes among all nodes, one more than there are tiles
    source: np.ndarray  # index of the source that each node is part of
    first: np.ndarray  # first pixel of each source in the mosaic
    measured: np.ndarray  # numbers about each source; NaN if no tile saw it whole
    sums: np.ndarray  # sums over the pixels of each source, which its score comes from
    redo: list  # (window, a pixel, its sources) of each blend that no tile has seen whole
    too_large: int  # number of blends too large to be segmented again


def join_tiles(load, n_tiles, *, exact, splits, max_pixels):
    """Join nodes that share pixels of a seam.

    Parameters
    ----------
    load : callable
        ``load(index, names)`` returns a dict of the named arrays of a tile's record.
    n_tiles : int
    exact : bool
        Whether tiles see the same in their overlap, so that one common pixel joins two nodes. Else
        they must share half of the pixels of the smaller node on their seam.
    splits : bool
        Whether blends that are cut have to be done again.
    max_pixels : int
        Blends whose bounding box is larger stay as they are.

    Returns
    -------
    Join
    """
    records = [load(index, _SMALL) for index in range(n_tiles)]
    offsets = np.concatenate([[0], np.cumsum([len(record["key"]) for record in records])])
    parts = {name: np.concatenate([record[name] for record in records]) for name in _SMALL[:6]}
    parts["measured"] = _stack([record["measured"] for record in records])
    ring, border = (_seam(records, offsets, name) for name in ("ring", "border"))
    tile = np.repeat(np.arange(n_tiles), np.diff(offsets))
    touching, same = _same_pixels(ring, border), _same_keys(parts["key"])
    # Parts of a blend that is cut were split in two tiles on their own: a shared pixel is no proof.
    doubtful = np.ones(touching.shape[1], dtype=bool)
    if exact:
        doubtful = splits & parts["cut"][touching].any(axis=0)
    agreeing = _mostly_same(touching[:, doubtful], tile)
    pairs = np.concatenate([touching[:, ~doubtful], agreeing, same], axis=1)
    source = connect(pairs, offsets[-1]) if offsets[-1] else np.zeros(0, dtype=np.int64)
    redo, too_large = [], 0
    if splits and parts["cut"].any():
        blend = _blends(parts["group"], tile, np.concatenate([touching, same], axis=1))
        redo, too_large = _to_redo(blend, source, parts, max_pixels)
    first = np.full(int(source.max(initial=-1)) + 1, NOWHERE)
    np.minimum.at(first, source, parts["first"])
    measured = np.full((len(first), parts["measured"].shape[1]), np.nan)
    whole = parts["key"] >= 0
    measured[source[whole]] = parts["measured"][whole]
    sums = np.zeros((len(first), parts["sums"].shape[1]))
    np.add.at(sums, source, parts["sums"])
    return Join(offsets, source, first, measured, sums, redo, too_large)


def _stack(measured):
    """Concatenate numbers about sources; tables without a row may lack the columns."""
    n_numbers = max(table.shape[1] for table in measured)
    return np.concatenate([table for table in measured if len(table)] or [np.zeros((0, n_numbers))])


def _seam(records, offsets, name):
    index = np.concatenate([record[f"{name}_index"] for record in records])
    nodes = [
        record[f"{name}_value"] - 1 + offset
        for record, offset in zip(records, offsets[:-1], strict=True)
    ]
    return index, np.concatenate(nodes)


def _same_pixels(ring, border):
    """Pairs of nodes of two tiles, one for each pixel that they share."""
    order = np.argsort(border[0])
    index, nodes = border[0][order], border[1][order]
    place = np.searchsorted(index, ring[0])
    place[place == len(index)] = 0
    is_shared = index[place] == ring[0] if len(index) else np.zeros(len(ring[0]), dtype=bool)
    return np.stack([ring[1][is_shared], nodes[place[is_shared]]])


def _mostly_same(pairs, tile):
    """Keep the pairs of nodes that share half of the pixels that the smaller has on their seam.

    Where a method does not see the same from both sides, a pixel that changes hands shall not join
    neighbours.
    """
    if not pairs.size:
        return pairs
    n_nodes = len(tile)
    unique, shared = np.unique(pairs[0] * n_nodes + pairs[1], return_counts=True)
    own, other = np.divmod(unique, n_nodes)
    size = [
        _count(node, tile[facing], shared, tile) for node, facing in ((own, other), (other, own))
    ]
    return np.stack([own, other])[:, 2 * shared >= np.minimum(*size)]


def _count(node, facing, shared, tile):
    """Pixels that each node has, in all its pairs, on the seam with the tile that it faces."""
    _, seam = np.unique(node * (tile.max() + 1) + facing, return_inverse=True)
    return np.bincount(seam, weights=shared)[seam]


def _same_keys(key):
    """Pairs of nodes of a source that several tiles see whole: it has the same first pixel."""
    known = np.flatnonzero(key >= 0)
    known = known[np.argsort(key[known], kind="stable")]
    same = key[known[1:]] == key[known[:-1]]
    return np.stack([known[:-1][same], known[1:][same]])


def _blends(group, tile, pairs):
    """Number of the blend, over all tiles, that each node is part of."""
    n_groups = int(group.max(initial=0)) + 1
    own = np.unique(tile * n_groups + group, return_inverse=True)[1]
    return connect(own[pairs], int(own.max(initial=-1)) + 1)[own]


def _to_redo(blend, source, parts, max_pixels):
    """Find the blends that some tile saw cut, and the number of those too large."""
    is_cut = np.zeros(int(blend.max()) + 1, dtype=bool)
    is_cut[blend[parts["cut"]]] = True
    redo, too_large = [], 0
    members = np.flatnonzero(is_cut[blend])
    members = members[np.argsort(blend[members], kind="stable")]
    for nodes in np.split(members, np.flatnonzero(np.diff(blend[members])) + 1):
        boxes, first = parts["boxes"][nodes], int(parts["first"][nodes].min())
        if first == NOWHERE:  # seen in a ring only: the tile that owns those pixels saw nothing
            continue
        window = Window(*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())
        if window.shape[0] * window.shape[1] > max_pixels:
            too_large += 1
        else:
            redo.append((window, first, np.unique(source[nodes])))
    return redo, too_large


def drop_sources(keep, first, measured, firsts_redone, measured_redone):
    """Drop the sources that do not stand the comparison with the others: they begin `NOWHERE` now.

    Parameters
    ----------
    keep : callable
        ``keep(measured)`` returns which sources stay.
    first : ndarray of int64
        First pixel of each source; `NOWHERE` for those that are not wanted.
    measured : ndarray of float64, shape (n_sources, n_numbers)
    firsts_redone, measured_redone : list of ndarray
        The same for the parts of each blend that was done again.

    Returns
    -------
    first, firsts_redone
        The same, with dropped sources.
    """
    everything = np.concatenate([first, *firsts_redone])
    numbers = _stack([measured, *measured_redone])
    order = np.argsort(everything, kind="stable")
    order = order[everything[order] != NOWHERE]
    everything[order[~keep(numbers[order])]] = NOWHERE
    bounds = np.cumsum([len(first), *(len(part) for part in firsts_redone)])
    return everything[: bounds[0]], np.split(everything, bounds)[1:-1]


def number_sources(first, firsts_redone):
    """Number sources in raster order of their first pixels.

    Parameters
    ----------
    first : ndarray of int64
        First pixel of each source; `NOWHERE` for those that are not wanted.
    firsts_redone : list of ndarray of int64
        The same for the parts of each blend that was done again.

    Returns
    -------
    numbers : ndarray of int64
        1…n for each of `first`, 0 where not wanted.
    numbers_redone : list of ndarray of int64
    n_sources : int
    """
    everything = np.concatenate([first, *firsts_redone])
    order = np.argsort(everything, kind="stable")
    n_sources = int(np.count_nonzero(everything != NOWHERE))
    numbers = np.zeros(len(everything), dtype=np.int64)
    numbers[order[:n_sources]] = np.arange(1, n_sources + 1)
    bounds = np.cumsum([len(first), *(len(firsts) for firsts in firsts_redone)])
    return (
        numbers[: len(first)],
        list(np.split(numbers, bounds)[1:-1]) if firsts_redone else [],
        n_sources,
    )

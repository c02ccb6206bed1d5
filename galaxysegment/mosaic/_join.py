"""Sources across tiles: the record of a tile, which nodes are one source, numbers, the label map.

A *node* is what one tile sees of one source in its core and in the ring of one pixel around the
core. Two tiles share the pixels of a ring, so nodes that share a pixel there are one source.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .._utils.compiling import compiling_pays
from ..structures import SKY
from ..structures._labels import connect, source_pixels, touching_groups
from . import _tile_numpy
from ._plan import Window
from ._store import RecordError

_EIGHT = np.ones((3, 3), dtype=bool)
NOWHERE = np.int64(np.iinfo(np.int64).max)
SEMANTIC = np.int16  # type of the class of each pixel
_PIXELS = 1 << 18  # painted and written at once: they stay in the cache
# The parts of a record that are needed to join tiles.
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


def describe_tile(labels, core, read, shape, margin, *, splits, measured=None):
    """Boil the label map of a read region down to the record of its tile.

    Parameters
    ----------
    labels : ndarray of int, shape of `read`
        Label map; 0 is background.
    core, read : Window
        What the tile owns, and what it read.
    shape : tuple of int
        ``(height, width)`` of the mosaic.
    margin : int
        Pixels along an inner edge of the read region that are not to be trusted.
    splits : bool
        Whether the segmenter looks at whole blends to split them, so that a blend that is cut by
        the read region has to be done again.
    measured : ndarray of float64, shape (n_labels, n_numbers), optional
        Numbers about each source.

    Returns
    -------
    dict of ndarray
        ``pixels`` and ``values``: positions in the core, raster order, and their nodes (1…n).
        Of each node: ``first`` pixel in the core, ``key`` (first pixel in the read region where the
        whole source is seen, else -1), ``group`` (the blend it is part of), ``cut`` (whether the
        blend leaves the read region), ``boxes``, ``measured`` (NaN if the source is cut). Of the
        seam: ``ring_index``, ``ring_value``, ``border_index``, ``border_value``. Pixels of the
        mosaic are counted in raster order.
    """
    loops = _loops(shape)
    labels = np.ascontiguousarray(labels, dtype=np.int32)
    pixels = source_pixels(labels)
    values = labels.ravel()[pixels]
    n_labels = int(values.max(initial=0))
    cut, key = np.zeros(n_labels + 1, dtype=bool), np.full(n_labels + 1, -1, dtype=np.int64)
    seen = tuple(np.empty((3, len(pixels)), dtype=np.int64))
    place = read.y0, read.x0, labels.shape[1], shape[1]
    windows = _trusted(read, shape, margin).edges, core.grow(1, shape).edges
    n_seen = loops.see_pixels(pixels, values, place, windows, (cut, key), seen)
    group = np.arange(n_labels + 1)
    if splits and n_labels:
        group = touching_groups(labels, pixels, n_labels)
        cut = np.isin(group, group[cut])
    key[cut] = -1
    y, x, values = (part[:n_seen] for part in seen)
    nodes, old = _make_nodes(values, y, x, cut)
    return {
        "key": key[old],
        "group": group[old],
        "cut": cut[old],
        "measured": _measured_of_nodes(measured, old, cut),
        **_list_nodes(y, x, nodes, core, shape, len(old), loops),
    }


def _measured_of_nodes(measured, old, cut):
    """Numbers about the sources behind nodes; NaN for sources that are not seen whole."""
    if measured is None:
        return np.zeros((len(old), 0))
    numbers = measured[old - 1]
    numbers[cut[old]] = np.nan
    return numbers


def _loops(shape):
    """Functions that go through the pixels of tiles, for a mosaic of some shape."""
    if compiling_pays(shape[0] * shape[1]):
        from . import _tile_kernels as loops
    else:
        loops = _tile_numpy
    return loops


def _trusted(read, shape, margin):
    """The part of a read region where sources end: beyond it a label may go on."""
    depth = margin + 1
    return Window(
        read.y0 + depth * (read.y0 > 0),
        read.x0 + depth * (read.x0 > 0),
        read.y1 - depth * (read.y1 < shape[0]),
        read.x1 - depth * (read.x1 < shape[1]),
    )


def _make_nodes(values, y, x, cut):
    """Number the nodes 1…n; return the node of each pixel and the label of each node.

    A label that leaves the read region may owe its connection to pixels near the edge, which are
    not to be trusted: it is taken apart into its connected pieces here, and the ring joins what
    belongs together.
    """
    old = np.arange(len(cut))
    suspects = np.flatnonzero(cut[values])
    if suspects.size:
        values, old = _take_apart(values, y, x, suspects, old)
    used = np.zeros(len(old), dtype=bool)
    used[values] = True
    used[0] = False
    return np.cumsum(used)[values], old[used]


def _take_apart(values, y, x, suspects, old):
    """Give each piece but the first of the labels of some pixels a label of its own."""
    values, old = values.copy(), old.tolist()
    suspects = suspects[np.argsort(values[suspects], kind="stable")]
    ends = np.flatnonzero(np.diff(values[suspects])) + 1
    for own in np.split(suspects, ends):
        label, rows, columns = int(values[own[0]]), y[own] - y[own].min(), x[own] - x[own].min()
        mask = np.zeros((rows[-1] + 1, columns.max() + 1), dtype=bool)  # raster order
        mask[rows, columns] = True
        parts, n_parts = ndimage.label(mask, structure=_EIGHT)
        part = parts[rows, columns]
        values[own] = np.where(part == 1, label, len(old) + part - 2)
        old += [label] * (n_parts - 1)
    return values, np.array(old)


def _list_nodes(y, x, nodes, core, shape, n_nodes, loops):
    """Boxes and first pixels of nodes, the pixels of the core, and those of the seam.

    Of the seam, the border are the outermost pixels of the core, the ring those around it.
    """
    boxes, first = np.zeros((n_nodes, 4), dtype=np.int64), np.full(n_nodes, NOWHERE)
    boxes[:, :2] = NOWHERE
    # Positions in a core of any usual size fit into half of the memory and disk.
    is_small = core.shape[0] * core.shape[1] <= np.iinfo(np.int32).max
    n_ring = min(len(y), 2 * sum(core.shape) + 4)
    parts = {
        name: (np.empty(length, dtype=dtype), np.empty(length, dtype=np.int32))
        for name, length, dtype in (
            ("own", len(y), np.int32 if is_small else np.int64),
            ("ring", n_ring, np.int64),
            ("border", n_ring, np.int64),
        )
    }
    seen = y, x, nodes
    counts = loops.list_nodes(seen, core.edges, shape[1], (boxes, first), *parts.values())
    # A copy does not keep in memory what is not needed.
    (pixels, values), *seam = (
        [array[:count].copy() for array in arrays]
        for arrays, count in zip(parts.values(), counts, strict=True)
    )
    record = {"boxes": boxes, "first": first, "pixels": pixels, "values": values}
    for name, (index, value) in zip(("ring", "border"), seam, strict=True):
        record[f"{name}_index"], record[f"{name}_value"] = index, value
    return record


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
    parts["measured"] = stack_tables([record["measured"] for record in records])
    ring, border = (_seams(records, offsets, name) for name in ("ring", "border"))
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


def stack_tables(measured):
    """Concatenate numbers about sources; tables without a row may lack the columns."""
    n_numbers = max(table.shape[1] for table in measured)
    return np.concatenate([table for table in measured if len(table)] or [np.zeros((0, n_numbers))])


def _seams(records, offsets, name):
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
    numbers = stack_tables([measured, *measured_redone])
    order = np.argsort(everything, kind="stable")
    order = order[everything[order] != NOWHERE]
    if len(order):  # without a source there are no numbers about sources either
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


def as_semantic(classes):
    """Return classes of pixels as the 16-bit integers of a semantic map.

    Raises
    ------
    ValueError
        If a class does not fit.
    """
    largest = int(np.max(classes, initial=0))
    if largest > np.iinfo(SEMANTIC).max:
        raise ValueError(
            f"Class {largest} does not fit into the 16 bits of a panoptic map: use classes up to "
            f"{np.iinfo(SEMANTIC).max}."
        )
    return np.asarray(classes).astype(SEMANTIC)


def describe_stuff(stuff):
    """Boil the stuff of a write region, or None for sky alone, down to what is not sky."""
    stuff = np.zeros(0, dtype=SEMANTIC) if stuff is None else as_semantic(stuff).ravel()
    pixels = np.flatnonzero(stuff != SKY)
    return {"stuff_pixels": pixels, "stuff": stuff[pixels]}


def paint(lines, shape, dtype, folder):
    """Return the label map, from lines of tiles as `paint_line` takes them."""
    labels = np.zeros(shape, dtype=dtype)
    for line in lines:
        for y0, rows in paint_line(line, shape, dtype, folder):
            labels[y0 : y0 + len(rows)] = rows
    return labels


def paint_line(work, shape, dtype, folder):
    """Yield ``(y0, rows)``, blocks of whole rows of the label map, from a line of tiles.

    Parameters
    ----------
    work : (list of Tile, list of ndarray, list of (int, ndarray))
        The tiles of the line; for each the final number of node 0 (the background), 1, 2…; the
        index of each blend that was done again and reaches into these rows, and the final numbers
        of its parts.
    shape : tuple of int
        ``(height, width)`` of the mosaic.
    dtype : dtype
        Type of the label map.
    folder : WorkFolder
    """
    line, tables, blends = work
    top, bottom = line[0].core.y0, line[0].core.y1
    records = [folder.load("tile", tile.index, ("pixels", "values")) for tile in line]
    redone = [
        (folder.load("blend", index, ("pixels", "values")), numbers) for index, numbers in blends
    ]
    loops = _loops(shape)
    brushes = [
        _Brush(record, table, dtype, (tile.core.x0, tile.core.shape[1]), 0, loops)
        for tile, record, table in zip(line, records, tables, strict=True)
    ]
    brushes += [
        _Brush(record, np.concatenate([[0], numbers]), dtype, (0, shape[1]), top * shape[1], loops)
        for record, numbers in redone
    ]
    n_rows = min(max(1, _PIXELS // shape[1]), bottom - top)
    block = np.empty((n_rows, shape[1]), dtype=dtype)  # memory costs time once
    for y0 in range(top, bottom, n_rows):
        rows = block[: min(y0 + n_rows, bottom) - y0]
        rows[:] = 0
        for brush in brushes:
            brush.paint(rows)
        yield y0, rows


class _Brush:
    """Paints the pixels of a record into blocks of rows, from the top down.

    Parameters
    ----------
    record : dict of ndarray
        ``pixels`` and ``values``.
    table : ndarray of int
        Final number of each node.
    dtype : dtype
        Of the rows, in any byte order.
    columns : tuple of int
        The first one that the record covers, and how many.
    begin : int
        Position, as `pixels` count, of the first pixel of the first block.
    loops : module
    """

    def __init__(self, record, table, dtype, columns, begin, loops):
        self.native = np.dtype(dtype).newbyteorder("=")  # numba knows no other byte order
        self.table = np.asarray(table).astype(dtype).view(self.native)
        self.pixels, self.values = record["pixels"], record["values"]
        self.columns, self.begin = columns, begin
        self._next = int(np.searchsorted(self.pixels, begin))
        self._paint = loops.paint_pixels

    def paint(self, rows):
        """Paint the next block of rows."""
        end = self.begin + len(rows) * self.columns[1]
        if self._next < len(self.pixels) and self.pixels[self._next] < end:
            record = self.columns, self.pixels, self.values, self.table
            self._next = self._paint(rows.view(self.native), *record, self._next, self.begin)
            if self._next < 0:
                raise RecordError("The pixels of a record are not those of its tile.")
        self.begin = end


def paint_panoptic(lines, shape, dtype, folder, owners):
    """Return the panoptic map, (2, height, width), from lines of tiles; see `paint_classes`."""
    panoptic = np.zeros((2, *shape), dtype=dtype)
    for line in lines:
        for y0, *planes in paint_classes(line, shape, dtype, folder, owners):
            for whole, rows in zip(panoptic[::-1], planes, strict=True):
                whole[y0 : y0 + len(rows)] = rows
    return panoptic


def paint_classes(work, shape, dtype, folder, owners):
    """Yield ``(y0, rows, classes)``: blocks as of `paint_line`, and the class of each pixel.

    Parameters
    ----------
    work, shape, dtype, folder
        As of `paint_line`.
    owners : ndarray of int16, shape (n_sources + 1,)
        Class of each source by its final number; the first is not used.
    """
    line = work[0]
    records = [folder.load("tile", tile.index, ("stuff_pixels", "stuff")) for tile in line]
    brushes = [
        _stuff_brush(record, (tile.core.x0, tile.core.shape[1]))
        for tile, record in zip(line, records, strict=True)
    ]
    for y0, rows in paint_line(work, shape, dtype, folder):
        classes = np.full(rows.shape, SKY, dtype=SEMANTIC)
        for brush in brushes:
            brush.paint(classes)
        np.copyto(classes, owners[rows], where=rows > 0)
        yield y0, rows, classes


def _stuff_brush(record, columns):
    """Return a `_Brush` that paints the class of each pixel of stuff."""
    stuff = record["stuff"].astype(np.int64)
    lowest, highest = int(stuff.min(initial=0)), int(stuff.max(initial=0))
    pixels = {"pixels": record["stuff_pixels"], "values": stuff - lowest}
    return _Brush(pixels, np.arange(lowest, highest + 1), SEMANTIC, columns, 0, _tile_numpy)

"""The record of a tile: its pixels, and its edge, which joins sources across tiles.

A *node* is what one tile sees of one source in its core and in the ring of one pixel around the
core. Two tiles share the pixels of a ring, so nodes that share a pixel there are one source.
"""

import numpy as np
from scipy import ndimage

from ..detection._touching import source_pixels, touching_groups

_EIGHT = np.ones((3, 3), dtype=bool)
NOWHERE = np.int64(np.iinfo(np.int64).max)


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
    pixels = source_pixels(labels)
    values = labels.ravel()[pixels].astype(np.int64)
    y, x = np.divmod(pixels, labels.shape[1])
    n_labels = int(values.max(initial=0))
    cut = _labels_at_edge(labels, read, shape, margin, n_labels)
    group = np.arange(n_labels + 1)
    if splits and n_labels:
        group = touching_groups(labels, pixels, values, n_labels)
        cut = np.isin(group, group[cut])
    y, x = y + read.y0, x + read.x0
    key = np.full(n_labels + 1, -1, dtype=np.int64)
    key[values[::-1]] = (y * shape[1] + x)[::-1]
    key[cut] = -1
    seen = core.grow(1, shape)
    inside = _is_inside(y, x, seen)
    y, x = y[inside], x[inside]
    nodes, old = _make_nodes(
        labels[seen.within(read)], values[inside], y - seen.y0, x - seen.x0, cut
    )
    record = {
        "key": key[old],
        "group": group[old],
        "cut": cut[old],
        "boxes": _boxes(y, x, nodes, len(old)),
        "measured": _measured_of_nodes(measured, old, cut),
    }
    record.update(_core_pixels(y, x, nodes, core, shape, len(old)))
    record.update(_seam(y, x, nodes, core, shape))
    return record


def _measured_of_nodes(measured, old, cut):
    """Numbers about the sources behind nodes; NaN for sources that are not seen whole."""
    if measured is None:
        return np.zeros((len(old), 0))
    numbers = measured[old - 1]
    numbers[cut[old]] = np.nan
    return numbers


def _is_inside(y, x, window):
    return (y >= window.y0) & (y < window.y1) & (x >= window.x0) & (x < window.x1)


def _labels_at_edge(labels, read, shape, margin, n_labels):
    """Labels that may continue beyond the trusted part of the read region: they reach its edge."""
    at_edge = np.zeros(n_labels + 1, dtype=bool)
    depth = margin + 1
    sides = (
        (read.y0 > 0, labels[:depth]),
        (read.y1 < shape[0], labels[-depth:]),
        (read.x0 > 0, labels[:, :depth]),
        (read.x1 < shape[1], labels[:, -depth:]),
    )
    for is_inner, strip in sides:
        if is_inner:
            at_edge[strip.ravel()] = True
    at_edge[0] = False
    return at_edge


def _make_nodes(view, values, y, x, cut):
    """Number the nodes 1…n; return the node of each pixel and the label of each node.

    A label that leaves the read region may owe its connection to pixels near the edge, which are
    not to be trusted: it is taken apart into its connected pieces here, and the ring joins what
    belongs together.
    """
    old = np.arange(len(cut))
    suspects = np.unique(values[cut[values]])
    if suspects.size:
        view, old = _take_apart(view, suspects, old)
        values = view[y, x]
    used = np.zeros(len(old), dtype=bool)
    used[values] = True
    used[0] = False
    return np.cumsum(used)[values], old[used]


def _take_apart(view, labels, old):
    view, old = view.astype(np.int64), old.tolist()
    windows = ndimage.find_objects(view, int(labels[-1]))
    for label in labels.tolist():
        window = windows[label - 1]
        parts, n_parts = ndimage.label(view[window] == label, structure=_EIGHT)
        for part in range(2, n_parts + 1):
            view[window][parts == part] = len(old)
            old.append(label)
    return view, np.array(old)


def _boxes(y, x, nodes, n_nodes):
    """Box of the visible part of each node: y0, x0, y1, x1. Pixels come in raster order."""
    boxes = np.zeros((n_nodes, 4), dtype=np.int64)
    index = nodes - 1
    boxes[index[::-1], 0] = y[::-1]
    boxes[index, 2] = y + 1
    boxes[:, 1] = NOWHERE
    np.minimum.at(boxes[:, 1], index, x)
    np.maximum.at(boxes[:, 3], index, x + 1)
    return boxes


def _core_pixels(y, x, nodes, core, shape, n_nodes):
    """Pixels of the core that belong to sources, and the first one of each node."""
    inside = _is_inside(y, x, core)
    y, x, nodes = y[inside], x[inside], nodes[inside]
    first = np.full(n_nodes + 1, NOWHERE)
    first[nodes[::-1]] = (y * shape[1] + x)[::-1]
    pixels = (y - core.y0) * core.shape[1] + x - core.x0
    if core.shape[0] * core.shape[1] <= np.iinfo(np.int32).max:
        pixels = pixels.astype(np.int32)  # half the memory and disk
    return {"pixels": pixels, "values": nodes.astype(np.int32), "first": first[1:]}


def _seam(y, x, nodes, core, shape):
    """Nodes on the outermost pixels of the core (border) and on those around it (ring)."""
    outside = ~_is_inside(y, x, core)
    border = (y == core.y0) | (y == core.y1 - 1) | (x == core.x0) | (x == core.x1 - 1)
    seam = {}
    for name, where in (("ring", outside), ("border", border & ~outside)):
        seam[f"{name}_index"] = y[where] * shape[1] + x[where]
        seam[f"{name}_value"] = nodes[where].astype(np.int32)
    return seam

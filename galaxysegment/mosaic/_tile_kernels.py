"""Kernels of the records of tiles: their pixels described, and painted into rows.

numba takes a while to import, so functions import this module.
"""

from .._utils.compiled import BARE, OPTIONS, njit


@njit(**BARE)
def is_within(y, x, window):
    """Whether a pixel lies in a window: y0, x0, y1, x1."""
    return window[0] <= y < window[2] and window[1] <= x < window[3]


@njit(**OPTIONS)
def see_pixels(pixels, values, place, windows, labels, seen):
    """Note what the labels of a read region look like, and list the pixels that are seen.

    Parameters
    ----------
    pixels : ndarray of int64
        Positions in the read region in raster order.
    values : ndarray of int32
        Their labels.
    place : tuple of int
        First row and column of the read region, its width, and the width of the mosaic.
    windows : tuple of tuple of int
        What is to be trusted, and what is seen.
    labels : tuple of ndarray, shape (n_labels + 1,)
        Filled in: whether a label has pixels that are not to be trusted; its first pixel in the
        mosaic, given as -1.
    seen : tuple of ndarray of int64
        Filled in: row, column and label of each pixel that is seen.

    Returns
    -------
    int
        Number of pixels that are seen.
    """
    top, left, width, whole_width = place
    trusted, window = windows
    (is_cut, first), (rows, columns, owners) = labels, seen
    n_seen, y, start = 0, top, 0
    for index in range(pixels.size):
        while pixels[index] >= start + width:
            y, start = y + 1, start + width
        x, label = left + pixels[index] - start, values[index]
        if first[label] < 0:
            first[label] = y * whole_width + x
        if not is_within(y, x, trusted):
            is_cut[label] = True
        if is_within(y, x, window):
            rows[n_seen], columns[n_seen], owners[n_seen] = y, x, label
            n_seen += 1
    return n_seen


@njit(**OPTIONS)
def list_nodes(seen, core, width, nodes, own, ring, border):
    """Fill in what a tile knows about its nodes, and the pixels of its core and its seam.

    Parameters
    ----------
    seen : tuple of ndarray of int64
        Row, column and node of each pixel that is seen, in raster order.
    core : tuple of int
    width : int
        Of the mosaic.
    nodes : tuple of ndarray
        Filled in: the box of each node, shape (n, 4), and its first pixel in the core. Both begin
        as numbers that are too large, the last rows and columns of boxes as 0.
    own, ring, border : tuple of ndarray
        Filled in: positions, in the core or in the mosaic, and nodes of the pixels of the core, of
        those around it, and of its outermost ones.

    Returns
    -------
    n_own, n_ring, n_border : int
    """
    (rows, columns, owners), (boxes, first) = seen, nodes
    y0, x0, y1, x1 = core
    n_own, n_ring, n_border = 0, 0, 0
    for index in range(rows.size):
        y, x, node = rows[index], columns[index], owners[index]
        box = boxes[node - 1]
        box[0], box[1] = min(box[0], y), min(box[1], x)
        box[2], box[3] = max(box[2], y + 1), max(box[3], x + 1)
        if not is_within(y, x, core):
            ring[0][n_ring], ring[1][n_ring] = y * width + x, node
            n_ring += 1
            continue
        first[node - 1] = min(first[node - 1], y * width + x)
        own[0][n_own], own[1][n_own] = (y - y0) * (x1 - x0) + x - x0, node
        n_own += 1
        if y == y0 or y == y1 - 1 or x == x0 or x == x1 - 1:
            border[0][n_border], border[1][n_border] = y * width + x, node
            n_border += 1
    return n_own, n_ring, n_border


@njit(**OPTIONS)
def paint_pixels(rows, columns, pixels, values, table, next_pixel, begin):
    """Paint pixels of a record into rows, from the `next_pixel`-th on.

    Parameters
    ----------
    rows : ndarray, shape (n_rows, width)
    columns : tuple of int
        First column that the record covers, and how many.
    pixels, values : ndarray of int
        Positions in raster order, and their nodes.
    table : ndarray
        What is painted for each node.
    next_pixel, begin : int
        Position of the first pixel of the rows.

    Returns
    -------
    int
        The first pixel below these rows, or -1 if a position or a node cannot be right.
    """
    x0, width = columns
    end = begin + len(rows) * width
    while next_pixel < pixels.size and pixels[next_pixel] < end:
        place, node = pixels[next_pixel] - begin, values[next_pixel]
        if place < 0 or node < 0 or node >= table.size:
            return -1
        rows[place // width, x0 + place % width] = table[node]
        next_pixel += 1
    return next_pixel

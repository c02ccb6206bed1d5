"""The same as the functions of `_tile_kernels`, by numpy, for images too small for numba to pay."""

import numpy as np


def see_pixels(pixels, values, place, windows, labels, seen):
    """Note what the labels of a read region look like, and list the pixels that are seen."""
    top, left, width, whole_width = place
    trusted, window = windows
    is_cut, first = labels
    y, x = np.divmod(pixels, width)
    y, x = y + top, x + left
    first[values[::-1]] = (y * whole_width + x)[::-1]
    is_cut[values[~_is_within(y, x, trusted)]] = True
    inside = np.flatnonzero(_is_within(y, x, window))
    for part, numbers in zip(seen, (y, x, values), strict=True):
        part[: len(inside)] = numbers[inside]
    return len(inside)


def list_nodes(seen, core, width, nodes, own, ring, border):
    """Fill in what a tile knows about its nodes, and the pixels of its core and its seam."""
    (y, x, owner), (boxes, first) = seen, nodes
    y0, x0, y1, x1 = core
    index, place = owner - 1, y * width + x
    for column, (extreme, numbers) in enumerate(
        ((np.minimum, y), (np.minimum, x), (np.maximum, y + 1), (np.maximum, x + 1))
    ):
        extreme.at(boxes[:, column], index, numbers)
    inside = _is_within(y, x, core)
    np.minimum.at(first, index[inside], place[inside])
    outermost = inside & ((y == y0) | (y == y1 - 1) | (x == x0) | (x == x1 - 1))
    counts = []
    for (places, owners), where, numbers in (
        (own, inside, (y - y0) * (x1 - x0) + x - x0),
        (ring, ~inside, place),
        (border, outermost, place),
    ):
        counts.append(np.count_nonzero(where))
        places[: counts[-1]], owners[: counts[-1]] = numbers[where], owner[where]
    return tuple(counts)


def paint_pixels(rows, columns, pixels, values, table, next_pixel, begin):
    """Paint pixels of a record into rows, from the `next_pixel`-th on."""
    x0, width = columns
    stop = int(np.searchsorted(pixels, begin + len(rows) * width))
    place, nodes = pixels[next_pixel:stop] - begin, values[next_pixel:stop]
    for numbers, end in ((place, len(rows) * width), (nodes, len(table))):
        if numbers.min(initial=0) < 0 or numbers.max(initial=-1) >= end:
            return -1
    y, x = np.divmod(place, width)
    rows[y, x0 + x] = table[nodes]
    return stop


def _is_within(y, x, window):
    return (y >= window[0]) & (y < window[2]) & (x >= window[1]) & (x < window[3])

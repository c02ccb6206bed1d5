"""Small pictures of sources at full resolution, for a page whose picture is coarser."""

import numpy as np

from ._pyramid import bin_pixels

_MARGIN = 8  # pixels around the box of a source
_LARGEST = 192  # pixels of a side; larger sources are averaged
_STRIP = 256  # rows
#: Bytes of a picture of n pixels: a head, and about a third of a byte per pixel in base64.
_HEAD, _PER_PIXEL = 800, 0.4


def choose_sources(boxes, order, budget):
    """Choose sources, in the order given, until their cutouts fill the budget.

    Parameters
    ----------
    boxes : ndarray of int, shape (n, 4)
    order : ndarray of int, shape (n,)
        Rows, the most important first.
    budget : float
        Bytes.

    Returns
    -------
    ndarray of int
        Rows, increasing.
    """
    sides = np.minimum(boxes[:, 2:] - boxes[:, :2] + 2 * _MARGIN, _LARGEST)
    sizes = _HEAD + _PER_PIXEL * sides[:, 0] * sides[:, 1]
    fits = np.cumsum(sizes[order]) <= budget
    return np.sort(order[fits])


def paint_cutouts(painter, boxes, rows, budget):
    """Paint sources at full resolution, strip by strip.

    Parameters
    ----------
    painter : Painter
    boxes : ndarray of int, shape (n, 4)
    rows : ndarray of int
        Which sources.
    budget : float
        Bytes; sources after it is used up get no picture.

    Returns
    -------
    pictures : list of n str
        JPEG in base64; empty for a source without a picture.
    places : ndarray of int32, shape (n, 5)
        ``y0, x0, y1, x1`` of each picture, and the pixels a side that become one.
    """
    height, width = painter.pixels.shape
    pictures, places = [""] * len(boxes), np.zeros((len(boxes), 5), dtype=np.int32)
    rows = rows[np.argsort(boxes[rows, 0], kind="stable")]
    starts = boxes[rows, 0]
    for y0 in range(0, height, _STRIP):
        y1 = min(y0 + _STRIP, height)
        members = rows[np.searchsorted(starts, y0) : np.searchsorted(starts, y1)]
        frames = _frames(boxes[members], (height, width))
        small = frames[:, 4] == 1
        if small.any():
            top, bottom = int(frames[small, 0].min()), int(frames[small, 2].max())
            strip = painter.read(slice(top, bottom), slice(0, width))
        for index, frame in zip(members.tolist(), frames.tolist(), strict=True):
            f0, g0, f1, g1, step = frame
            if step == 1:
                values = strip[:, f0 - top : f1 - top, g0:g1]
            else:
                values = _averaged(painter, frame)
            picture = painter.encode(values)
            budget -= len(picture)
            if budget < 0:
                return pictures, places
            pictures[index], places[index] = picture, frame
    return pictures, places


def _averaged(painter, frame):
    """Read a large frame in blocks of rows and average squares of pixels."""
    y0, x0, y1, x1, step = frame
    n_rows = max(1, _STRIP // step) * step
    blocks = [
        bin_pixels(painter.read(slice(top, min(top + n_rows, y1)), slice(x0, x1)), step)
        for top in range(y0, y1, n_rows)
    ]
    return np.concatenate(blocks, axis=1)


def _frames(boxes, shape):
    """Return the frames around boxes, within the image, and how many pixels a side become one."""
    low = np.maximum(boxes[:, :2] - _MARGIN, 0)
    high = np.minimum(boxes[:, 2:] + _MARGIN, np.array(shape))
    step = np.maximum(1, -(-(high - low).max(axis=1, initial=1) // _LARGEST))
    return np.concatenate([low, high, step[:, None]], axis=1)

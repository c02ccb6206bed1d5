"""Sources given by a table of positions instead of masks."""

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from ..structures import Instances
from ._blends import nearest_pixels, smooth_light

_LEAST_RADIUS = 3  # pixels: of the mask of a source that does not stand out
_LEAST_DISTANCE = 0.5  # pixels between two sources
#: Pixels from a position to the edge of its mask.
MOST_RADIUS = 32


def check_positions(table, shape, name):
    """Return the ``y, x`` of a table's rows, shape (n, 2).

    Raises
    ------
    ValueError
        If there are no columns ``x`` and ``y``, or a position is not finite, outside the image, or
        less than half a pixel from another.
    """
    missing = {"x", "y"} - set(table.colnames)
    if missing:
        raise ValueError(
            f"{name} is a table without the column(s) {sorted(missing)}: positions are 0-based "
            "pixels, in "
            f"columns 'x' and 'y'. It has {table.colnames}."
        )
    columns = (getattr(table[axis], "value", table[axis]) for axis in ("y", "x"))
    places = np.stack(
        [np.ma.filled(np.ma.asarray(c, dtype=float), np.nan) for c in columns], axis=1
    )
    inside = (places > -0.5) & (places < np.array(shape) - 0.5)
    if not inside.all():
        row = int(np.flatnonzero(~inside.all(axis=1))[0])
        y, x = places[row]
        raise ValueError(
            f"{name} has a source at x={x:.6g}, y={y:.6g} (row {row}), outside the image of shape "
            f"{tuple(shape)}: remove it, or check that positions are 0-based pixels."
        )
    pairs = cKDTree(places).query_pairs(_LEAST_DISTANCE) if len(places) > 1 else set()
    if pairs:
        first, second = min(pairs)
        raise ValueError(
            f"{name} has two sources within {_LEAST_DISTANCE} pixels of each other (rows {first} "
            f"and {second}): "
            "nothing tells their light apart. Keep one of them."
        )
    return places


def masks_at(places, smooth, noise):
    """Make a mask around each position: the pixels in the light that holds it.

    Parameters
    ----------
    places : ndarray of shape (n, 2)
    smooth, noise : ndarray of shape (height, width)
        The image from `smooth_light`, and the RMS.

    Returns
    -------
    Instances
        Pixels above 1 RMS in the smoothed image that are connected with the position within 32
        pixels of it, and a disk with a radius of 3 pixels. Sources in one patch of light share its
        pixels.
    """
    boxes, crops = [], []
    for (y, x), (row, column) in zip(places, nearest_pixels(places).tolist(), strict=True):
        y0, x0 = max(row - MOST_RADIUS, 0), max(column - MOST_RADIUS, 0)
        window = (slice(y0, row + MOST_RADIUS + 1), slice(x0, column + MOST_RADIUS + 1))
        rows, columns = np.ogrid[window]
        rows, columns = rows[: smooth.shape[0] - y0], columns[:, : smooth.shape[1] - x0]
        distance = np.hypot(rows - y, columns - x)
        mask = distance <= _LEAST_RADIUS
        bright = (smooth[window] > noise[window]) & (distance <= MOST_RADIUS)
        if bright[row - y0, column - x0]:
            pieces, _ = ndimage.label(bright)
            mask |= pieces == pieces[row - y0, column - x0]
        used = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        (top, bottom), (left, right) = ((span[0], span[-1] + 1) for span in used)
        boxes.append((y0 + top, x0 + left, y0 + bottom, x0 + right))
        crops.append(mask[top:bottom, left:right])
    return Instances(smooth.shape, boxes, crops)


def masks_of_parts(separated_boxes, parts, places, noise, shape):
    """Masks of separated sources: where a part exceeds 1 RMS, connected with its centre.

    Parameters
    ----------
    separated_boxes : ndarray of int, shape (n, 4)
    parts : list of ndarray of shape (box height, box width)
        Light of each source in the detection image.
    places : ndarray of shape (n, 2)
    noise : ndarray of shape (height, width)
    shape : tuple of int

    Returns
    -------
    Instances
    """
    boxes, crops = [], []
    for (y0, x0, y1, x1), part, (y, x) in zip(separated_boxes.tolist(), parts, places, strict=True):
        row, column = (nearest_pixels((y, x)) - (y0, x0)).tolist()
        bright = smooth_light(part) > noise[y0:y1, x0:x1]
        bright[row, column] = True
        pieces, _ = ndimage.label(bright)
        mask = pieces == pieces[row, column]
        window = ndimage.find_objects(mask.astype(np.int8))[0]
        top, left = window[0].start, window[1].start
        boxes.append((y0 + top, x0 + left, y0 + window[0].stop, x0 + window[1].stop))
        crops.append(mask[window])
    return Instances(shape, boxes, crops)

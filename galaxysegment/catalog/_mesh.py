"""The background of a catalog: the sky between its sources, on a mesh of boxes."""

import numpy as np
from scipy import ndimage

from ..detection._background import box_statistics, meshes_of_boxes, used_boxes
from ..detection._objects import boxes_of_objects

_BOX = 50  # pixels of the side of a box
_RIM = 3  # pixels around a source that are left out, too: its light goes on below the threshold
_FILTER = 3  # boxes of the side of the median filter
_LOST = 15  # percent of its pixels that a box can lose to sources, and to clipping
_BLOCK = 1 << 22  # pixels of a block of rows


def sky_between(own, pixels):
    """Return a function that gives the background of a window, of all bands.

    Pixels of sources do not count, nor do boxes that sources fill or in which a large galaxy goes
    on beyond its mask. They are filled from their neighbours, about a plane, so that a sky that
    rises evenly is filled right. In a crowded field, in which most boxes lose more than 15 % of
    their pixels, the better half of the boxes counts.

    Parameters
    ----------
    own : LabelSource or InstanceSource
    pixels : FieldPixels or ArrayPixels
    """
    box = tuple(min(_BOX, side) for side in pixels.shape)
    bands = [
        _mesh(dtype, np.concatenate(strips, axis=2), box, pixels.shape)
        for dtype, strips in _measure(own, pixels, box)
    ]

    def window(rows, columns):
        return np.stack(
            [mesh.window(rows.start, rows.stop, columns.start, columns.stop) for mesh in bands]
        )

    return window


def _measure(own, pixels, box):
    """Statistics of the boxes with and without the sources, as dtype and strips of each band."""
    height, width = pixels.shape
    step = box[0] * max(1, _BLOCK // (box[0] * width))
    measured = []
    for y0 in range(0, height, step):
        y1 = min(y0 + step, height)
        image = pixels.read_parts(slice(y0, y1), slice(0, width))[0]
        covered = _covered(own, y0, y1, pixels.shape)
        measured = measured or [(band.dtype, []) for band in image]
        for band, (_, strips) in zip(image, measured, strict=True):
            whole = box_statistics(band, box, n_all=height * width)
            free = whole
            if covered.any():
                free = box_statistics(band, box, covered, n_all=height * width)
            strips.append(np.stack([whole, free]))
    return measured


def _covered(own, y0, y1, shape):
    """Which pixels of some rows belong to sources, or are near to them."""
    top, bottom = max(0, y0 - _RIM), min(shape[0], y1 + _RIM)
    covered = own.labels(slice(top, bottom), slice(0, shape[1])) > 0
    return ndimage.binary_dilation(covered, iterations=_RIM)[y0 - top : y1 - top]


def _mesh(dtype, statistics, box, shape):
    """Make the `MeshMap` of a band from the statistics of its boxes with and without sources."""
    whole, free = statistics
    used = used_boxes(whole, box, _LOST)
    objects = boxes_of_objects(*whole[:2], used)
    sky = used & ~objects if (used & ~objects).any() else used
    if not (free[2][sky] > 0).any():
        free = whole  # nothing but sources
    left = np.median(free[2][sky]) / (box[0] * box[1]) if sky.any() else 0.0
    lost = max(_LOST, 100 * (1 - left) + 1e-6)  # a little more: the median box itself counts
    return meshes_of_boxes(free, box, dtype, _FILTER, lost, shape, objects)[0]

"""The sky between known sources, on a mesh of boxes: large galaxies keep their light."""

import numpy as np
from scipy import ndimage

from ._background import box_statistics, meshes_of_boxes, used_boxes
from ._objects import boxes_of_objects

_BOX = 50  # pixels of the side of a box
_RIM = 3  # pixels around a source that are left out, too: its light goes on below the threshold
_FILTER = 3  # boxes of the side of the median filter
_LOST = 15  # percent of its pixels that a box can lose to sources, and to clipping
_BLOCK = 1 << 22  # pixels of a block of rows


def sky_between(image, covered):
    """Estimate the sky of an image in memory; see `skies_of_boxes`.

    Parameters
    ----------
    image : ndarray of float, shape (n_bands, height, width)
        NaN means "no data".
    covered : ndarray of bool, shape (height, width)
        Pixels of sources.

    Returns
    -------
    ndarray, shape (n_bands, height, width)
        In the dtype of the image.
    """
    shape = covered.shape
    boxes = measure_rows(image, lambda rows, columns: covered[rows, columns], 0, shape)
    meshes = skies_of_boxes([boxes], [band.dtype for band in image], shape)
    return sky_window(meshes, 0, shape[0], 0, shape[1])


def blocks_of_rows(shape):
    """Return ``(y0, y1)`` of blocks of whole boxes that hold all rows of a mosaic."""
    height, width = shape
    side = _box(shape)[0]
    step = side * max(1, _BLOCK // (side * width))
    return [(y0, min(y0 + step, height)) for y0 in range(0, height, step)]


def measure_rows(image, read_covered, y0, shape):
    """Measure the boxes of a block of rows, with the sources and without.

    Parameters
    ----------
    image : sequence of ndarray of float, shape (y1 - y0, width)
        The rows of each band; NaN means "no data".
    read_covered : callable
        ``read_covered(rows, columns)`` tells which pixels of a window belong to sources.
    y0 : int
        First row, a multiple of the side of a box.
    shape : tuple of int
        ``(height, width)`` of the mosaic.

    Returns
    -------
    list of ndarray, shape (2, 3, n_boxes_y, n_boxes_x)
        For each band, `box_statistics` of all pixels, and of those that no source covers.
    """
    height, width = shape
    y1 = y0 + len(image[0])
    top, bottom = max(0, y0 - _RIM), min(height, y1 + _RIM)
    covered = read_covered(slice(top, bottom), slice(0, width))
    covered = ndimage.binary_dilation(covered, iterations=_RIM)[y0 - top : y1 - top]
    measured = []
    for band in image:
        whole = free = box_statistics(band, _box(shape), n_all=height * width)
        if covered.any():
            free = box_statistics(band, _box(shape), covered, n_all=height * width)
        measured.append(np.stack([whole, free]))
    return measured


def skies_of_boxes(blocks, dtypes, shape):
    """Make the `MeshMap` of the sky of each band.

    Pixels of sources do not count, nor do boxes that sources fill or in which a large galaxy goes
    on beyond its mask. They are filled from their neighbours, about a plane, so that a sky that
    rises evenly is filled right. In a crowded field, in which most boxes lose more than 15 % of
    their pixels, the better half of the boxes counts.

    Parameters
    ----------
    blocks : list of list of ndarray
        What `measure_rows` returned for each of `blocks_of_rows`.
    dtypes : list of dtype
        Of the bands.
    shape : tuple of int
        ``(height, width)`` of the mosaic.
    """
    strips = [np.concatenate(of_band, axis=2) for of_band in zip(*blocks, strict=True)]
    return [_mesh(*each, _box(shape), shape) for each in zip(strips, dtypes, strict=True)]


def sky_window(meshes, y0, y1, x0, x1):
    """Return the sky of all bands on a window (half-open), shape (n_bands, height, width)."""
    return np.stack([mesh.window(y0, y1, x0, x1) for mesh in meshes])


def _box(shape):
    return tuple(min(_BOX, side) for side in shape)


def _mesh(statistics, dtype, box, shape):
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

"""Add up the pixels of the sources of a label map in one pass.

numba takes a second to import, so this module is imported inside functions.
"""

import numpy as np

from .._utils.compiled import OPTIONS, njit


@njit(**OPTIONS)
def add_rows(labels, inner, top, brightness, image, noise, missing, sums):
    """Add the pixels of some rows of a label map to the sums of its sources.

    Parameters
    ----------
    labels : ndarray of int, shape (height, width)
        Rows of the label map, with a row more on each side if there is one.
    inner : tuple of int
        The rows to add up, first and last + 1.
    top : int
        Row of the image that is ``labels[0]``.
    brightness : ndarray of float, shape (height, width)
        Mean of the bands; NaN is "no data".
    image : ndarray of float, shape (n_bands, height, width)
    noise : ndarray of float, shape (n_bands or 1, height, width)
        Of shape (0, 0, 0) without an RMS map.
    missing : ndarray of bool, shape (height, width)
        Pixels without data in a band; of shape (0, 0) if all have data.
    sums : tuple of ndarray
        Of `SourceSums`, changed in place: ``area``, ``first``, ``box``, ``moments``, ``flux``,
        ``variance``, ``missing``, ``peak``, ``peak_place`` and ``flags``.
    """
    area, first, box, moments, flux, variance, without, peak, peak_place, flags = sums
    width = labels.shape[1]
    n_bands, n_noises = image.shape[0], noise.shape[0]
    for row in range(inner[0], inner[1]):
        y = row + top
        for x in range(width):
            if labels[row, x] <= 0:
                continue
            source = labels[row, x] - 1
            if area[source] == 0:
                first[source, 0], first[source, 1] = y, x
            area[source] += 1
            _stretch(box, source, y, x)
            value = np.float64(brightness[row, x])
            dy, dx = float(y - first[source, 0]), float(x - first[source, 1])
            _add_moments(moments, source, value, dy, dx)
            if value > peak[source]:
                peak[source], peak_place[source, 0], peak_place[source, 1] = value, y, x
            for band in range(n_bands):
                if image[band, row, x] != image[band, row, x]:
                    without[band, source] += 1
                    continue
                flux[band, source] += image[band, row, x]
                if n_noises:
                    spread = np.float64(noise[band if n_noises > 1 else 0, row, x])
                    variance[band, source] += spread * spread
            if missing.size and not flags[0, source]:
                flags[0, source] = _touches_missing(missing, row, x)
            if not flags[1, source]:
                flags[1, source] = _touches_others(labels, row, x)


@njit(**OPTIONS)
def _stretch(box, source, y, x):
    """Make the box of a source hold a pixel of a later row."""
    box[source, 0] = min(box[source, 0], y)
    box[source, 1] = min(box[source, 1], x)
    box[source, 2] = max(box[source, 2], y + 1)
    box[source, 3] = max(box[source, 3], x + 1)


@njit(**OPTIONS)
def _add_moments(moments, source, value, dy, dx):
    """Add a pixel to the sums over the brightness, and to those over the area."""
    weight = value if value > 0 else 0.0
    moments[0, source] += weight
    moments[1, source] += weight * dy
    moments[2, source] += weight * dx
    moments[3, source] += weight * (dy * dy)
    moments[4, source] += weight * (dx * dx)
    moments[5, source] += weight * (dy * dx)
    moments[6, source] += dy
    moments[7, source] += dx
    moments[8, source] += dy * dy
    moments[9, source] += dx * dx
    moments[10, source] += dy * dx


@njit(**OPTIONS)
def _touches_missing(missing, row, x):
    """Whether a pixel, or a neighbour of it, has no data."""
    for near in range(max(0, row - 1), min(missing.shape[0], row + 2)):
        for beside in range(max(0, x - 1), min(missing.shape[1], x + 2)):
            if missing[near, beside]:
                return True
    return False


@njit(**OPTIONS)
def _touches_others(labels, row, x):
    """Whether a neighbour of a pixel belongs to another source."""
    own = labels[row, x]
    for near in range(max(0, row - 1), min(labels.shape[0], row + 2)):
        for beside in range(max(0, x - 1), min(labels.shape[1], x + 2)):
            other = labels[near, beside]
            if other != 0 and other != own:  # noqa: PLR1714  (numba mixes no types in a tuple)
                return True
    return False

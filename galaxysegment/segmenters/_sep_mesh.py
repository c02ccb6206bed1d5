"""The background that sep finds in a whole mosaic: box by box, then as a map of any window."""

from copy import copy
from functools import lru_cache
from math import isqrt

import numpy as np
from scipy import ndimage, sparse

from .._utils.compiling import compiling_pays
from ..detection._background import rows_of

_FEWEST = 0.5  # of a box's pixels: with fewer, sep does not trust the box


def measure_boxes(sep, image, no_data, box, n_all=0):
    """Background, noise and trust of each box: shape (3, n_boxes_y, n_boxes_x).

    Parameters
    ----------
    sep : module
    image : ndarray of float, shape (height, width)
        C-ordered, any number where there are no data; compiled functions take NaN for no data, too.
    no_data : ndarray of bool, shape (height, width), or None
    box : tuple of int
        Height and width of a box.
    n_all : int
        Pixels of the mosaic that the image is a part of: compiled functions give the same numbers,
        but pay for many pixels only.
    """
    rows, columns = (range(0, side, step) for side, step in zip(image.shape, box, strict=True))
    meshes = np.zeros((3, len(rows), len(columns)))
    if no_data is not None and not no_data.any():
        no_data = None
    if compiling_pays(max(n_all, image.size)):
        from ..detection._box_kernels import sep_boxes

        sep_boxes(image, np.zeros((0, 0), dtype=bool) if no_data is None else no_data, *box, meshes)
        return meshes
    for row, y in enumerate(rows):
        for column, x in enumerate(columns):
            window = slice(y, y + box[0]), slice(x, x + box[1])
            pixels, mask = np.ascontiguousarray(image[window]), None
            if no_data is not None and no_data[window].any():
                mask = np.ascontiguousarray(no_data[window])
                if np.count_nonzero(~mask) < _FEWEST * mask.size:
                    continue
            # The mean of a single box is the value that sep gives this box in the whole image.
            n_rows, n_columns = pixels.shape
            measured = sep.Background(pixels, mask=mask, bw=n_columns, bh=n_rows, fw=1, fh=1)
            meshes[:, row, column] = measured.globalback, measured.globalrms, 1
    return meshes


class MosaicBackground:
    """Stands in for `sep.Background` of the whole image, seen through a window.

    Parameters
    ----------
    measured : ndarray of shape (3, n_boxes_y, n_boxes_x)
        As of `measure_boxes`.
    box : tuple of int
        Height and width of a box.
    filter_size : int
        Side of the median filter in boxes, odd.
    """

    def __init__(self, measured, box, filter_size):
        level, noise, trusted = measured
        level, noise = _fill(level, noise, trusted > 0)
        level, noise = (_median_filter(mesh, filter_size // 2) for mesh in (level, noise))
        self.globalback, self.globalrms = float(np.median(level)), float(np.median(noise))
        self._splines = [_Spline(mesh, box) for mesh in (level, noise)]
        self._window = None

    def at(self, y0, x0, shape):
        """Return the background of the window of `shape` that begins at a pixel."""
        placed = copy(self)
        placed._window = y0, y0 + shape[0], x0, x0 + shape[1]
        return placed

    def rows(self):
        """Return what `_map_kernels.map_row` needs for the background and the noise."""
        y0, y1, x0, x1 = self._window
        used, lines, weights = rows_of(self._splines[0].along(y0, y1))  # the same for the noise
        limits = np.float32(-np.inf), np.float32(np.inf), np.float32(0)
        return tuple(
            (lines, weights, spline.columns(x0, x1, used), *limits) for spline in self._splines
        )

    def back(self, dtype=np.float32):
        """Background map."""
        return self._splines[0].window(*self._window).astype(dtype)

    def rms(self, dtype=np.float32):
        """Noise map."""
        return self._splines[1].window(*self._window).astype(dtype)

    def subfrom(self, image):
        """Subtract the background from an image, in place."""
        image -= self.back(image.dtype)


def _fill(level, noise, trusted):
    """Fill boxes that are not trusted with the mean of the nearest trusted boxes."""
    if trusted.all():
        return level, noise
    if not trusted.any():
        return np.zeros_like(level), np.ones_like(noise)
    is_bad = ~trusted
    nearest = ndimage.distance_transform_edt(is_bad, return_distances=False, return_indices=True)
    bad = np.argwhere(is_bad)
    squares = ((nearest[:, is_bad].T - bad) ** 2).sum(axis=1)
    filled = level.copy(), noise.copy()
    for square in np.unique(squares).tolist():
        places = bad[squares == square]
        sums, n_near = np.zeros((2, len(places))), np.zeros(len(places))
        for shift in _shifts(square):
            y, x = (places + shift).T
            is_near = (y >= 0) & (y < trusted.shape[0]) & (x >= 0) & (x < trusted.shape[1])
            y, x = np.where(is_near, y, 0), np.where(is_near, x, 0)
            is_near &= trusted[y, x]
            sums += np.where(is_near, (level[y, x], noise[y, x]), 0)
            n_near += is_near
        for mesh, total in zip(filled, sums, strict=True):
            mesh[*places.T] = total / n_near
    return filled


def _shifts(square):
    """List all steps ``(dy, dx)`` of a squared length in whole boxes, row by row."""
    reach = isqrt(square)
    sides = {dy: isqrt(square - dy * dy) for dy in range(-reach, reach + 1)}
    return [
        (dy, dx)
        for dy, side in sides.items()
        if dy * dy + side * side == square
        for dx in sorted({-side, side})
    ]


def _median_filter(mesh, reach):
    """Median of the boxes around each box; the window shrinks at the border of the image."""
    filtered = mesh.copy()
    depth = [np.minimum(reach, np.minimum(np.arange(n), n - 1 - np.arange(n))) for n in mesh.shape]
    for down in np.unique(depth[0]).tolist():
        for across in np.unique(depth[1]).tolist():
            rows, columns = np.flatnonzero(depth[0] == down), np.flatnonzero(depth[1] == across)
            around = np.lib.stride_tricks.sliding_window_view(mesh, (2 * down + 1, 2 * across + 1))
            windows = around[np.ix_(rows - down, columns - across)]
            filtered[np.ix_(rows, columns)] = np.median(windows, axis=(2, 3))
    return filtered


class _Spline:
    """Bicubic spline through the boxes, with the curvatures that sep gives it."""

    def __init__(self, mesh, box):
        self._box, self._shape = box, mesh.shape
        if mesh.shape[0] > 1:
            mesh = np.concatenate([mesh, _curvatures(mesh)])
            curvatures = _curvatures(mesh.T).T
        else:
            curvatures = np.zeros_like(
                mesh
            )  # sep draws straight lines along x through a single row of boxes
        if mesh.shape[1] > 1:
            mesh = np.concatenate([mesh, curvatures], axis=1)
        self._nodes = mesh

    def window(self, y0, y1, x0, x1):
        """Return the map on rows ``y0…y1`` and columns ``x0…x1`` (half-open)."""
        return self.along(y0, y1) @ self.columns(x0, x1)

    def along(self, y0, y1):
        """Weights of the lines of nodes in rows ``y0…y1``."""
        # Half a pixel of difference between the axes: that is where sep puts the centres of boxes.
        return _weights(y0, y1, 0.0, self._box[0], self._shape[0]).astype(np.float32)

    def columns(self, x0, x1, lines=slice(None)):
        """The lines of nodes along x, shape (n_lines, x1 - x0)."""
        across = _weights(x0, x1, 0.5, self._box[1], self._shape[1])
        return np.ascontiguousarray((across @ self._nodes[lines].T).T, dtype=np.float32)


@lru_cache(maxsize=32)
def _weights(start, stop, centre, box, n_boxes):
    """Sparse matrix of the weights of the two boxes around each pixel of a line."""
    if n_boxes == 1:
        return sparse.csr_array(np.ones((stop - start, 1)))
    position = (np.arange(start, stop) + centre) / box - 0.5
    first = np.clip(np.floor(position).astype(np.int64), 0, n_boxes - 2)
    t = position - first
    s = 1 - t
    weights = np.stack([s, t, s**3 - s, t**3 - t], axis=1)
    index = first[:, None] + np.array([0, 1, n_boxes, n_boxes + 1])
    pointers = np.arange(0, 4 * len(position) + 1, 4)
    return sparse.csr_array(
        (weights.ravel(), index.ravel(), pointers), shape=(len(position), 2 * n_boxes)
    )


def _curvatures(mesh):
    """A sixth of the second derivatives along the first axis, by sep's recursion, zero at the ends.

    It differs from that of a natural spline by a division by 6 too many on the way back.
    """
    n_boxes = len(mesh)
    factor, forward, curvatures = np.zeros(n_boxes), np.zeros(mesh.shape), np.zeros(mesh.shape)
    for row in range(1, n_boxes - 1):
        factor[row] = -1 / (factor[row - 1] + 4)
        bend = mesh[row + 1] + mesh[row - 1] - 2 * mesh[row]
        forward[row] = factor[row] * (forward[row - 1] - 6 * bend)
    for row in range(n_boxes - 2, 0, -1):
        curvatures[row] = (factor[row] * curvatures[row + 1] + forward[row]) / 6
    return curvatures

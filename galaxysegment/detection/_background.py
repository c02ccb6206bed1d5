"""Background and noise of an image on a mesh of boxes, equal to photutils' `Background2D`.

The statistics of a box need one sort: what sigma clipping keeps is a range of the sorted pixels,
whose ends are bisected for all boxes at once. The maps are cubic splines of the small mesh,
evaluated for any window when asked for, so that a mosaic's maps never exist in memory as a whole.
"""

from copy import copy
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np
from scipy import ndimage, sparse

from .._utils.compiling import compiling_pays

_CLIP = 3.0
_MAX_CLIPS = 10
_MAX_FITS = 20
_ROUNDING = 1e-12  # share of the heights that a plane misses because of rounding
_MILD = 2.385 * 1.4826  # the customary width of a Cauchy weight in median absolute deviations
_BLOCK = 1 << 18  # pixels that are worked on at once: what fits in the cache


def background_maps(
    image, *, box_size=50, filter_size=3, exclude_percentile=15, plane=False, mask=None
):
    """Estimate the background of an image and its RMS.

    In each box: median and standard deviation of the pixels that a clipping at 3 sigma leaves.
    Boxes with too few pixels left are filled from their neighbours, the mesh is median-filtered,
    and a bicubic spline brings it to the size of the image.

    Parameters
    ----------
    image : ndarray of float, shape (height, width)
        NaN means "no data".
    box_size : int, default=50
        Side of a box in pixels; cut to the image where that is smaller.
    filter_size : int, default=3
        Side of the median filter in boxes, odd.
    exclude_percentile : float, default=15
        A box with more than this percentage of its pixels missing or clipped is not used. Where no
        box would be left, all boxes with any pixel are used.
    plane : bool, default=False
        Whether a plane is taken through the boxes of the background first, and the mesh is that of
        the rest.
    mask : ndarray of bool, shape (height, width), optional
        Pixels to leave out.

    Returns
    -------
    background, rms : ndarray, shape (height, width)
        In the dtype of the image, defined on every pixel; NaN everywhere if the image has no data.
    """
    options = {
        "box_size": box_size,
        "filter_size": filter_size,
        "exclude_percentile": exclude_percentile,
    }
    meshes = background_meshes(image, **options, plane=plane, mask=mask)
    height, width = image.shape
    return tuple(mesh.window(0, height, 0, width) for mesh in meshes)


def background_meshes(
    image, *, box_size=50, filter_size=3, exclude_percentile=15, plane=False, mask=None
):
    """Estimate the background and its RMS as two `MeshMap`; parameters as of `background_maps`."""
    image = np.asarray(image)
    box = tuple(min(box_size, side) for side in image.shape)
    statistics = box_statistics(image, box, mask)
    plane_over = image.shape if plane else None
    return meshes_of_boxes(
        statistics, box, image.dtype, filter_size, exclude_percentile, plane_over
    )


def used_boxes(statistics, box, exclude_percentile):
    """Boxes of which enough pixels are left; if none has, all with any pixel."""
    n_left = statistics[2]
    used = (n_left > (1 - exclude_percentile / 100) * (box[0] * box[1])) & (n_left > 0)
    return used if used.any() else n_left > 0


def meshes_of_boxes(
    statistics, box, dtype, filter_size, exclude_percentile, plane_over=None, objects=None
):
    """Make the two `MeshMap` of what `box_statistics` measured, at once or strip by strip.

    With the shape of an image as `plane_over`, a plane is taken through the background's boxes
    first. Boxes marked in `objects` do not count if others do.
    """
    background, rms, _ = statistics
    used = used_boxes(statistics, box, exclude_percentile)
    if objects is not None and (used & ~objects).any():
        used &= ~objects
    plane = None
    if plane_over is not None and used.any():
        centres = _box_centres(box, plane_over)
        plane = fit_plane(background, used, *centres)
        background = background - plane.at(*centres)
    if not used.any():
        nothing = np.full(used.shape, np.nan)
        return MeshMap(nothing, box, dtype), MeshMap(nothing, box, dtype)
    meshes = [mesh.astype(dtype) for mesh in (background, rms)]
    if not used.all():
        meshes = _fill_unused(meshes, used)
    level, noise = (_median_filter(mesh, filter_size) for mesh in meshes)
    return MeshMap(level, box, dtype, plane), MeshMap(noise, box, dtype)


class MeshMap:
    """A small mesh of boxes seen as a map of the image's size, evaluated where it is asked for.

    Parameters
    ----------
    mesh : ndarray of shape (n_boxes_y, n_boxes_x)
        Value of each box, NaN nowhere (or everywhere).
    box : tuple of int
        Height and width of a box in pixels.
    dtype : dtype
        Of the maps.
    plane : Plane, optional
        What comes on top.
    """

    def __init__(self, mesh, box, dtype, plane=None):
        self.mesh, self.box, self.dtype, self.plane = mesh, box, np.dtype(dtype), plane
        self._lowest, self._span = mesh.min(), np.ptp(mesh)
        coefficients = ndimage.spline_filter(mesh.astype(np.float64), order=3, mode="reflect")
        # Above the lowest box, lest a large pedestal costs precision where the dtype is small. Not
        # before the filter: scipy's is off by 1e-5 of the pedestal at the borders, and so are
        # photutils' maps.
        self._coefficients = coefficients - self._lowest
        self._across = None, None
        self._corner = 0, 0

    def at(self, y0, x0):
        """Return the map as seen from a pixel, which becomes row 0 and column 0 of `window`."""
        placed = copy(self)
        placed._corner = y0, x0
        return placed

    def window(self, y0, y1, x0, x1):
        """Return the map on rows ``y0…y1`` and columns ``x0…x1`` (half-open)."""
        y0, y1 = y0 + self._corner[0], y1 + self._corner[0]
        x0, x1 = x0 + self._corner[1], x1 + self._corner[1]
        background = self._spline(y0, y1, x0, x1)
        if self.plane is not None:
            background += self.plane.at(np.arange(y0, y1)[:, None], np.arange(x0, x1)).astype(
                self.dtype
            )
        return background

    def rows(self, height, width):
        """Return what `_map_kernels.map_row` needs for a window at the corner of this map.

        None if a plane comes on top.
        """
        if self.plane is not None:
            return None
        (y0, x0), dtype = self._corner, self.dtype.type
        along = spline_weights(y0, y0 + height, self.box[0], self.mesh.shape[0]).astype(self.dtype)
        limits = dtype(0), dtype(self._span), dtype(self._lowest)
        used, lines, weights = rows_of(along)
        return lines, weights, self._columns(x0, x0 + width, used), *limits

    def _spline(self, y0, y1, x0, x1):
        """The interpolated mesh; the arguments are pixels of the whole map."""
        if not self._span > 0:  # a constant stays exactly constant, as in photutils
            return np.full((y1 - y0, x1 - x0), self._lowest, dtype=self.dtype)
        along = spline_weights(y0, y1, self.box[0], self.mesh.shape[0]).astype(self.dtype)
        known, columns = self._across  # kept until x changes
        if known != (x0, x1):
            columns = self._columns(x0, x1)
            self._across = (x0, x1), columns
        background = along @ columns
        np.clip(background, 0, self._span, out=background)
        background += self._lowest
        return background

    def _columns(self, x0, x1, lines=slice(None)):
        """The spline evaluated along x, shape (n_lines, x1 - x0)."""
        weights = spline_weights(x0, x1, self.box[1], self.mesh.shape[1])
        columns = (weights @ self._coefficients[lines].T).T
        return np.ascontiguousarray(columns, dtype=self.dtype)


class Plane(NamedTuple):
    """What rises by so much a pixel along y and x, and is zero at the centre."""

    rise: np.ndarray
    centre: np.ndarray

    def at(self, y, x):
        return self.rise[0] * (y - self.centre[0]) + self.rise[1] * (x - self.centre[1])


@lru_cache(maxsize=16)
def spline_weights(start, stop, box, n_boxes):
    """Sparse matrix of the cubic B-spline weights of `n_boxes` coefficients at ``start…stop``.

    Pixels are centred as in `scipy.ndimage.zoom` with ``grid_mode=True, mode="reflect"``.
    """
    position = (np.arange(start, stop) + 0.5) / box - 0.5
    first = np.floor(position).astype(np.int64)
    t = position - first
    weights = (
        np.stack(
            [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3], axis=1
        )
        / 6
    )
    index = (first[:, None] + np.arange(-1, 3)) % (2 * n_boxes)
    index = np.minimum(index, 2 * n_boxes - 1 - index)
    n_rows = stop - start
    pointers = np.arange(0, 4 * n_rows + 1, 4)
    return sparse.csr_array((weights.ravel(), index.ravel(), pointers), shape=(n_rows, n_boxes))


def rows_of(weights):
    """Take a sparse matrix of at most four entries in a row apart.

    Returns
    -------
    used : ndarray of int, shape (n_used,)
        Columns with an entry: a window of a mosaic lies on few of the boxes.
    columns : ndarray of int64, shape (n_rows, 4)
        Of the entries of each row, counted among those that are used.
    values : ndarray, shape (n_rows, 4)
        The entries; 0 where there are fewer.
    """
    used, places = np.unique(weights.indices, return_inverse=True)
    n_entries = np.diff(weights.indptr)
    row = np.repeat(np.arange(len(n_entries)), n_entries)
    place = np.arange(weights.nnz) - np.repeat(weights.indptr[:-1], n_entries)
    columns = np.zeros((len(n_entries), 4), dtype=np.int64)
    values = np.zeros(columns.shape, dtype=weights.dtype)
    columns[row, place], values[row, place] = places, weights.data
    return used, columns, values


def box_statistics(image, box, mask=None, n_all=0):
    """Clipped median, clipped scatter and number of pixels left of each box, stacked.

    `n_all` is the number of pixels of the mosaic if the image is a part of one: compiled functions
    pay for many pixels only.
    """
    height, width = image.shape
    pays = compiling_pays(max(n_all, height * width))
    measure = _measure_compiled if pays else _measure_sorted
    whole = height // box[0] * box[0]
    step = box[0] * max(1, _BLOCK // (box[0] * width))
    bands = [(y, min(y + step, whole)) for y in range(0, whole, step)]
    if whole < height:
        bands.append((whole, height))
    statistics = []
    for y0, y1 in bands:
        rows = image[y0:y1]
        if mask is not None:
            rows = np.where(mask[y0:y1], rows.dtype.type(np.nan), rows)
        statistics.append(measure(rows, min(box[0], y1 - y0), box[1]))
    return np.moveaxis(np.concatenate(statistics), 2, 0)


def _measure_compiled(rows, box_height, box_width):
    """The same as `_measure_sorted`, to the bit."""
    from ._box_kernels import clip_boxes

    statistics = np.empty((len(rows) // box_height, -(-rows.shape[1] // box_width), 3))
    # A kernel is compiled for each layout, and again for what may not be written to.
    clip_boxes(np.require(rows, requirements="CW"), box_height, box_width, statistics)
    return statistics


def _measure_sorted(rows, box_height, box_width):
    """Statistics of the boxes of some rows: (n_boxes_y, n_boxes_x, 3). The last may be narrower."""
    whole = rows.shape[1] // box_width * box_width
    step = box_width * max(1, _BLOCK // (len(rows) * box_width))
    statistics = [
        _clipped_statistics(_cut(rows[:, x : min(x + step, whole)], box_height, box_width))
        for x in range(0, whole, step)
    ]
    if whole < rows.shape[1]:
        rest = _cut(rows[:, whole:], box_height, rows.shape[1] - whole)
        statistics.append(_clipped_statistics(rest))
    return np.concatenate(statistics, axis=1)


def _cut(rows, box_height, box_width):
    """View of rows as boxes: shape (n_boxes_y, n_boxes_x, box_height, box_width)."""
    n_y, n_x = rows.shape[0] // box_height, rows.shape[1] // box_width
    return rows.reshape(n_y, box_height, n_x, box_width).swapaxes(1, 2)


def _clipped_statistics(boxes):
    """Median, scatter and number of what clipping at 3 sigma leaves of each box.

    The boxes are the first two axes; the result has a third of length 3.

    As `astropy.stats.SigmaClip` does it: the limits of the last round hold for all pixels.
    """
    shape, n_pixels = boxes.shape[:2], prod(boxes.shape[2:])
    samples = np.empty((prod(shape), n_pixels + 1), dtype=boxes.dtype)
    pixels = samples[:, :-1]
    pixels.reshape(boxes.shape)[...] = boxes  # a view
    samples[:, -1] = np.nan
    pixels.sort(axis=1)  # NaN last
    return _clip_sorted(samples).reshape(*shape, 3)


def _clip_sorted(samples):
    """Clip sorted rows, whose last column is NaN, all at once."""
    n_pixels = samples.shape[1] - 1
    row_start = np.arange(len(samples)) * (n_pixels + 1)
    low = np.zeros_like(row_start)
    high = n_pixels + 1 - np.isnan(samples).sum(axis=1)
    # Deviations from the median keep the squares of a large pedestal from swamping the scatter.
    deviations = samples - _medians(samples, row_start, low, high)[:, None]
    sums = [_sums_from_middle(power, high // 2) for power in (deviations, deviations**2)]
    for _ in range(_MAX_CLIPS):
        median, reach = (
            _medians(samples, row_start, low, high),
            _CLIP * _scatter(sums, low, high),
        )
        new_low, new_high = _positions(
            samples, row_start, median - reach, np.nextafter(median + reach, np.inf)
        )
        if (new_low <= low).all() and (new_high >= high).all():
            break
        low, high = np.maximum(low, new_low), np.minimum(high, new_high)
    low, high = new_low, new_high
    statistics = (
        _medians(samples, row_start, low, high),
        _scatter(sums, low, high),
        high - low,
    )
    return np.stack(statistics, axis=1)


def _medians(samples, row_start, low, high):
    """Median of the pixels ``low…high`` of each sorted row; NaN where there is none."""
    flat, middle = samples.ravel(), low + high
    left = flat[row_start + np.maximum(middle - 1, 0) // 2].astype(np.float64)
    return (left + flat[row_start + middle // 2]) / 2


def _sums_from_middle(values, middle):
    """Running sums of rows of numbers, outwards from a column of each row, where they are 0.

    The sum of columns ``low…high`` is the difference of the columns `high` and `low`. Numbers on
    one side of the middle leave the sums on the other side as they are, however large they are.
    """
    sums = np.zeros((len(values), values.shape[1] + 1))
    is_right = np.arange(values.shape[1]) >= middle[:, np.newaxis]
    np.cumsum(np.where(is_right, values, 0), axis=1, out=sums[:, 1:])
    sums[:, :-1] -= np.cumsum(np.where(is_right, 0, values)[:, ::-1], axis=1)[:, ::-1]
    return sums


def _scatter(sums, low, high):
    """Standard deviation of the pixels ``low…high`` of each row, from `_sums_from_middle`."""
    row, n = np.arange(len(low)), high - low
    mean, square = ((own[row, high] - own[row, low]) / np.maximum(n, 1) for own in sums)
    return np.where(n > 0, np.sqrt(np.maximum(square - mean * mean, 0)), 0.0)


def _positions(samples, row_start, *limits):
    """Number of pixels of each sorted row below each limit, by bisecting all rows at once."""
    flat, last = samples.ravel(), samples.shape[1] - 1
    limits = np.stack(limits)
    position = np.zeros(limits.shape, dtype=np.int64)
    for step in 1 << np.arange(last.bit_length())[::-1]:
        probe = np.minimum(position + (step - 1), last)
        position += step * (
            flat[row_start + probe] < limits
        )  # NaN, which is last, is below nothing
    return position


def _box_centres(box, shape):
    """Rows and columns of the centres of the boxes, which broadcast to the mesh."""
    y, x = (
        np.array([(low + min(low + size, side) - 1) / 2 for low in range(0, side, size)])
        for size, side in zip(box, shape, strict=True)
    )
    return y[:, None], x


def fit_plane(values, used, y, x):
    """`Plane` through the boxes; boxes far off, which a source fills, have little weight."""
    y, x = (np.broadcast_to(places, used.shape)[used] for places in (y, x))
    centre = np.array([y.mean(), x.mean()])
    design = np.stack([np.ones_like(y), y - centre[0], x - centre[1]])
    heights = values[used].astype(np.float64)
    plane, middle = np.linalg.lstsq(design.T, heights)[0], None
    rounding = _ROUNDING * np.abs(heights).max()
    for _ in range(_MAX_FITS):
        off = plane @ design
        np.subtract(heights, off, out=off)
        np.abs(off, out=off)
        middle = median_near(off, middle)
        if middle <= rounding:  # exact
            break
        # Boxes in a row, or all others of no weight, leave the rise across it open: it is 0 then.
        plane = np.linalg.lstsq(*_normal_equations(off, _MILD * middle, design, heights))[0]
    return Plane(plane[1:], centre)


def _normal_equations(off, width, design, heights):
    """Matrix and right side of a fit with Cauchy's weights of what is off, which is overwritten.

    These weights keep a little of every box, so that the fit stays unique.
    """
    off /= width
    off *= off
    off += 1
    weights = np.reciprocal(off, out=off)
    y, x = design[1:] * weights
    matrix = np.empty((3, 3))
    matrix[0] = weights.sum(), y.sum(), x.sum()
    matrix[1, 1:] = y @ design[1], y @ design[2]
    matrix[2, 2] = x @ design[2]
    matrix[1, 0], matrix[2, 0], matrix[2, 1] = matrix[0, 1], matrix[0, 2], matrix[1, 2]
    return matrix, np.array([weights @ heights, y @ heights, x @ heights])


def median_near(values, guess):
    """`numpy.median` of positive numbers, in less time if it is within 10 % of a guess."""
    if guess:
        n_below = np.count_nonzero(values < 0.9 * guess)
        near = values[(values >= 0.9 * guess) & (values <= 1.1 * guess)]
        low, high = (len(values) - 1) // 2 - n_below, len(values) // 2 - n_below
        if low >= 0 and high < len(near):
            return np.partition(near, (low, high))[[low, high]].mean()
    return np.median(values)


def _fill_unused(meshes, used):
    """Fill boxes that are not used from the ten nearest ones, weighted by inverse distance.

    The same as `photutils.utils.ShepardIDWInterpolator`, which takes longer to import than a small
    image to segment.
    """
    from scipy.spatial import cKDTree

    places = np.argwhere(used)
    tree = cKDTree(places, leafsize=10)  # photutils' order of ties
    n_neighbors = np.arange(1, min(10, len(places)) + 1)
    distances, neighbors = tree.query(np.argwhere(~used), k=n_neighbors)
    weights = 1 / distances
    filled = [mesh.copy() for mesh in meshes]
    for mesh in filled:
        mesh[~used] = (weights * mesh[used][neighbors]).sum(axis=1) / weights.sum(axis=1)
    return filled


def _median_filter(mesh, size):
    """Median of the boxes around each box; boxes outside the image do not count."""
    if size == 1:
        return mesh
    padded = np.pad(mesh, size // 2, constant_values=np.nan)
    around = np.sort(
        np.lib.stride_tricks.sliding_window_view(padded, (size, size)).reshape(*mesh.shape, -1),
        axis=-1,
    )
    n = np.count_nonzero(~np.isnan(around), axis=-1)[..., None]
    middle = [
        np.take_along_axis(around, index, axis=-1)[..., 0] for index in ((n - 1) // 2, n // 2)
    ]
    return (middle[0] + middle[1]) / 2

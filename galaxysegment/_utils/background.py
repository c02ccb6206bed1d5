"""Background and noise of an image on a mesh of boxes, as `photutils.background.Background2D` finds them.

The statistics of a box need one sort: what sigma clipping keeps is a range of the sorted pixels, and
cumulative sums give the mean and scatter of any range. The maps are cubic splines of the small mesh,
evaluated row by row when asked for, so that a mosaic's maps never exist in memory as a whole.
"""

import numpy as np
from scipy import ndimage, sparse

_CLIP = 3.0
_MAX_CLIPS = 10


def background_maps(image, *, box_size=50, filter_size=3, exclude_percentile=15, mask=None):
    """Estimate the background of an image and its RMS.

    In each box: median and standard deviation of the pixels that a clipping at 3 sigma leaves. Boxes
    with too few pixels left are filled from their neighbours, the mesh is median-filtered, and a
    bicubic spline brings it to the size of the image.

    Parameters
    ----------
    image : ndarray of float, shape (height, width)
        NaN means "no data".
    box_size : int, default=50
        Side of a box in pixels; cut to the image where that is smaller.
    filter_size : int, default=3
        Side of the median filter in boxes, odd.
    exclude_percentile : float, default=15
        A box with more than this percentage of its pixels missing or clipped is not used. Where no box
        would be left, all boxes with any pixel are used.
    mask : ndarray of bool, shape (height, width), optional
        Pixels to leave out.

    Returns
    -------
    background, rms : ndarray, shape (height, width)
        In the dtype of the image, defined on every pixel; NaN everywhere if the image has no data.
    """
    meshes = background_meshes(
        image, box_size=box_size, filter_size=filter_size, exclude_percentile=exclude_percentile, mask=mask
    )
    height, width = image.shape
    return tuple(mesh.window(0, height, 0, width) for mesh in meshes)


def background_meshes(image, *, box_size=50, filter_size=3, exclude_percentile=15, mask=None):
    """Estimate the background and its RMS as two `MeshMap`; parameters as of `background_maps`."""
    image = np.asarray(image)
    box = tuple(min(box_size, side) for side in image.shape)
    background, rms, n_left = _box_statistics(image, box, mask)
    used = (n_left > (1 - exclude_percentile / 100) * (box[0] * box[1])) & (n_left > 0)
    if not used.any():
        used = n_left > 0
    return tuple(_mesh_map(values, used, box, filter_size, image.dtype) for values in (background, rms))


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
    """

    def __init__(self, mesh, box, dtype):
        self.mesh, self.box, self.dtype = mesh, box, np.dtype(dtype)
        self._limits = mesh.min(), mesh.max()
        self._coefficients = mesh.astype(np.float64)
        for axis in (0, 1):
            self._coefficients = ndimage.spline_filter1d(self._coefficients, order=3, axis=axis, mode="reflect")

    def window(self, y0, y1, x0, x1):
        """Return the map on rows ``y0…y1`` and columns ``x0…x1`` (half-open)."""
        low, high = self._limits
        if not low < high:  # a constant stays exactly constant, as in photutils
            return np.full((y1 - y0, x1 - x0), low, dtype=self.dtype)
        across = spline_weights(x0, x1, self.box[1], self.mesh.shape[1])
        return self.rows(y0, y1, self.columns(across))

    def columns(self, across):
        """Evaluate the spline along x only: shape (n_boxes_y, number of columns)."""
        return (across @ self._coefficients.T).T.astype(self.dtype)

    def rows(self, y0, y1, columns):
        """Return the map on rows ``y0…y1`` from what `columns` gave."""
        along = spline_weights(y0, y1, self.box[0], self.mesh.shape[0]).astype(self.dtype)
        found = along @ columns
        return np.clip(found, *self._limits, out=found)


def spline_weights(start, stop, box, n_boxes):
    """Cubic B-spline weights of `n_boxes` coefficients at the pixels ``start…stop``, as a sparse matrix.

    Pixels are centred as in `scipy.ndimage.zoom` with ``grid_mode=True, mode="reflect"``.
    """
    position = (np.arange(start, stop) + 0.5) / box - 0.5
    first = np.floor(position).astype(np.int64)
    t = position - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3], axis=1) / 6
    index = (first[:, None] + np.arange(-1, 3)) % (2 * n_boxes)
    index = np.minimum(index, 2 * n_boxes - 1 - index)
    n_rows = stop - start
    pointers = np.arange(0, 4 * n_rows + 1, 4)
    return sparse.csr_array((weights.ravel(), index.ravel(), pointers), shape=(n_rows, n_boxes))


def _box_statistics(image, box, mask):
    """Clipped median, clipped scatter and number of pixels left, each of shape (n_boxes_y, n_boxes_x)."""
    found = []
    for y in range(0, image.shape[0], box[0]):
        rows = image[y : y + box[0]]
        if mask is not None:
            rows = np.where(mask[y : y + box[0]], rows.dtype.type(np.nan), rows)
        found.append(_row_of_boxes(rows, box[1]))
    return np.moveaxis(np.array(found), 2, 0)


def _row_of_boxes(rows, box_width):
    height, width = rows.shape
    n_whole = width // box_width
    whole = rows[:, : n_whole * box_width].reshape(height, n_whole, box_width)
    found = _clipped_statistics(whole.swapaxes(0, 1).reshape(n_whole, -1))
    if n_whole * box_width == width:
        return found
    return np.concatenate([found, _clipped_statistics(rows[:, n_whole * box_width :].reshape(1, -1))])


def _clipped_statistics(samples):
    """Median, standard deviation and number of what clipping leaves of each row: shape (n_rows, 3)."""
    samples = np.sort(samples, axis=1)  # NaN last
    row = np.arange(len(samples))
    high = samples.shape[1] - np.isnan(samples).sum(axis=1)
    low = np.zeros_like(high)
    # Deviations from the median, lest the squares of a large pedestal swamp the scatter.
    deviation = samples - _medians(samples, row, low, high)[:, None]
    sums = _cumulative(deviation), _cumulative(np.square(deviation, out=deviation))
    for _ in range(_MAX_CLIPS):
        median, scatter = _medians(samples, row, low, high), _scatter(sums, row, low, high)
        limits = median - _CLIP * scatter, median + _CLIP * scatter
        clipped = _first_position(samples, limits[0], low, high, np.less), _first_position(
            samples, limits[1], low, high, np.less_equal
        )
        if np.array_equal(clipped, (low, high)):
            break
        low, high = clipped
    return np.stack([_medians(samples, row, low, high), _scatter(sums, row, low, high), high - low], axis=1)


def _cumulative(values):
    sums = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def _medians(samples, row, low, high):
    """Median of ``samples[row, low:high]``, sorted, for each row; NaN where that is empty."""
    last = samples.shape[1] - 1
    middle = low + high
    left = samples[row, np.clip((middle - 1) // 2, 0, last)].astype(np.float64)
    median = (left + samples[row, np.clip(middle // 2, 0, last)]) / 2
    return np.where(high > low, median, np.nan)


def _scatter(sums, row, low, high):
    """Standard deviation of ``samples[row, low:high]`` from the cumulative sums of them and their squares."""
    n = np.maximum(high - low, 1)
    mean, square = ((total[row, high] - total[row, low]) / n for total in sums)
    return np.sqrt(np.maximum(square - mean * mean, 0))


def _first_position(samples, limit, low, high, before):
    """Bisect each sorted row between `low` and `high` for the first value that is not `before` its limit."""
    row = np.arange(len(samples))
    low, high = low.copy(), high.copy()
    while (low < high).any():
        middle = (low + high) // 2
        smaller = (low < high) & before(samples[row, np.minimum(middle, samples.shape[1] - 1)], limit)
        low = np.where(smaller, middle + 1, low)
        high = np.where(smaller, high, middle)
    return low


def _mesh_map(values, used, box, filter_size, dtype):
    if not used.any():
        return MeshMap(np.full(used.shape, np.nan), box, dtype)
    values = values.astype(dtype)
    if not used.all():
        values = _fill_unused(values, used)
    return MeshMap(_median_filter(values, filter_size), box, dtype)


def _fill_unused(values, used):
    """Fill boxes that are not used from the ten nearest ones, weighted by inverse distance."""
    from photutils.utils import ShepardIDWInterpolator

    interpolate = ShepardIDWInterpolator(np.argwhere(used), values[used])
    values = values.copy()
    values[~used] = interpolate(np.argwhere(~used), n_neighbors=10)
    return values


def _median_filter(mesh, size):
    """Median of the boxes around each box; boxes outside the image do not count."""
    if size == 1:
        return mesh
    padded = np.pad(mesh, size // 2, constant_values=np.nan)
    around = np.sort(np.lib.stride_tricks.sliding_window_view(padded, (size, size)).reshape(*mesh.shape, -1), axis=-1)
    n = np.count_nonzero(~np.isnan(around), axis=-1)[..., None]
    middle = [np.take_along_axis(around, index, axis=-1)[..., 0] for index in ((n - 1) // 2, n // 2)]
    return (middle[0] + middle[1]) / 2

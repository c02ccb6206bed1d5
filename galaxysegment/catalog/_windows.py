"""Windows of an image around groups of sources, as the kernels want them."""

from dataclasses import dataclass

import numpy as np

from ._blocks import sum_instances, sum_label_map

_TILE = 2048  # pixels: sources whose centroids share a tile are measured in one window
FAR_REACH = 400  # pixels: sources that reach farther than this have a window of their own
MOST_PIXELS = 1 << 25  # of a window; apertures that need more are not measured


@dataclass
class Places:
    """Where sources are and which shape they have; all arrays have one entry per source.

    Parameters
    ----------
    own : ndarray of int64
        The label of each source; the place among the instances, plus 1.
    y, x : ndarray of float64
        Centroids in pixels of the image.
    major, minor, angle : ndarray of float64
        Semi-axes in pixels; angle from the x axis to the y axis in radians.
    boxes : ndarray of int64, shape (n, 4)
        ``y0, x0, y1, x1`` of the masks.
    """

    own: np.ndarray
    y: np.ndarray
    x: np.ndarray
    major: np.ndarray
    minor: np.ndarray
    angle: np.ndarray
    boxes: np.ndarray

    def __len__(self):
        return len(self.own)

    def take(self, rows):
        """Return some of the sources."""
        return Places(**{name: values[rows] for name, values in vars(self).items()})

    def ellipses(self, scale):
        """Return ellipses of `scale` semi-axes, shape (n, 3): major, minor, angle."""
        return np.column_stack([self.major * scale, self.minor * scale, self.angle])


def group_by_tile(places, reach, width=None):
    """Divide sources into groups that are measured in one window each.

    Parameters
    ----------
    places : Places
    reach : ndarray of float, shape (n,)
        How far from its centroid each source is measured, in pixels.
    width : int, optional
        Of the image, if windows are whole rows, which images in memory give without a copy.

    Returns
    -------
    list of ndarray of int
        Rows of `places`; a source that reaches far is a group of its own.
    """
    far = reach > FAR_REACH
    near = np.flatnonzero(~far)
    side = _TILE if width is None else max(1, _TILE * _TILE // width)
    down = (places.y[near] // side).astype(np.int64)
    across = (places.x[near] // (_TILE if width is None else width)).astype(np.int64)
    order = np.lexsort((across, down))
    breaks = np.flatnonzero(np.diff(down[order]) | np.diff(across[order])) + 1
    groups = [near[part] for part in np.split(order, breaks)] if len(near) else []
    return groups + [np.array([row]) for row in np.flatnonzero(far)]


def window_around(places, reach, shape):
    """Return the rows and columns of the window that holds sources with all that they reach."""
    # A pixel more, because an ellipse reaches half a pixel beyond its last centre.
    y0, x0 = ((centre - reach - 2).min() for centre in (places.y, places.x))
    y1, x1 = ((centre + reach + 3).max() for centre in (places.y, places.x))
    bounds = [
        (int(max(0, np.floor(low))), int(min(side, np.ceil(high))))
        for low, high, side in ((y0, y1, shape[0]), (x0, x1, shape[1]))
    ]
    return slice(*bounds[0]), slice(*bounds[1])


class LabelSource:
    """The pixels of each source, from a label map.

    Parameters
    ----------
    read_labels : callable
        ``read_labels(rows, columns)`` returns a window of the label map.
    """

    #: Whether neighbours have been taken out of the light that is measured.
    separated = False

    def __init__(self, read_labels):
        self._read = read_labels

    def sums(self, pixels, background):
        """Add up the pixels of each source; see `sum_label_map`."""
        return sum_label_map(self._read, pixels, background, pixels.with_rms)

    def labels(self, rows, columns):
        """Return which source each pixel belongs to, int32."""
        return np.ascontiguousarray(self._read(rows, columns), dtype=np.int32)

    def stamps(self, places, rows, columns, n_bands):
        """Return no stamps: labels tell all. See `InstanceSource.stamps`."""
        empty = np.zeros((len(places), 4), dtype=np.int64), np.zeros(len(places) + 1, np.int64)
        return [(*empty, np.zeros(0, dtype=bool), np.zeros(0))] * n_bands


class InstanceSource:
    """The pixels of each source, from `Instances`, which may overlap."""

    separated = False

    def __init__(self, instances):
        self._instances = instances

    def sums(self, pixels, background):
        """Add up the pixels of each source; see `sum_instances`."""
        return sum_instances(self._instances, pixels, background, pixels.with_rms)

    def labels(self, rows, columns):
        """Return a source that each pixel belongs to, int32."""
        labels = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.int32)
        boxes = self._instances.boxes
        meets = (boxes[:, 0] < rows.stop) & (boxes[:, 2] > rows.start)
        meets &= (boxes[:, 1] < columns.stop) & (boxes[:, 3] > columns.start)
        for index in np.flatnonzero(meets).tolist():
            y0, x0, y1, x1 = boxes[index].tolist()
            top, left = max(y0, rows.start), max(x0, columns.start)
            bottom, right = min(y1, rows.stop), min(x1, columns.stop)
            crop = self._instances.crops[index][top - y0 : bottom - y0, left - x0 : right - x0]
            labels[
                top - rows.start : bottom - rows.start, left - columns.start : right - columns.start
            ][crop] = index + 1
        return labels

    def stamps(self, places, rows, columns, n_bands):
        """Return the own pixels of sources, and the light that belongs to them alone.

        Returns
        -------
        list of tuples, one per band
            ``boxes`` (int64, shape (n, 4)) in the window, ``offsets`` (n + 1) into the flat arrays
            ``shapes`` (bool, own pixels) and ``parts`` (float64, own light); one of them is empty.
        """
        crops = [self._instances.crops[own - 1] for own in places.own.tolist()]
        boxes = self._instances.boxes[places.own - 1] - _corner(rows, columns)
        offsets = np.cumsum([0, *(crop.size for crop in crops)])
        flat = np.concatenate([crop.ravel() for crop in crops])
        return [(boxes, offsets, flat.astype(bool), np.zeros(0))] * n_bands


class SeparatedSource:
    """The light of each source alone, from `Separated`: neighbours are gone from it."""

    separated = True

    def __init__(self, separated):
        self._separated = separated

    def labels(self, rows, columns):
        """Return zeros: no pixel is lost to a neighbour."""
        return np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.int32)

    def residual(self, rows, columns):
        """Return the light that belongs to no source, shape (n_bands, height, width)."""
        residual = self._separated.residual
        return residual.reshape(-1, *residual.shape[-2:])[:, rows, columns]

    def stamps(self, places, rows, columns, n_bands):
        """Return the own light of sources; see `InstanceSource.stamps`."""
        parts = [self._separated.parts[own - 1] for own in places.own.tolist()]
        parts = [part.reshape(n_bands, -1).astype(float) for part in parts]
        boxes = self._separated.boxes[places.own - 1] - _corner(rows, columns)
        offsets = np.cumsum([0, *(part.shape[1] for part in parts)])
        nothing = np.zeros(0, dtype=bool)
        return [
            (boxes, offsets, nothing, np.concatenate([part[band] for part in parts]))
            for band in range(n_bands)
        ]


def _corner(rows, columns):
    return np.array([rows.start, columns.start, rows.start, columns.start])

"""Statistics of a whole image: extremes, background meshes, a median."""

from math import ceil

import numpy as np

from ._background import box_statistics, meshes_of_boxes
from ._contract import Statistic

_SAMPLE = 1 << 22  # pixels that a median is taken of


class Extremes(Statistic):
    """Lowest and highest value of each band: shape (n_bands, 2), NaN for a band without data."""

    def measure(self, rows, y0, shape):
        return [extremes(band) for band in rows]

    def combine(self, parts, shape):
        parts = np.array(parts)
        return np.stack([np.fmin.reduce(parts[..., 0]), np.fmax.reduce(parts[..., 1])], axis=1)


def extremes(band):
    """Lowest and highest value of a band; NaN without a warning if it has no data."""
    return np.fmin.reduce(band, axis=None), np.fmax.reduce(band, axis=None)


class BackgroundMeshes(Statistic):
    """Background and noise of each band: list of pairs of `MeshMap`.

    Parameters
    ----------
    bands_of : callable
        ``bands_of(rows)`` lists the bands, of shape (n_rows, width), of a block of shape (n_bands,
        n_rows, width). NaN is "no data". It must be picklable, such as a bound method of the
        estimator.
    box_size, filter_size, exclude_percentile, plane
        As for `background_maps`.
    """

    def __init__(self, bands_of, *, box_size, filter_size=3, exclude_percentile=15, plane=False):
        self.bands_of, self.box_size, self.plane = bands_of, box_size, plane
        self.filter_size, self.exclude_percentile = filter_size, exclude_percentile

    def _box(self, shape):
        return tuple(min(self.box_size, side) for side in shape)

    def block_rows(self, shape):
        return self._box(shape)[0]

    def measure(self, rows, y0, shape):
        box = self._box(shape)
        return [(band.dtype, box_statistics(band, box)) for band in self.bands_of(rows)]

    def combine(self, parts, shape):
        plane_over = shape if self.plane else None
        wanted, box = (self.filter_size, self.exclude_percentile, plane_over), self._box(shape)
        meshes = []
        for strips in zip(*parts, strict=True):
            statistics = np.concatenate([own for _, own in strips], axis=1)
            objects = self._objects(statistics, box)
            meshes.append(meshes_of_boxes(statistics, box, strips[0][0], *wanted, objects))
        return meshes

    def _objects(self, statistics, box):
        """Boxes that are not sky, or None."""
        return None


class MedianRatio(Statistic):
    """Median over the pixels of ``ratio_of(rows, y0)`` that are not NaN; NaN if all are.

    Parameters
    ----------
    ratio_of : callable
        ``ratio_of(rows, y0)`` returns an array of shape (n_bands, n_rows, width).

    Notes
    -----
    Of a large image only every k-th row and column counts, so that about 4 million pixels are kept:
    `sampled_median` of the whole image gives the same number.
    """

    def __init__(self, ratio_of):
        self.ratio_of = ratio_of

    def measure(self, rows, y0, shape):
        step = sample_step(shape)
        ratio = self.ratio_of(rows, y0)[:, -y0 % step :: step, ::step]
        return [band[~np.isnan(band)] for band in ratio]

    def combine(self, parts, shape):
        return [_median(np.concatenate(band)) for band in zip(*parts, strict=True)]


def sampled_median(band):
    """Median of the pixels with data, of about 4 million of them where an image is larger."""
    step = sample_step(band.shape)
    sample = band[::step, ::step]
    return _median(sample[~np.isnan(sample)])


class _Prepared(Statistic):
    def __init__(self, statistic, prepare):
        self.statistic, self.prepare = statistic, prepare

    def block_rows(self, shape):
        return self.statistic.block_rows(shape)

    def measure(self, rows, y0, shape):
        return self.statistic.measure(self.prepare(rows), y0, shape)

    def combine(self, parts, shape):
        return self.statistic.combine(parts, shape)


def prepared(statistics, prepare):
    """Return the same statistics of ``prepare(rows)``: requests of a step within a step."""
    return {name: _Prepared(statistic, prepare) for name, statistic in statistics.items()}


def sample_step(shape):
    return max(1, ceil((shape[0] * shape[1] / _SAMPLE) ** 0.5))


def _median(values):
    return np.median(values) if values.size else values.dtype.type(np.nan)

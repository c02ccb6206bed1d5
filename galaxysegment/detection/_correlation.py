"""Correlated noise: how much more the noise of a smoothed image scatters than white noise would.

Smoothing averages the noise of neighbouring pixels. If a stack was resampled, neighbours share
their noise, and smoothing lowers it less than a threshold in units of a pixel's noise assumes.
"""

from math import ceil
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from ._contract import Statistic
from ._smoothing import gaussian_profile

_BOX = 32  # pixels of the side of a box
_MOST_BOXES = 400
_LEAST_PIXELS = 64  # of a box
_NARROWEST = 8  # pixels of the side of an image
_QUIET = 0.4  # quantile over the boxes: those with few sources decide
# Of noise smoothed by a Gaussian, with q the scatter of differences between pixels two apart over
# that between neighbours (1 for white noise): scatter of a pixel over that of differences, and what
# is measured here.
_PIXEL_SLOPE, _FACTOR_SLOPE = 1.5, 3.0
_MARGIN = 1.25  # by which sources may raise the scatter of the pixels of a box that counts


class NoiseCorrelation(Statistic):
    """Scatter of the smoothed image over that of white noise of the same depth: a number from 1 on.

    It is measured in up to 400 boxes of 32 × 32 pixels; the quieter ones count.

    Light scatters as well. Two bounds keep faint sources and the wings of stars from being taken
    for noise. Correlated noise differs more between pixels two apart than between neighbours; white
    noise on top of smooth light does not. This ratio limits the result, and boxes whose pixels
    scatter more than it explains do not count.

    Parameters
    ----------
    detection_of : callable
        ``detection_of(rows, y0)`` returns a block of rows of the detection image and its RMS map,
        or None instead of the map. NaN is "no data". It must be picklable.
    fwhm : float
        FWHM in pixels of the Gaussian kernel.
    kernel_size : int
        Side of the kernel in pixels.
    box_rows : int, default=32
        Rows of the boxes of the mesh that is measured in the same pass: boxes begin where they do.
    """

    def __init__(self, detection_of, fwhm, kernel_size, box_rows=_BOX):
        self.detection_of = detection_of
        self.fwhm, self.kernel_size = fwhm, kernel_size
        self._pitch = box_rows * -(-_BOX // box_rows)

    def block_rows(self, shape):
        return self._pitch

    def measure(self, rows, y0, shape):
        chosen = [self._ratios(*boxes) for boxes in self._boxes(rows, y0, shape)]
        return np.concatenate([np.zeros(0), *chosen])

    def combine(self, parts, shape):
        ratios = np.concatenate(parts)
        return max(1.0, float(np.quantile(ratios, _QUIET))) if ratios.size else 1.0

    def of_image(self, image):
        """Value of a whole image, shape (n_bands, height, width), often without smoothing it."""
        shape = image.shape[-2:]
        rows = list(self._boxes(image, 0, shape))
        if not rows:
            return 1.0
        boxes = np.concatenate([boxes for boxes, _ in rows])
        depths = None if rows[0][1] is None else np.concatenate([own for _, own in rows])
        light = _Light.of(boxes, depths)
        low = (light.largest_ratio(self._white()) <= 1) & ~np.isnan(boxes).any(axis=(1, 2))
        # With so many ratios of at most 1, the quantile is at most 1.
        if np.count_nonzero(low & light.usable) >= ceil(_QUIET * (len(boxes) - 1)) + 1:
            return 1.0
        return self.combine([self._ratios(boxes, depths, light)], shape)

    def _boxes(self, rows, y0, shape):
        """Yield rows of boxes of a block and of its RMS map, or None instead of the latter."""
        height, width = (min(_BOX, side) for side in shape)
        if min(height, width) < _NARROWEST:
            return
        n_boxes = (shape[0] // self._pitch + 1) * (shape[1] // width)
        step = ceil((n_boxes / _MOST_BOXES) ** 0.5)  # of so many boxes along each axis one counts
        starts = range(0, rows.shape[1], self._pitch)
        for y in (y for y in starts if (y0 + y) // self._pitch % step == 0):
            detection, rms = self.detection_of(rows[:, y : y + height], y0 + y)
            if len(detection) == height:
                yield tuple(
                    None if image is None else _cut(image, width, step)
                    for image in (detection, rms)
                )

    def _ratios(self, boxes, depths, light=None):
        """Ratio of each box that holds little but noise."""
        light = _Light.of(boxes, depths) if light is None else light
        smooth = _spread(_smoothed(boxes, gaussian_profile(self.fwhm, self.kernel_size)))
        white = self._white()
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = np.minimum(smooth / (white * light.depth), light.largest_ratio(white))
        return ratios[light.usable & np.isfinite(ratios)]

    def _white(self):
        """Scatter of white noise smoothed by the kernel, a product of two profiles."""
        return (gaussian_profile(self.fwhm, self.kernel_size) ** 2).sum()


class _Light(NamedTuple):
    """What the pixels of each box tell without smoothing them.

    Attributes
    ----------
    pixel, depth : ndarray of shape (n_boxes,)
        Scatter of the pixels, and the noise that it is compared with.
    share : ndarray of shape (n_boxes,)
        Largest scatter of the smoothed pixels, in that of white noise as deep as the pixels.
    usable : ndarray of bool, shape (n_boxes,)
        Boxes whose pixels scatter no more than noise explains.
    """

    pixel: np.ndarray
    depth: np.ndarray
    share: np.ndarray
    usable: np.ndarray

    @classmethod
    def of(cls, boxes, depths):
        pixel = _spread(boxes)
        near, far = (_spread(boxes[..., lag:] - boxes[..., :-lag]) / np.sqrt(2) for lag in (1, 2))
        depth = pixel if depths is None else _median_rms(depths)
        # NaN fails every comparison.
        with np.errstate(invalid="ignore", divide="ignore"):
            excess = np.maximum(far / near, 1) - 1
            usable = (depth > 0) & (pixel <= _MARGIN * near * (1 + _PIXEL_SLOPE * excess))
        return cls(pixel, depth, 1 + _FACTOR_SLOPE * excess, usable)

    def largest_ratio(self, white):
        """Upper bound of the ratio of each box, if the kernel leaves `white` of white noise."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return white * self.pixel * self.share / (white * self.depth)


def noise_factor(detection, rms, fwhm, kernel_size, box_rows=_BOX):
    """`NoiseCorrelation` of a whole detection image, shape (height, width)."""

    def detection_of(rows, y0):
        return rows[0], None if rms is None else rms[y0 : y0 + rows.shape[1]]

    statistic = NoiseCorrelation(detection_of, fwhm, kernel_size, box_rows)
    return statistic.of_image(detection[np.newaxis])


def _cut(rows, width, step):
    """Every `step`-th box of `width` columns of some rows: shape (n_boxes, n_rows, width)."""
    columns = range(0, rows.shape[1] - width + 1, width * step)
    return np.stack([rows[:, x : x + width] for x in columns])


def _median_rms(depths):
    """Median of the RMS of each box; NaN if it has none."""
    known = [depth[depth > 0] for depth in depths]
    return np.array([np.median(values) if values.size else np.nan for values in known])


def _spread(boxes):
    """Half the range of the middle 68 % of the pixels of each box; NaN if it has few."""
    ordered = np.sort(boxes.reshape(len(boxes), -1), axis=1)  # NaN last
    count = np.count_nonzero(~np.isnan(ordered), axis=1)
    low, high = (
        np.take_along_axis(ordered, (count * share).astype(np.int64)[:, np.newaxis], axis=1)[:, 0]
        for share in (0.1587, 0.8413)
    )
    return np.where(count >= _LEAST_PIXELS, (high - low) / 2, np.nan)


def _smoothed(boxes, profile):
    """Smooth each box; NaN where the kernel meets pixels without data, without the rim of a box."""
    radius = len(profile) // 2
    smooth = boxes
    for axis in (1, 2):
        smooth = ndimage.correlate1d(smooth, profile, axis=axis)
    return smooth[:, radius : boxes.shape[1] - radius, radius : boxes.shape[2] - radius]

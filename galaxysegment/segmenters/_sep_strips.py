"""The detection of sep for large windows of a mosaic, a few rows at a time.

Compiled functions find the pixels above the threshold that `sep.extract` finds. sep itself splits
the blends, and sees only those that its thresholds can split.
"""

from typing import NamedTuple

import numpy as np

_BRIGHT = 1000  # thresholds: brighter pixels are smoothed by sep's sum at once
_LEAST_PART = 3  # pixels of a part above a threshold, however large a source has to be
# Sources are shown to sep if their parts have this share of the light that sep asks for.
_SAFE = 0.99


class Strips(NamedTuple):
    """A window of a mosaic whose pixels all have data.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
    rms : ndarray of float32, shape (height, width) or (0, 0)
        Noise map; of no size if the noise is that of the background.
    background, noise : tuple
        As for `galaxysegment.detection._map_kernels.map_row`.
    floor, factor : float
        Lowest noise of the background, and what noise is multiplied with.
    typical : float
        Noise of a typical pixel.
    """

    image: np.ndarray
    rms: np.ndarray
    background: tuple
    noise: tuple
    floor: np.float32
    factor: np.float32
    typical: np.float32

    @classmethod
    def of(cls, image, rms, background, factor):
        """Make the strips of a detection image, given its `MosaicBackground`."""
        level, noise = background.rows()
        rms = np.zeros((0, 0), image.dtype) if rms is None else np.ascontiguousarray(rms)
        floor = np.float32(4 * np.finfo(np.float32).eps * abs(background.globalback))
        typical = np.float32(background.globalrms)
        return cls(
            np.ascontiguousarray(image), rms, level, noise, floor, np.float32(factor), typical
        )

    def detect(self, profile, n_sigma, n_pixels):
        """Find sources before they are split.

        Returns
        -------
        labels : ndarray of int32, shape (height, width)
        pixels : ndarray of int64, shape (n,)
            Positions of the pixels of sources, in raster order.
        values : ndarray of float32, shape (4, n)
            Without background, noise, smoothed along each axis, smoothed as by sep.
        """
        from ..detection._strip_kernels import detect_like_sep

        labels = np.zeros(self.image.shape, dtype=np.int32)
        kernel = _normalized(np.outer(profile, profile))
        profile, n_sigma = profile.astype(np.float32), np.float32(n_sigma)
        bright = np.float32(_BRIGHT) * n_sigma * self.typical
        pixels, values = detect_like_sep(
            *self[:-1], kernel, profile, n_sigma, n_pixels, labels, bright
        )
        return labels, pixels, values

    def cutout(self, window):
        """Return rows and columns of the image without its background, and of its noise."""
        from ..detection._strip_kernels import subtract_window

        rms = np.ascontiguousarray(self.rms[window]) if self.rms.size else self.rms
        maps = (_cut(smooth_map, *window) for smooth_map in (self.background, self.noise))
        return subtract_window(
            np.ascontiguousarray(self.image[window]), rms, *maps, self.floor, self.factor
        )


def _cut(smooth_map, rows, columns):
    lines, weights, values, *limits = smooth_map
    return lines[rows], weights[rows], np.ascontiguousarray(values[:, columns]), *limits


def _normalized(kernel):
    """Kernel as sep normalizes it, in single precision."""
    kernel, total = kernel.astype(np.float32), np.float32(0)
    for value in kernel.ravel():
        total = np.float32(np.float64(total) + abs(np.float64(value)))
    return kernel / total


def group_by_label(labels, pixels):
    """Group the pixels of sources by their label; see `group_pixels`."""
    from ..detection._deblend_kernels import group_pixels

    return group_pixels(labels.ravel()[pixels])


def split_candidates(labels, pixels, smooth, detections, split, n_pixels, contrast):
    """Split the sources of a label map that may be blends, in place.

    Parameters
    ----------
    labels : ndarray of int32, shape (height, width)
        Consecutive labels.
    pixels : ndarray of int64, shape (n,)
        Positions of the pixels of sources, in raster order.
    smooth : ndarray of float, shape (n,)
        The image that blends are split in, at these pixels.
    detections : tuple
        The pixels by label, as of `group_by_label`.
    split : callable
        ``split(pixels)`` returns the part, 1…, of each pixel of a source; 0 if there is none.
    n_pixels : int
        Smallest number of pixels of a source.
    contrast : float
        Smallest fraction of the light of a source that a part must have above where it begins.
    """
    from ..detection import _deblend_kernels as kernels

    if not pixels.size:
        return
    flat, (order, starts) = labels.ravel(), detections
    grouped, values = pixels[order], smooth[order].astype(np.float64)
    place = grouped, starts, labels.shape[1]
    n_pixels = min(n_pixels, _LEAST_PART)
    chosen = kernels.find_candidates(values, *place, n_pixels, 8, _SAFE * contrast)
    n_labels = len(starts) - 2
    for label in np.flatnonzero(chosen).tolist():
        own = grouped[starts[label] : starts[label + 1]]
        parts = split(own)
        if parts.all():
            flat[own] = parts + n_labels
            n_labels += int(parts.max())
    close_gaps(flat, pixels, n_labels)


def close_gaps(flat, pixels, n_labels):
    """Renumber the labels of pixels 1…n in their order, in place."""
    values = flat[pixels]
    present = np.bincount(values, minlength=n_labels + 1) > 0
    present[0] = False
    flat[pixels] = np.cumsum(present)[values]

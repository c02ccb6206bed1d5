"""Scores of sources: sums over their pixels, so that the tiles of a mosaic can add theirs up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["ScoreMaps", "mean_light", "signal_to_noise", "sum_over_sources"]

N_SUMS = 3
# Sources on pixels without noise get a large finite score that still grows with their light.
_LEAST_VARIANCE = np.finfo(np.float64).tiny


class ScoreMaps(NamedTuple):
    """The pixels that the scores of sources are computed from.

    A segmenter whose sources are ranked by signal to noise returns it from ``_score_maps(image)``.

    Parameters
    ----------
    light : ndarray of float, shape (height, width)
        Background-subtracted image, or probability map of a semantic segmenter.
    noise : ndarray of float, shape (height, width), or float, default=0
        Standard deviation of each pixel of `light`, or of all.
    classes : ndarray of float, shape (n_classes, height, width), or None, default=None
        Maps that `MosaicAware.classify_sources` gets the sums of, such as the probability of each
        class of pixels. They are 0 in gaps that a source bridges, unless the segmenter says more.

    Examples
    --------
    Nine pixels of 2 sigma each make a source of 6 sigma:

    >>> import numpy as np
    >>> from galaxysegment.base import BaseSegmenter, ScoreMaps
    >>> from galaxysegment.structures import label_components
    >>> class Threshold(BaseSegmenter):
    ...     _requires_fit = False
    ...     def _segment_image(self, image):
    ...         return label_components(image[0] > 1)
    ...     def _score_maps(self, image):
    ...         return ScoreMaps(image[0], noise=1.0)
    >>> image = np.zeros((8, 8))
    >>> image[2:5, 2:5] = 2
    >>> Threshold().predict(image[np.newaxis], output="instances")[0].scores
    array([6.])
    """

    light: NDArray
    noise: NDArray | float = 0.0
    classes: NDArray | None = None

    def within(self, window: tuple[slice, slice]) -> ScoreMaps:
        """Return the maps of a window.

        Parameters
        ----------
        window : tuple of slice
            Rows and columns.

        Returns
        -------
        ScoreMaps
        """
        noise = self.noise[window] if isinstance(self.noise, np.ndarray) else self.noise
        classes = None if self.classes is None else self.classes[(slice(None), *window)]
        return ScoreMaps(self.light[window], noise, classes)


def sum_over_sources(maps, pixels, owners, n_sources, gaps=None):
    """Sum maps over the pixels of sources.

    Parameters
    ----------
    maps : ScoreMaps
    pixels : ndarray of int
        Flat indices into the maps.
    owners : ndarray of int, same shape
        Source of each pixel, 1…n_sources.
    n_sources : int
    gaps : ndarray of bool, shape of the maps, optional
        Pixels without data, which sources may bridge: they add to the sums of `classes` alone.

    Returns
    -------
    ndarray of float64, shape (n_sources, 3 + n_classes)
        Number of pixels, sum of the light, sum of the squares of the noise, sum of each map of
        `classes`. A pixel whose light or noise is not finite adds nothing.
    """
    light = maps.light.ravel()[pixels].astype(np.float64)
    noise = np.float64(maps.noise) if np.isscalar(maps.noise) else maps.noise.ravel()[pixels]
    noise = np.broadcast_to(noise, light.shape).astype(np.float64)
    usable = np.isfinite(light) & np.isfinite(noise)
    seen = usable if gaps is None else usable & ~gaps.ravel()[pixels]
    summands = [seen, np.where(seen, light, 0), np.where(seen, noise, 0) ** 2]
    if maps.classes is not None:
        summands += [np.where(usable, proba.ravel()[pixels], 0) for proba in maps.classes]
    sums = [np.bincount(owners, weights, minlength=n_sources + 1)[1:] for weights in summands]
    return np.stack(sums, axis=1)


def signal_to_noise(sums):
    """Sum of the light over the noise of this sum, at least 0; `sums` as `sum_over_sources`."""
    _, light, variance = sums[:, :N_SUMS].T
    return np.maximum(light, 0) / np.sqrt(np.maximum(variance, _LEAST_VARIANCE))


def mean_light(sums):
    """Mean of the light over the pixels of each source, 0 without a pixel."""
    n_pixels, light, _ = sums[:, :N_SUMS].T
    return light / np.maximum(n_pixels, 1)

"""From bands to the detection image, the image that sources are sought in, and its background.

Segmenters that subtract a background share it, on whole images and in the tiles of a mosaic.
"""

import numpy as np

from .._utils.validation import check_rms_band, split_rms
from ._contract import MosaicAware, Statistic


def bands_with_noise(image, rms_band):
    """List the science bands of an image; pixels whose RMS is not positive are NaN.

    Parameters
    ----------
    image : ndarray of float, shape (n_bands, height, width)
    rms_band : int or None
        Index of the RMS map among the bands.
    """
    if rms_band is None:
        return list(image)
    check_rms_band(rms_band, len(image))
    bad = ~(image[rms_band] > 0)
    science = np.delete(image, rms_band, axis=0)
    return list(np.where(bad, science.dtype.type(np.nan), science) if bad.any() else science)


def split_detection(image, rms_band, background_of):
    """Make one detection image of an image's science bands.

    Several bands are averaged, background-subtracted, each weighted with the inverse square of its
    noise, over those that have data at a pixel.

    Parameters
    ----------
    image : ndarray of float, shape (n_bands, height, width)
    rms_band : int or None
        Index of the RMS map among the bands.
    background_of : callable
        Takes a band that has data somewhere, and its index; returns its background map and its
        noise, a number.

    Returns
    -------
    detection : ndarray of shape (height, width)
        NaN where there are no data or the RMS is not positive.
    rms : ndarray of shape (height, width) or None
    no_data : ndarray of bool, shape (height, width), or None
        Where `detection` is NaN; ``None`` where it never is.
    """
    science, rms = split_rms(image, rms_band)
    detection = science[0] if len(science) == 1 else _mean_of_bands(science, background_of)
    if rms is not None and np.isnan(rms).any():
        detection = np.where(np.isnan(rms), detection.dtype.type(np.nan), detection)
    no_data = np.isnan(detection)
    return detection, rms, no_data if no_data.any() else None


def _mean_of_bands(science, background_of):
    bands = [(band, index) for index, band in enumerate(science) if not np.isnan(band).all()]
    backgrounds = [background_of(band, index) for band, index in bands]
    total, weights = np.zeros(science.shape[1:]), np.zeros(science.shape[1:])
    noise = _inverse_variances([float(level) for _, level in backgrounds])
    for (band, _), (background, _), weight in zip(bands, backgrounds, noise, strict=True):
        has_data = ~np.isnan(band)
        total += weight * np.where(has_data, band - background, 0)
        weights += weight * has_data
    mean = np.divide(total, weights, out=np.full_like(total, np.nan), where=weights > 0)
    return mean.astype(science.dtype, copy=False)


def _inverse_variances(levels):
    """Weights of bands with these noise levels; 0 for a band without noise, unless all are."""
    levels = np.asarray(levels)
    has_noise = levels > 0
    if not has_noise.any():
        return np.ones(len(levels))
    return (
        np.divide(levels[has_noise].min(), levels, out=np.zeros(len(levels)), where=has_noise) ** 2
    )


class DetectionImageMixin(MosaicAware):
    """How `PhotutilsSegmenter` and `SEPSegmenter` learn the backgrounds of a whole mosaic.

    First those of the science bands; if there are several, then that of the detection image made of
    them. A segmenter provides ``_box(shape)``, ``_measure_boxes(band, box)``, an array whose second
    axis runs along y, and ``_make_background(measured, box, dtype)``.
    """

    def statistics_needed(self) -> dict[str, Statistic]:
        if self._statistics is None:
            return {"bands": _Backgrounds(self)}
        if "detection" in self._statistics or len(self._statistics["bands"]) == 1:
            return {}
        return {"detection": _Backgrounds(self)}

    def _known_background(self, band):
        """Background of a band of the mosaic, or of its detection image if `band` is None.

        None if the segmenter sees a whole image.
        """
        if self._statistics is None:
            return None
        if band is None:  # a single band is its own detection image
            return self._statistics.get("detection", self._statistics["bands"])[0]
        return self._statistics["bands"][band]


class _Backgrounds(Statistic):
    """Backgrounds of the science bands, or of the detection image once those are known: a list."""

    def __init__(self, segmenter):
        self.segmenter = segmenter

    def block_rows(self, shape):
        return self.segmenter._box(shape)[0]

    def measure(self, rows, y0, shape):
        box = self.segmenter._box(shape)
        return [
            (band.dtype, self.segmenter._measure_boxes(band, box)) for band in self._bands(rows, y0)
        ]

    def combine(self, parts, shape):
        box = self.segmenter._box(shape)
        return [
            self.segmenter._make_background(
                np.concatenate([measured for _, measured in strips], axis=1), box, strips[0][0]
            )
            for strips in zip(*parts, strict=True)
        ]

    def _bands(self, rows, y0):
        segmenter, rms_band = self.segmenter, self.segmenter.rms_band
        if segmenter._statistics is None:
            n_science = len(rows) - (rms_band is not None)
            if n_science == 1:
                return bands_with_noise(rows, rms_band)
            return list(rows if rms_band is None else np.delete(rows, rms_band, axis=0))
        if rms_band is not None and not (rows[rms_band] > 0).any():
            rows = np.full_like(rows, np.nan)  # no noise map here: no data
        placed = segmenter.with_statistics(segmenter._statistics, (y0, 0))
        return [split_detection(rows, rms_band, placed._background_of)[0]]

"""What the two classical detectors share: the one image that sources are sought in."""

from copy import copy
from functools import partial

import numpy as np

from .._utils.validation import split_rms


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
        Takes a band that has data somewhere, and its index; returns its background map and its noise, a number.

    Returns
    -------
    detection : ndarray of shape (height, width)
        NaN where there are no data, be it that the RMS is not positive.
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
    found = [background_of(band, index) for band, index in bands]
    total, weights = np.zeros(science.shape[1:]), np.zeros(science.shape[1:])
    noise = _inverse_variances([float(level) for _, level in found])
    for (band, _), (background, _), weight in zip(bands, found, noise, strict=True):
        has_data = ~np.isnan(band)
        total += weight * np.where(has_data, band - background, 0)
        weights += weight * has_data
    mean = np.divide(total, weights, out=np.full_like(total, np.nan), where=weights > 0)
    return mean.astype(science.dtype, copy=False)


def _inverse_variances(levels):
    """Weights of bands with these noise levels; a band without noise counts only where all are so."""
    levels = np.asarray(levels)
    has_noise = levels > 0
    if not has_noise.any():
        return np.ones(len(levels))
    return (
        np.divide(levels[has_noise].min(), levels, out=np.zeros(len(levels)), where=has_noise) ** 2
    )


def check_odd(estimator, names):
    """Refuse an even number for parameters of `estimator` that are the side of a window."""
    for name in names:
        value = getattr(estimator, name)
        if value % 2 == 0:
            raise ValueError(
                f"The {name!r} parameter of {type(estimator).__name__} must be odd, for the window has a centre. "
                f"Got {value} instead: use {value + 1}."
            )


class Backgrounds:
    """Background and noise of a whole mosaic: of each band where there are several, and of the detection image.

    Attributes
    ----------
    bands : list of tuple, or None
        Of each science band what the segmenter makes of its boxes; ``None`` while it is not known.
    detection : tuple or None
        The same of the detection image.
    """

    bands = detection = None


def learn_backgrounds(segmenter, mosaic, box):
    """Find background and noise of a whole mosaic on the boxes that the untiled image would be cut into.

    Parameters
    ----------
    segmenter : PhotutilsSegmenter or SEPSegmenter
        Measures boxes (``_measure_boxes(image, box)``, an array whose second axis runs along y) and makes
        its backgrounds of them (``_make_backgrounds(measured, box, dtype)``).
    mosaic : galaxysegment.mosaic.Mosaic
    box : tuple of int
        Height and width of a box.

    Returns
    -------
    segmenter
        A copy that knows them.
    """
    known = copy(segmenter)
    known._backgrounds = Backgrounds()
    first = _measure_all(known, mosaic, box)
    if len(first) == 1:
        known._backgrounds.detection = first[0]
        return known
    known._backgrounds.bands = first
    known._backgrounds.detection = _measure_all(known, mosaic, box)[0]
    return known


def _measure_all(segmenter, mosaic, box):
    """Backgrounds of every band; of the detection image if there is one band, or the bands' are known."""
    strips = mosaic.map_rows(partial(_measure_strip, segmenter, box), box[0])
    dtype = strips[0][0]
    bands = zip(*(measured for _, measured in strips), strict=True)
    return [segmenter._make_backgrounds(np.concatenate(band, axis=1), box, dtype) for band in bands]


def _measure_strip(segmenter, box, rows, y0):
    rms_band = segmenter.rms_band
    if rms_band is not None and not (rows[rms_band] > 0).any():
        rows = np.full_like(rows, np.nan)  # no noise map here: no data
    if segmenter._backgrounds.bands is None:
        science, _ = split_rms(rows, rms_band)
        if len(science) > 1:
            return rows.dtype, [segmenter._measure_boxes(band, box) for band in science]
    placed = segmenter._at(y0, 0)
    detection, _, _ = split_detection(rows, rms_band, placed._background_of)
    return rows.dtype, [segmenter._measure_boxes(detection, box)]

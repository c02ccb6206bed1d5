"""From bands to the detection image, the image that sources are sought in, and its background.

Segmenters that subtract a background share it, on whole images and in the tiles of a mosaic.
"""

import numpy as np

from .._utils.learn import validate_parameter_constraints
from .._utils.validation import check_rms_band, split_rms
from ._contract import MosaicAware, Statistic
from ._correlation import NoiseCorrelation, noise_factor
from ._seams import Seams, steps_of


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
    """The ground of `PhotutilsSegmenter` and `SEPSegmenter`: sky level and noise.

    On a mosaic they are learnt from the whole of it. First the seams and the backgrounds of the
    science bands; if there are seams, the backgrounds of the levelled bands; if there are several
    bands, the background of the detection image made of them. A segmenter provides ``_box(shape)``,
    ``_measure_boxes(band, box, n_all)``, an array whose second axis runs along y, and
    ``_make_background(measured, box, dtype)``.
    """

    level_seams: bool
    correlated_noise: bool
    mask_objects: bool
    fwhm: float | None
    kernel_size: int
    box_size: int
    rms_band: int | None

    def _validate_params(self):
        super()._validate_params()
        names = ("level_seams", "correlated_noise", "mask_objects")
        validate_parameter_constraints(
            {name: ["boolean"] for name in names},
            {name: getattr(self, name) for name in names},
            caller_name=type(self).__name__,
        )

    def statistics_needed(self) -> dict[str, Statistic]:
        known = self._statistics
        if known is None:
            needed = {"bands": _Backgrounds(self)} | self._noise_needed()
            return needed | ({"seams": self._seams()} if self.level_seams else {})
        if any(known.get("seams", ())) and "levelled" not in known:
            return {"levelled": _Backgrounds(self)} | self._noise_needed()
        if len(known["bands"]) > 1 and "detection" not in known:
            return {"detection": _Backgrounds(self, of_detection=True)} | self._noise_needed()
        return {}

    def _noise_needed(self):
        """Ask how correlated the noise is; the last answer counts."""
        if not self.correlated_noise or self.fwhm is None:
            return {}
        statistic = NoiseCorrelation(
            self._detection_rows, self.fwhm, self.kernel_size, self.box_size
        )
        return {"correlation": statistic}

    def _seams(self):
        return Seams(self._science, self.box_size)

    def _known_background(self, band):
        """Background of a band of the mosaic, or of its detection image if `band` is None.

        None if the segmenter sees a whole image.
        """
        known = self._statistics
        if known is None:
            return None
        if band is None and "detection" in known:
            return known["detection"][0]
        # A single band is its own detection image.
        return known.get("levelled", known["bands"])[band or 0]

    def _science(self, image):
        return bands_with_noise(image, self.rms_band)

    def _levelled(self, image):
        """Image without the steps of the sky in its science bands."""
        if not self.level_seams:
            return image
        if self._statistics is None:
            shape, statistic = image.shape[-2:], self._seams()
            seams = statistic.combine([statistic.measure(image, 0, shape)], shape)
        else:
            seams = self._statistics["seams"]
        if not any(seams):
            return image
        image = image.copy()
        skipped = None if self.rms_band is None else self.rms_band % len(image)
        science = [band for index, band in enumerate(image) if index != skipped]
        for band, own in zip(science, seams, strict=True):
            np.subtract(band, steps_of(own, self._corner, band.shape, band.dtype), out=band)
        return image

    def _split(self, image):
        """Detection image, RMS map and pixels without data; as of `split_detection`."""
        return split_detection(self._levelled(image), self.rms_band, self._background_of)

    def _threshold_factor(self, detection, rms):
        """How much higher than of white noise the threshold has to be."""
        if not self.correlated_noise or self.fwhm is None:
            return 1.0
        if self._statistics is not None:
            return self._statistics["correlation"]
        return noise_factor(detection, rms, self.fwhm, self.kernel_size, self.box_size)

    def _placed_rows(self, rows, y0):
        """Levelled block of rows of the mosaic, and the segmenter that is told its place."""
        if self._statistics is None:
            return rows, self
        placed = self.with_statistics(self._statistics, (y0, 0))
        return placed._levelled(rows), placed

    def _detection_rows(self, rows, y0):
        """Detection image and RMS map of a block of rows of the mosaic."""
        rows, placed = self._placed_rows(rows, y0)
        rms_band = self.rms_band
        rms = None if rms_band is None else rows[rms_band]
        science = self._science(rows)
        if len(science) == 1 or self._statistics is None:
            return science[0], rms
        if rms is not None and not (rms > 0).any():
            rows = np.full_like(rows, np.nan)  # no noise map here: no data
        return split_detection(rows, rms_band, placed._background_of)[0], rms


class _Backgrounds(Statistic):
    """Backgrounds of the science bands, or of the detection image once those are known: a list."""

    def __init__(self, segmenter, of_detection=False):
        self.segmenter, self.of_detection = segmenter, of_detection

    def block_rows(self, shape):
        return self.segmenter._box(shape)[0]

    def measure(self, rows, y0, shape):
        box = self.segmenter._box(shape)
        return [
            (band.dtype, self.segmenter._measure_boxes(band, box, shape[0] * shape[1]))
            for band in self._bands(rows, y0)
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
        if self.of_detection:
            return [segmenter._detection_rows(rows, y0)[0]]
        rows, _ = segmenter._placed_rows(rows, y0)
        n_science = len(rows) - (rms_band is not None)
        if n_science == 1:
            return bands_with_noise(rows, rms_band)
        return list(rows if rms_band is None else np.delete(rows, rms_band, axis=0))

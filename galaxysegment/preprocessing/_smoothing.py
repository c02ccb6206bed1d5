"""Smooth images where pixels may be missing."""

from numbers import Integral, Real

import numpy as np
from scipy import ndimage
from sklearn.utils._param_validation import Interval

from ..base import BaseImageTransformer
from ._bands import map_science_bands

__all__ = ["GaussianSmoother", "gaussian_average", "gaussian_reach"]

_SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))


def gaussian_average(band, fwhm):
    """Average the pixels with data around each pixel by a Gaussian weight; NaN if there are none.

    The Gaussian ends at 4 standard deviations. Pixels beyond the edge are missing pixels.
    """
    sigma = fwhm * _SIGMA_PER_FWHM
    missing = np.isnan(band)
    # On values about their mean a large pedestal costs no precision.
    pivot = (
        band.dtype.type(np.mean(band, where=~missing, dtype=np.float64)) if not missing.all() else 0
    )
    values = np.where(missing, 0, band - pivot)
    # Beyond the image all weights are zero: a kernel that is larger would take memory for nothing.
    options = {"mode": "constant", "radius": min(gaussian_reach(fwhm), max(band.shape) - 1)}
    total = ndimage.gaussian_filter(values, sigma, **options)
    weight = _total_weight(missing, sigma, options).astype(band.dtype, copy=False)
    average = np.divide(total, weight, out=np.full_like(band, np.nan), where=weight > 0)
    return average + pivot


def gaussian_reach(fwhm):
    """Pixels around a pixel that `gaussian_average` looks at."""
    return int(4 * fwhm * _SIGMA_PER_FWHM + 0.5)


def _total_weight(missing, sigma, options):
    """Sum of the Gaussian's weights over the pixels with data around each pixel."""
    if missing.any():
        return ndimage.gaussian_filter((~missing).astype(np.float64), sigma, **options)
    rows, columns = (
        ndimage.gaussian_filter1d(np.ones(side), sigma, **options) for side in missing.shape
    )
    return np.multiply.outer(rows, columns)


class GaussianSmoother(BaseImageTransformer):
    """Convolve images with a Gaussian.

    Smoothing with a kernel as wide as the sources raises their signal to noise.

    Parameters
    ----------
    fwhm : float, default=3
        Full width at half maximum of the Gaussian, in pixels.
    rms_band : int or None, default=None
        Index of an RMS band, which passes untouched; None means there is none.

    Attributes
    ----------
    n_bands_in_ : int
        Number of bands seen in `fit`.

    Notes
    -----
    The convolution is normalized: each pixel becomes the weighted mean of the pixels with data
    around it, so that missing pixels and the edge do not darken their neighbours. NaN stays NaN:
    `BadPixelFiller` fills it.

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.preprocessing import GaussianSmoother
    >>> X = np.array([[[2.0, 2.0, 2.0], [2.0, np.nan, 2.0], [2.0, 2.0, 2.0]]])
    >>> GaussianSmoother().fit_transform(X)
    array([[[ 2.,  2.,  2.],
            [ 2., nan,  2.],
            [ 2.,  2.,  2.]]])
    """

    _parameter_constraints: dict = {
        "fwhm": [Interval(Real, 0, None, closed="neither")],
        "rms_band": [Integral, None],
    }
    _requires_fit = False

    def __init__(self, *, fwhm: float = 3, rms_band: int | None = None) -> None:
        self.fwhm = fwhm
        self.rms_band = rms_band

    @property
    def reach(self) -> int:  # type: ignore[override]
        return gaussian_reach(self.fwhm)

    def _transform_image(self, image):
        return map_science_bands(self._smooth, image, self.rms_band)

    def _smooth(self, band):
        return np.where(np.isnan(band), band, gaussian_average(band, self.fwhm))

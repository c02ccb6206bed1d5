"""Fill pixels without data."""

from numbers import Integral

import numpy as np
from scipy import ndimage
from sklearn.utils._param_validation import Interval, StrOptions

from ..base import BaseImageTransformer
from ._smoothing import gaussian_average, gaussian_reach

__all__ = ["BadPixelFiller"]

_CHUNK = 2**18  # windows at a time, which bounds the memory that large holes take


class BadPixelFiller(BaseImageTransformer):
    """Fill pixels without data (NaN) from the pixels around them.

    This is the one transformer after which no NaN is left: use it before a step that cannot take
    NaN.

    Parameters
    ----------
    method : {"interpolate", "median"}, default="interpolate"
        "interpolate": mean of the pixels around, weighted by a Gaussian. "median": median of the
        pixels in a square around the pixel, which cosmic rays and edges of stars do not sway.
    size : int, default=5
        Full width at half maximum of the Gaussian, or side of the square (odd), in pixels.

    Attributes
    ----------
    n_bands_in_ : int
        Number of bands seen in `fit`.

    Notes
    -----
    Pixels with data stay as they are. Inside a hole that the neighbourhood does not reach across, a
    pixel gets the value of the nearest pixel with data. Each band is filled on its own, an RMS band
    as well; a band without any data becomes zero, because nothing can fill it.

    A segmenter finds no source on a pixel that is NaN in all bands; after filling it may. To keep a
    star whole that bad columns cut in two, without labels on bad pixels, use the parameter `bridge`
    of the segmenter instead.

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.preprocessing import BadPixelFiller
    >>> X = np.array([[[1.0, 2.0, 3.0], [4.0, np.nan, 6.0], [7.0, 8.0, 9.0]]])
    >>> BadPixelFiller(method="median", size=3).fit_transform(X)[0, 1]
    array([4., 5., 6.])
    """

    _parameter_constraints: dict = {
        "method": [StrOptions({"interpolate", "median"})],
        "size": [Interval(Integral, 1, None, closed="left")],
    }
    _requires_fit = False
    _any_band = True

    def __init__(self, *, method: str = "interpolate", size: int = 5) -> None:
        self.method = method
        self.size = size

    def _fit_images(self, images):
        self._check_size()

    def _transform_image(self, image):
        self._check_size()
        return np.stack([self._fill(band) for band in image])

    @property
    def reach(self) -> int:  # type: ignore[override]
        # The nearest pixel, which fills what is left of a large hole, may be farther away.
        return gaussian_reach(self.size) if self.method == "interpolate" else self.size // 2

    def _check_size(self):
        if self.method == "median" and self.size % 2 == 0:
            raise ValueError(f"size must be odd where method='median'. Got {self.size} instead.")

    def _fill(self, band):
        missing = np.isnan(band)
        if not missing.any():
            return band
        if missing.all():
            return np.zeros_like(band)
        filled = band.copy()
        filled[missing] = self._around(band, missing)
        return _fill_with_nearest(filled)

    def _around(self, band, missing):
        if self.method == "interpolate":
            return gaussian_average(band, self.size)[missing]
        return _window_medians(band, np.nonzero(missing), self.size)


def _window_medians(band, pixels, size):
    """Median of the window around each pixel, NaN where the window has no data."""
    padded = np.pad(band, size // 2, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    medians = np.full(len(pixels[0]), np.nan, dtype=band.dtype)
    step = max(1, _CHUNK // size**2)
    for start in range(0, len(medians), step):
        part = slice(start, start + step)
        around = windows[pixels[0][part], pixels[1][part]].reshape(-1, size * size)
        known = ~np.isnan(around).all(axis=1)
        medians[part][known] = np.nanmedian(around[known], axis=1)
    return medians


def _fill_with_nearest(band):
    missing = np.isnan(band)
    if not missing.any():
        return band
    nearest = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    return band[tuple(nearest)]

"""Colour composites."""

from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval

from ..base import BaseImageTransformer

__all__ = ["LuptonRGB"]

_SLOPE_AT = 0.1  # fraction of `stretch` at which the curve meets the linear stretch


class LuptonRGB(BaseImageTransformer):
    """Combine three bands into an RGB image by the asinh scheme of Lupton et al. (2004).

    The mean intensity of the three bands is stretched by an asinh, and all bands are multiplied by
    the same factor: unlike a stretch of each band, this keeps the colour of a source at any
    brightness.

    Parameters
    ----------
    stretch : float, default=5
        Intensity above the minimum at which the image approaches white, in units of the image.
    Q : float, default=8
        Softening of the asinh: the larger, the stronger the compression of bright sources.
    order : tuple of 3 int, default=(0, 1, 2)
        Indices of the bands that become red, green and blue: the order of the bands themselves by
        default. Bands sorted by wavelength, such as g, r, z, need ``order=(2, 1, 0)``; one band
        becomes a grey image by ``order=(0, 0, 0)``.
    minimum : float or tuple of 3 float, default=0
        Value that becomes black, for all or for red, green and blue: the level of the background.

    Attributes
    ----------
    n_bands_in_ : int
        Number of bands seen in `fit`.

    Notes
    -----
    Images become images of three bands, red, green and blue, between 0 and 1. The values are those
    of `astropy.visualization.make_lupton_rgb` before it rounds them to 8 bits. A pixel that is NaN
    in one of the three bands has no colour: it is NaN in all.

    References
    ----------
    .. [1] Lupton, R. et al. (2004), "Preparing Red-Green-Blue Images from CCD Data", PASP 116, 133.
       :doi:`10.1086/382245`

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.preprocessing import LuptonRGB
    >>> X = np.array([[[[0.5, 50.0]], [[0.5, 50.0]], [[0.1, 10.0]]]])  # 100 times as bright
    >>> rgb = LuptonRGB().fit_transform(X)
    >>> rgb[0, :, 0].round(3)
    array([[0.104, 0.887],
           [0.104, 0.887],
           [0.021, 0.177]])
    """

    _parameter_constraints: dict = {
        "stretch": [Interval(Real, 0, None, closed="neither")],
        "Q": [Interval(Real, 0, None, closed="neither")],
        "order": [tuple, list],
        "minimum": [Real, tuple, list],
    }
    _requires_fit = False

    def __init__(
        self,
        *,
        stretch: float = 5,
        Q: float = 8,
        order: tuple[int, int, int] = (0, 1, 2),
        minimum: float | Sequence[float] = 0,
    ) -> None:
        self.stretch = stretch
        self.Q = Q
        self.order = order
        self.minimum = minimum

    def _fit_images(self, images):
        self._check_order(images[0].shape[0])
        self._minima()

    def _keeps_rms(self, n_bands):
        return False

    def _transform_image(self, image):
        self._check_order(image.shape[0])
        rgb = image[list(self.order)].astype(np.float64) - self._minima()
        intensity = rgb.mean(axis=0)
        rgb *= self._gain(intensity)
        np.clip(rgb, 0.0, None, out=rgb)
        # Where a band overflows, all are scaled down together, which keeps the colour.
        rgb /= np.maximum(rgb.max(axis=0), 1.0)
        return rgb.astype(image.dtype)

    def _gain(self, intensity):
        """Stretched intensity over intensity; zero if there is no light."""
        lit = intensity > 0
        gain = np.where(np.isnan(intensity), np.nan, 0.0)
        slope = _SLOPE_AT / np.arcsinh(_SLOPE_AT * self.Q)
        stretched = np.arcsinh(intensity * (self.Q / self.stretch)) * slope
        return np.divide(stretched, intensity, out=gain, where=lit)

    def _check_order(self, n_bands):
        valid = [isinstance(band, Integral) and -n_bands <= band < n_bands for band in self.order]
        if len(valid) != 3 or not all(valid):
            raise ValueError(
                "order must hold the indices of the bands that become red, green and blue, but X "
                "has "
                f"{n_bands} band(s). Got order={tuple(self.order)} instead: use order=(0, 0, 0) "
                "for a grey image "
                "of the first band."
            )

    def _minima(self):
        minima = np.asarray(self.minimum, dtype=np.float64)
        if minima.shape not in {(), (3,)} or not np.isfinite(minima).all():
            raise ValueError(
                f"minimum must be one or three finite numbers. Got {self.minimum!r} instead."
            )
        return np.broadcast_to(minima, 3)[:, None, None]

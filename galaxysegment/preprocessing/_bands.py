"""Which bands a transformer works on."""

from collections.abc import Sequence
from numbers import Integral

import numpy as np

from .._utils.validation import check_rms_band
from ..base import BaseImageTransformer

__all__ = ["BandSelector", "map_science_bands", "science_bands"]


def science_bands(n_bands, rms_band):
    """Indices of all bands but the RMS band."""
    if rms_band is None:
        return list(range(n_bands))
    check_rms_band(rms_band, n_bands)
    return np.delete(np.arange(n_bands), rms_band).tolist()


def map_science_bands(function, image, rms_band):
    """Copy `image` with `function` of every band but the RMS band, which stays as it is."""
    result = image.copy()
    for band in science_bands(len(image), rms_band):
        result[band] = function(image[band])
    return result


class BandSelector(BaseImageTransformer):
    """Keep some bands of the images, or drop some.

    Parameters
    ----------
    bands : int or list of int, default=0
        Indices of the bands, in the order wanted; negative ones count from the last.
    drop : bool, default=False
        Drop the named bands and keep the others. ``BandSelector(bands=-1, drop=True)`` takes the
        RMS map away.

    Attributes
    ----------
    n_bands_in_ : int
        Number of bands seen in `fit`.

    See Also
    --------
    RMSAdder : Add the RMS map to the image instead of dropping it.

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.preprocessing import BandSelector
    >>> X = np.zeros((5, 4, 32, 32))  # g, r, z and an RMS map
    >>> BandSelector(bands=-1, drop=True).fit_transform(X).shape
    (5, 3, 32, 32)
    >>> BandSelector(bands=[2, 1, 0]).fit_transform(X).shape
    (5, 3, 32, 32)
    """

    _parameter_constraints: dict = {"bands": [Integral, list, tuple], "drop": ["boolean"]}
    _requires_fit = False
    _any_band = True

    def __init__(self, *, bands: int | Sequence[int] = 0, drop: bool = False) -> None:
        self.bands = bands
        self.drop = drop

    def _fit_images(self, images):
        self._selection(images[0].shape[0])

    def _keeps_rms(self, n_bands):
        return self._selection(n_bands)[-1] in (-1, n_bands - 1)

    def _transform_image(self, image):
        return image[self._selection(image.shape[0])]

    def _selection(self, n_bands):
        bands = [self.bands] if isinstance(self.bands, Integral) else list(self.bands)
        if not bands or not all(
            isinstance(band, Integral) and -n_bands <= band < n_bands for band in bands
        ):
            raise ValueError(
                f"bands must name bands of X, which has {n_bands}: integers from {-n_bands} to "
                f"{n_bands - 1}. "
                f"Got {self.bands!r} instead."
            )
        if not self.drop:
            return bands
        kept = np.delete(np.arange(n_bands), bands)
        if not kept.size:
            raise ValueError(
                f"bands={self.bands!r} with drop=True leaves none of the {n_bands} band(s) of X."
            )
        return kept

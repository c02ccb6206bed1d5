"""Scale the brightness of images to the range from 0 to 1."""

from numbers import Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from ..base import BaseImageTransformer, Statistic
from ..detection._statistics import Extremes, extremes
from ._stretches import STRETCHES, make_stretch, scale_band

__all__ = ["ImageNormalizer"]


class ImageNormalizer(BaseImageTransformer):
    """Scale each band between two limits to [0, 1], then stretch it.

    Limits and stretches have the names of `astropy.visualization`. An RMS band is a band like any
    other: it is scaled by its own limits.

    Parameters
    ----------
    interval : {"minmax", "zscale", "percentile"} or (float, float), default="minmax"
        How to find the two limits of a band: its extremes; IRAF's zscale; the range that holds the
        percentage `percentile` of the pixels; or the two values themselves, in the units of the
        image, None for the extreme on that side. Values beyond the limits become 0 and 1.
    stretch : {"linear", "asinh", "log", "power", "powerdist", "sinh", "sqrt", "squared"}, \
            default="linear"
        What to do with the values between 0 and 1.
    limits : {"image", "fit"}, default="image"
        Where the limits come from. "image": from each image on its own, so that nothing is learnt.
        "fit": from all images seen in `fit` together, so that one value means the same brightness
        in all images; this is what keeps the tiles of a mosaic alike.
    percentile : float, default=99.5
        Percentage of the pixels between the limits where ``interval="percentile"``; as many are cut
        off below as above.
    stretch_a : float, optional
        Parameter `a` of the stretches "asinh" (astropy's default 0.1), "log" (1000), "powerdist"
        (1000), "sinh" (1/3) and "power" (the exponent, 2); the others have none and ignore it.

    Attributes
    ----------
    limits_ : ndarray of shape (n_bands, 2)
        Lower and upper limit of each band; only where ``limits="fit"``.
    n_bands_in_ : int
        Number of bands seen in `fit`.

    See Also
    --------
    FITSLiberatorStretch : Stretch between the background and a peak level.
    NoiseNormalizer : Divide by the noise.

    Notes
    -----
    NaN stays NaN and does not count for the limits. A band whose limits coincide, a constant one,
    becomes zero; a band without data stays NaN, and is refused in `fit` where ``limits="fit"``.

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.preprocessing import ImageNormalizer
    >>> X = np.array([[[0.0, 5.0], [10.0, np.nan]]])
    >>> ImageNormalizer().fit_transform(X)
    array([[[0. , 0.5],
            [1. , nan]]])
    >>> ImageNormalizer(interval=(0, 20), stretch="sqrt").fit_transform(X)
    array([[[0.        , 0.5       ],
            [0.70710678,        nan]]])
    """

    _parameter_constraints: dict = {
        "interval": [StrOptions({"minmax", "zscale", "percentile"}), tuple, list],
        "stretch": [StrOptions(set(STRETCHES))],
        "limits": [StrOptions({"image", "fit"})],
        "percentile": [Interval(Real, 0, 100, closed="right")],
        "stretch_a": [Interval(Real, 0, None, closed="neither"), None],
    }
    _any_band = True

    def __init__(
        self,
        *,
        interval: str | tuple[float, float] = "minmax",
        stretch: str = "linear",
        limits: str = "image",
        percentile: float = 99.5,
        stretch_a: float | None = None,
    ) -> None:
        self.interval = interval
        self.stretch = stretch
        self.limits = limits
        self.percentile = percentile
        self.stretch_a = stretch_a

    @property
    def _requires_fit(self):
        return self.limits == "fit"

    def __sklearn_is_fitted__(self):
        return not self._requires_fit or hasattr(self, "limits_")

    def _fit_images(self, images):
        self._interval()
        if hasattr(self, "limits_"):  # of an earlier fit
            del self.limits_
        if self.limits == "fit":
            limits = self._limits_of(images)
            empty = np.flatnonzero(np.isnan(limits).any(axis=1))
            if empty.size:
                raise ValueError(
                    f"Band {empty[0]} of X has no data in any image (all NaN), so limits='fit' "
                    "has nothing to "
                    "learn from: drop the band, or use limits='image'."
                )
            self.limits_ = limits

    def _transform_image(self, image):
        stretch = make_stretch(self.stretch, self.stretch_a)
        limits = self._limits_in_use(image)
        result = np.empty_like(image)
        for scaled, band, (low, high) in zip(result, image, limits.tolist(), strict=True):
            scaled[...] = scale_band(band, low, high, stretch)
        return result

    def statistics_needed(self) -> dict[str, Statistic]:
        """Ask for the extremes of each band; see `galaxysegment.base.MosaicAware`."""
        if self._statistics is not None or self.limits == "fit" or self._limits_are_given():
            return {}
        if self.interval in {"zscale", "percentile"}:
            raise ValueError(
                f"ImageNormalizer(interval={self.interval!r}) finds the limits of each image, "
                "which a mosaic in tiles "
                "does not have: use limits='fit' and fit it to a section of the mosaic, or give "
                "the two limits."
            )
        return {"extremes": Extremes()}

    def _limits_are_given(self):
        return not isinstance(self.interval, str) and None not in self.interval

    def _limits_in_use(self, image):
        """Limits of each band: learnt in `fit`, of the mosaic, or of the image itself."""
        if self.limits == "fit":
            return self.limits_
        if self._statistics is None:
            return self._limits_of([image])
        interval = self._interval()
        ends = self._statistics["extremes"]
        return np.array([_limits(interval, [pair]) for pair in ends])

    def _limits_of(self, images):
        """Limits of each band of all `images` together, NaN if there are no data."""
        interval = self._interval()
        return np.array(
            [
                _limits(interval, [image[band] for image in images])
                for band in range(images[0].shape[0])
            ]
        )

    def _interval(self):
        """Return the astropy interval, or "minmax", which needs no copy of the pixels."""
        from astropy import visualization

        if self.interval == "minmax":
            return "minmax"
        if self.interval == "zscale":
            return visualization.ZScaleInterval()
        if self.interval == "percentile":
            return visualization.PercentileInterval(self.percentile)
        return visualization.ManualInterval(*self._check_pair())

    def _check_pair(self):
        pair = list(self.interval)
        numbers = [value for value in pair if value is not None]
        if (
            len(pair) != 2
            or not all(isinstance(value, Real) and np.isfinite(value) for value in numbers)
            or (len(numbers) == 2 and not numbers[0] < numbers[1])
        ):
            raise ValueError(
                "interval must be 'minmax', 'zscale', 'percentile' or two numbers (low, high) "
                "with low < high, "
                f"one of which may be None. Got {self.interval!r} instead."
            )
        return pair


def _limits(interval, bands):
    if interval == "minmax":
        lows, highs = zip(*(extremes(band) for band in bands), strict=True)
        return float(np.fmin.reduce(lows)), float(np.fmax.reduce(highs))
    values = np.concatenate([band[~np.isnan(band)] for band in bands])
    if not values.size:
        return np.nan, np.nan
    low, high = interval.get_limits(values)
    return float(low), float(high)

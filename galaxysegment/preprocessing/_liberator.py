"""The scaling and stretching of the FITS Liberator."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from ..base import BaseImageTransformer, Statistic
from ._bands import map_science_bands

__all__ = ["FITSLiberatorStretch"]

_FINITE = Interval(Real, None, None, closed="neither")
_BLACK_PERCENTILE = 5  # what the program itself starts from
_PEAK_PERCENTILE = 99.9
_N_SAMPLES = 100_000  # for the background level


def _log(x):
    return np.log10(x + 1)


def _root(degree):
    return lambda x: np.sign(x) * np.abs(x) ** (1 / degree)


_sqrt = _root(2)

_STRETCHES = {
    "linear": lambda x: x,
    "log": _log,
    "log_log": lambda x: _log(_log(x)),
    "log_sqrt": lambda x: _log(_sqrt(x)),
    "sqrt": _sqrt,
    "cube_root": np.cbrt,
    "root4": _root(4),
    "root5": _root(5),
    "asinh": np.arcsinh,
    "asinh_asinh": lambda x: np.arcsinh(np.arcsinh(x)),
    "asinh_sqrt": lambda x: np.arcsinh(_sqrt(x)),
}


class FITSLiberatorStretch(BaseImageTransformer):
    """Enhance the contrast of images as the FITS Liberator 3 does.

    ``x = (image - background_level) / (peak_level - background_level) * scaled_peak_level``, then
    the stretch, then a clipping to the black and the white level. A level that is None is estimated
    for each image and band.

    Parameters
    ----------
    stretch : str, default="asinh"
        The function of the scaled value x. "linear"; "log" is log10(x + 1); "sqrt", "cube_root",
        "root4" and "root5" are the roots of abs(x) with the sign of x; "asinh"; "log_log",
        "log_sqrt", "asinh_asinh" and "asinh_sqrt" are the first function of the second.
    background_level : float, optional
        Brightness of the sky, in units of the image; scaled to 0. Estimated as the median of the
        pixels that are left after clipping at 3 standard deviations.
    peak_level : float, optional
        Brightness of the brightest structure of interest, in units of the image; scaled to
        `scaled_peak_level`. Estimated as the 99.9th percentile of the pixels, or the maximum where
        that is not above the background.
    scaled_peak_level : float, default=10
        Value of the peak before the stretch: the larger, the more is made of what is faint.
    black_level, white_level : float, optional
        Values after the stretch; what lies below or above is set to them. Black is estimated as the
        stretched 5th percentile of the pixels, which is where the program itself starts, or the
        background where that is fainter or a logarithm cannot take the percentile; white as the
        stretched peak.
    rms_band : int or None, default=None
        Index of an RMS band, which passes untouched; None means there is none.

    Attributes
    ----------
    n_bands_in_ : int
        Number of bands seen in `fit`.

    See Also
    --------
    ImageNormalizer : Bring the result to the range from 0 to 1.

    Notes
    -----
    Estimated levels make the result independent of the unit and the zero point of the image, but
    differ from image to image: give all four where images must stay comparable. NaN stays NaN.
    Pixels too faint for a logarithm become black. A band in which nothing is brighter than the
    background, a constant one for example, becomes zero.

    References
    ----------
    .. [1] Hurt, R., Christensen, L. L., Nielsen, K. K. and Johansen, T., "User's Guide: The
       ESA/ESO/NASA
       FITS Liberator v.3.0", 2010.
    .. [2] Program and source: https://noirlab.edu/public/products/fitsliberator/

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.preprocessing import FITSLiberatorStretch
    >>> X = np.array([[[100.0, 150.0], [200.0, 1000.0]]])
    >>> stretch = FITSLiberatorStretch(background_level=100, peak_level=200, black_level=0)
    >>> stretch.fit_transform(X).round(3)
    array([[[0.   , 2.312],
            [2.998, 2.998]]])
    """

    _parameter_constraints: dict = {
        "stretch": [StrOptions(set(_STRETCHES))],
        "background_level": [_FINITE, None],
        "peak_level": [_FINITE, None],
        "scaled_peak_level": [Interval(Real, 0, None, closed="neither")],
        "black_level": [_FINITE, None],
        "white_level": [_FINITE, None],
        "rms_band": [Integral, None],
    }
    _requires_fit = False

    def __init__(
        self,
        *,
        stretch: str = "asinh",
        background_level: float | None = None,
        peak_level: float | None = None,
        scaled_peak_level: float = 10,
        black_level: float | None = None,
        white_level: float | None = None,
        rms_band: int | None = None,
    ) -> None:
        self.stretch = stretch
        self.background_level = background_level
        self.peak_level = peak_level
        self.scaled_peak_level = scaled_peak_level
        self.black_level = black_level
        self.white_level = white_level
        self.rms_band = rms_band

    def _fit_images(self, images):
        self._check_levels()

    def _transform_image(self, image):
        self._check_levels()
        return map_science_bands(self._stretch_band, image, self.rms_band)

    def statistics_needed(self) -> dict[str, Statistic]:
        """Refuse levels that would be estimated in each tile of a mosaic on its own."""
        missing = [
            name
            for name in ("background_level", "peak_level", "black_level")
            if getattr(self, name) is None
        ]
        if missing:
            raise ValueError(
                f"FITSLiberatorStretch estimates {', '.join(missing)} from each image, which a "
                "mosaic in tiles does "
                "not have: give the levels."
            )
        return {}

    def _check_levels(self):
        _check_order("background_level", self.background_level, "peak_level", self.peak_level)
        _check_order("black_level", self.black_level, "white_level", self.white_level)

    def _stretch_band(self, band):
        missing = np.isnan(band)
        ordered = np.sort(band[~missing])
        if not ordered.size:
            return band
        background = (
            _background_level(ordered) if self.background_level is None else self.background_level
        )
        peak = _peak_level(ordered, background) if self.peak_level is None else self.peak_level
        if not peak > background:
            return self._without_contrast(missing, background)
        factor = self.scaled_peak_level / (peak - background)
        black, white = self._clipping_levels(ordered, background, factor)
        stretched = self._apply(np.subtract(band, background, dtype=np.float64) * factor)
        clipped = np.fmin(np.fmax(stretched, black), white)
        clipped[missing] = np.nan
        return clipped

    def _without_contrast(self, missing, background):
        if self.peak_level is not None:
            raise ValueError(
                f"peak_level={self.peak_level} is not above the background level {background:g} "
                "that was estimated "
                "from the image: give background_level as well."
            )
        return np.where(missing, np.nan, 0.0)

    def _apply(self, scaled):
        # What a logarithm cannot take is clipped to black afterwards.
        with np.errstate(divide="ignore", invalid="ignore"):
            return _STRETCHES[self.stretch](scaled)

    def _clipping_levels(self, ordered, background, factor):
        black, white = self.black_level, self.white_level
        if black is None:
            start = (float(np.percentile(ordered, _BLACK_PERCENTILE)) - background) * factor
            black = self._apply(np.float64(start))
            # Never above the background, which every stretch leaves at 0, nor where a logarithm has
            # no value.
            black = min(black, 0.0) if np.isfinite(black) else 0.0
        if white is None:
            white = self._apply(np.float64(self.scaled_peak_level))
        _check_order("black_level", black, "white_level", white, "Give both to set them.")
        return black, white


def _check_order(low_name, low, high_name, high, hint=""):
    if low is not None and high is not None and not low < high:
        raise ValueError(
            f"{high_name} must be above {low_name}. Got {high_name}={high:g}, "
            f"{low_name}={low:g}. {hint}".rstrip()
        )


def _background_level(ordered):
    from astropy.stats import sigma_clipped_stats

    # Every k-th of the sorted pixels is distributed as they all are.
    sample = ordered[:: max(1, ordered.size // _N_SAMPLES)]
    return float(
        sigma_clipped_stats(sample.astype(np.float64))[1]
    )  # float32 squares of faint levels vanish


def _peak_level(ordered, background):
    peak = float(np.percentile(ordered, _PEAK_PERCENTILE))
    return peak if peak > background else float(ordered[-1])

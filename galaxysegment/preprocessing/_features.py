"""Texture features of every pixel, for segmenters that classify pixels."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._utils.shared import ignored
from .._utils.validation import check_rms_band
from ..base import BaseImageTransformer, Statistic
from ..detection._statistics import prepared
from ._filling import BadPixelFiller
from ._rms import NoiseNormalizer
from ._smoothing import GaussianSmoother, gaussian_reach

__all__ = ["PixelFeatures", "stretched_signal"]

HARALICK_NAMES = (
    "angular_second_moment",
    "contrast",
    "correlation",
    "variance",
    "inverse_difference_moment",
    "sum_average",
    "sum_variance",
    "sum_entropy",
    "entropy",
)
_PERCENTILES = (0.1, 99.9)
_LARGEST_SAMPLE = 1 << 22  # grey values that the percentiles are taken of
# A Gaussian of this FWHM divides the standard deviation of white noise by FWHM times this.
_NOISE_PER_FWHM = 2 * np.sqrt(np.pi) / np.sqrt(8 * np.log(2))


def stretched_signal(image, normalizer, fwhm):
    """Return the asinh of the signal to noise of each science band, smoothed before.

    Parameters
    ----------
    image : ndarray of shape (n_bands, height, width)
    normalizer : NoiseNormalizer
        Makes signal to noise of the image.
    fwhm : float or None
        Full width at half maximum of the Gaussian in pixels. The noise counts as white: what
        smoothing takes from it is given back as a factor, so that the sky keeps a scatter of about
        1.
    """
    signal = normalizer.fit_transform([image])[0]
    if fwhm is not None:
        signal = GaussianSmoother(fwhm=fwhm).fit_transform([signal])[0]
        signal *= signal.dtype.type(max(1.0, _NOISE_PER_FWHM * fwhm))
    return np.arcsinh(signal, out=signal)


class PixelFeatures(BaseImageTransformer):
    """Describe each pixel by its bands and by the texture of the window around it.

    The bands at hand are followed by a local binary pattern and nine Haralick features: 13 for an
    image in red, green and blue, 11 for one of a single band. The texture is that of the grey
    image, the mean of the science bands, quantized to a few levels.

    Parameters
    ----------
    window : int, default=11
        Odd side of the window of the Haralick features in pixels, 3 to 127.
    n_levels : int, default=32
        Number of grey levels, 2 to 256.
    level_range : tuple of two floats, optional
        Grey values that the levels span; beyond lies the first or the last level. None: the 0.1st
        and 99.9th percentile of the images given to `fit`.
    stretch : {"asinh", "linear"}, default="asinh"
        What becomes of the grey image before it is quantized. "asinh": background and noise are
        estimated and the inverse hyperbolic sine of the signal to noise is taken, which gives
        images of any unit and depth the same levels. "linear": it is taken as it is, for images
        that are stretched already.
    fwhm : float or None, default=3
        Full width at half maximum, in pixels, of a Gaussian that smooths the grey image; None
        leaves it.
    lbp_radius : float, default=6
        Radius of the circle of the local binary pattern in pixels.
    lbp_points : int, default=36
        Number of points on that circle.
    rms_band : int or None, default=None
        Index of an RMS map among the bands: it is no feature and is dropped; with
        ``stretch="asinh"`` it is the noise. None: there is none.
    n_jobs : int, optional
        Threads that share the rows of an image; the result does not depend on it.
    engine : {"numba", "mahotas"}, default="numba"
        What computes the Haralick features. "numba": a kernel of this package. "mahotas": one call
        of mahotas for each window, the reference; the features agree to 1e-9, but it takes about a
        thousand times as long and one thread, so use it on small images to check.

    Attributes
    ----------
    level_range_ : tuple of two floats
        Grey values that the levels span.
    n_bands_in_ : int
        Number of bands seen in `fit`, the RMS map included.

    See Also
    --------
    galaxysegment.segmenters.RandomForestSegmenter : Classifies pixels by these features.

    Notes
    -----
    The features and their order: the science bands, unchanged; the local binary pattern, rotation
    invariant and uniform [2]_, of the grey levels (``skimage.feature.local_binary_pattern``);
    angular second moment, contrast, correlation, variance, inverse difference moment, sum average,
    sum variance, sum entropy and entropy [1]_ of the symmetric co-occurrence matrix of neighbouring
    levels in the window, each the mean over four directions (``mahotas.features.haralick``, to 1e-9
    in double precision; float32 images give float32 features, rounded at the end).

    Edges: the window of the Haralick features is clipped at the border of the image, and for the
    local binary pattern the image is mirrored there. NaN: a pixel without data takes part in no
    pair and is NaN in all texture features; the local binary pattern of its neighbours sees it
    interpolated. A window in which all levels are equal has correlation 1, second moment and
    inverse difference moment 1, and no contrast, variance or entropy; so has one without any pair
    of pixels with data.

    Each step of the window changes two columns of pairs only, and all sums are updated by these:
    the cost grows with the number of pixels and with the side of the window, not with its area or
    the levels. The first use compiles for some seconds; the result is kept on disk.

    References
    ----------
    .. [1] R. M. Haralick, K. Shanmugam, I. Dinstein, "Textural Features for Image Classification",
       IEEE Transactions on Systems, Man, and Cybernetics SMC-3, 610 (1973).
       :doi:`10.1109/TSMC.1973.4309314`
    .. [2] T. Ojala, M. Pietikäinen, T. Mäenpää, "Multiresolution gray-scale and rotation invariant
       texture classification with local binary patterns", IEEE Transactions on Pattern Analysis and
       Machine Intelligence 24, 971 (2002). :doi:`10.1109/TPAMI.2002.1017623`

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.preprocessing import PixelFeatures
    >>> X = np.random.default_rng(0).normal(size=(2, 3, 32, 32))  # two images in three bands
    >>> features = PixelFeatures(window=5).fit(X)
    >>> features.transform(X).shape
    (2, 13, 32, 32)
    >>> features.get_feature_names_out()[2:6].tolist()
    ['band_2', 'local_binary_pattern', 'angular_second_moment', 'contrast']
    """

    _parameter_constraints: dict = {
        "window": [Interval(Integral, 3, 127, closed="both")],
        "n_levels": [Interval(Integral, 2, 256, closed="both")],
        "level_range": [tuple, list, None],
        "stretch": [StrOptions({"asinh", "linear"})],
        "fwhm": [Interval(Real, 0, None, closed="neither"), None],
        "lbp_radius": [Interval(Real, 0, None, closed="neither")],
        "lbp_points": [Interval(Integral, 1, None, closed="left")],
        "rms_band": [Integral, None],
        "n_jobs": [Integral, None],
        "engine": [StrOptions({"numba", "mahotas"})],
    }

    def __init__(
        self,
        *,
        window: int = 11,
        n_levels: int = 32,
        level_range: tuple[float, float] | None = None,
        stretch: str = "asinh",
        fwhm: float | None = 3,
        lbp_radius: float = 6,
        lbp_points: int = 36,
        rms_band: int | None = None,
        n_jobs: int | None = None,
        engine: str = "numba",
    ) -> None:
        self.window = window
        self.n_levels = n_levels
        self.level_range = level_range
        self.stretch = stretch
        self.fwhm = fwhm
        self.lbp_radius = lbp_radius
        self.lbp_points = lbp_points
        self.rms_band = rms_band
        self.n_jobs = n_jobs
        self.engine = engine

    def get_feature_names_out(self, input_features: Sequence[str] | None = None) -> NDArray[Any]:
        """Name the bands of the transformed images.

        Parameters
        ----------
        input_features : sequence of str, optional
            Names of the bands of the images, the RMS map included; "band_0", "band_1", … unless
            given.

        Returns
        -------
        ndarray of str, shape (n_features,)
            The science bands and the texture features.
        """
        check_is_fitted(self)
        if input_features is None:
            input_features = [f"band_{index}" for index in range(self.n_bands_in_)]
        if len(input_features) != self.n_bands_in_:
            raise ValueError(
                f"input_features has {len(input_features)} names, but the images had "
                f"{self.n_bands_in_} band(s): "
                "give one per band."
            )
        names = [str(name) for name in input_features]
        if self.rms_band is not None:
            del names[self.rms_band]
        return np.array([*names, "local_binary_pattern", *HARALICK_NAMES], dtype=object)

    def _fit_images(self, images):
        self._check_parameters(images[0].shape[0])
        self.level_range_ = (
            self._learn_range(images) if self.level_range is None else self._given_range()
        )

    def _check_parameters(self, n_bands):
        if self.window % 2 == 0:
            raise ValueError(
                f"window must be odd, so that it has a central pixel. Got {self.window} instead."
            )
        if self.rms_band is not None:
            check_rms_band(self.rms_band, n_bands)

    def _given_range(self):
        ends = tuple(self.level_range)
        if (
            len(ends) != 2
            or not all(isinstance(end, Real) for end in ends)
            or not ends[0] < ends[1]
        ):
            raise ValueError(
                f"level_range must be two numbers, low < high. Got {self.level_range!r} instead."
            )
        return float(ends[0]), float(ends[1])

    def _learn_range(self, images):
        most = max(1, _LARGEST_SAMPLE // len(images))
        samples = []
        for image in images:
            grey = self._grey(image).ravel()
            samples.append(grey[:: -(-grey.size // most)])
        sample = np.concatenate(samples)
        sample = sample[~np.isnan(sample)]
        if not sample.size:
            return 0.0, 1.0  # nothing but missing pixels: any range does
        low, high = np.percentile(sample.astype(np.float64), _PERCENTILES)
        return float(low), float(high)

    @property
    def reach(self) -> int:  # type: ignore[override]
        smoothing = 0 if self.fwhm is None else gaussian_reach(self.fwhm)
        return (
            self.window // 2
            + int(np.ceil(self.lbp_radius))
            + smoothing
            + BadPixelFiller().reach
            + 1
        )

    def _keeps_rms(self, n_bands):
        return False

    def _transform_image(self, image):
        self._check_parameters(image.shape[0])
        science = self._science(image)
        features = np.empty(
            (len(science) + 1 + len(HARALICK_NAMES), *image.shape[1:]), dtype=image.dtype
        )
        features[: len(science)] = science
        self._fill_texture(self._grey(image), features[len(science) :])
        return features

    def _science(self, image):
        return image if self.rms_band is None else np.delete(image, self.rms_band, axis=0)

    def _grey(self, image):
        """Mean of the bands with data, stretched and smoothed; NaN if there are none."""
        mean = self._mean(image)
        if self.stretch == "asinh":
            return stretched_signal(mean, self._normalizer(), self.fwhm)[0]
        grey = mean[0]
        if self.fwhm is None:
            return grey
        return GaussianSmoother(fwhm=self.fwhm).fit_transform([grey])[0]

    def _mean(self, image):
        """Mean of the bands with data, then the RMS map if there is one."""
        science = self._science(image)
        with ignored("Mean of empty slice"):
            grey = science[0] if len(science) == 1 else np.nanmean(science, axis=0)
        return grey[None] if self.rms_band is None else np.stack([grey, image[self.rms_band]])

    def _normalizer(self):
        normalizer = NoiseNormalizer(rms_band=None if self.rms_band is None else -1)
        if self._statistics is None:
            return normalizer
        return normalizer.with_statistics(self._statistics, self._corner)

    def statistics_needed(self) -> dict[str, Statistic]:
        """Ask for the background mesh of the grey image; see `galaxysegment.base.MosaicAware`."""
        if self.stretch != "asinh":
            return {}
        return prepared(self._normalizer().statistics_needed(), self._mean)

    def _fill_texture(self, grey, out):
        if self.engine == "mahotas":
            from ._haralick_mahotas import haralick_maps
        else:
            from ._haralick import haralick_maps
        missing = np.isnan(grey)
        levels = self._quantize(BadPixelFiller().fit_transform([grey])[0])
        out[0] = self._binary_pattern(levels)
        out[0][missing] = np.nan
        levels[missing] = -1
        haralick_maps(levels, self.window, self.n_levels, out=out[1:], n_jobs=self.n_jobs)

    def _quantize(self, grey):
        low, high = self.level_range_
        scale = self.n_levels / (high - low) if high > low else 0.0
        return np.clip((grey.astype(np.float64) - low) * scale, 0, self.n_levels - 1).astype(
            np.int16
        )

    def _binary_pattern(self, levels):
        from skimage.feature import local_binary_pattern

        border = int(np.ceil(self.lbp_radius)) + 1
        padded = np.pad(levels, border, mode="symmetric")
        pattern = local_binary_pattern(padded, self.lbp_points, self.lbp_radius, method="uniform")
        return pattern[border:-border, border:-border]

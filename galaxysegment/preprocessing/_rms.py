"""Bring the noise map and the image together."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from .._utils.validation import check_rms_band, split_rms
from ..base import BaseImageTransformer, Statistic
from ..detection._bands import bands_with_noise
from ..detection._statistics import BackgroundMeshes, Extremes, extremes
from ._background import known_meshes, subtract_background
from ._stretches import make_stretch, scale_band

__all__ = ["NoiseNormalizer", "RMSAdder"]


class RMSAdder(BaseImageTransformer):
    """Add the stretched RMS map to the image and drop the RMS band.

    Where the RMS map holds the sources' own photon noise, galaxies show in it, and adding it lifts
    them above the background.

    Parameters
    ----------
    rms_band : int, default=-1
        Index of the RMS map among the bands.
    stretch : {"log", "linear", "asinh", "sqrt"}, default="log"
        Stretch of the RMS map, a name of `astropy.visualization`.
    stretch_a : float, optional
        Parameter `a` of the stretch: 500 for "log" and astropy's 0.1 for "asinh" unless given; the
        others have none and ignore it.
    normalize : bool, default=True
        Scale the RMS map of each image between its extremes to [0, 1] before the stretch. False
        takes it as it is, clipped to [0, 1]: for maps that `ImageNormalizer` with ``limits="fit"``
        has scaled.

    Attributes
    ----------
    n_bands_in_ : int
        Number of bands seen in `fit`, the RMS band included.

    See Also
    --------
    ImageNormalizer : Scale the image, so that both summands have the same weight.
    make_variant : The pipelines in which this step was tried.

    Notes
    -----
    Images of n bands become images of n - 1 bands; each gets the same RMS map added. NaN in a band
    or in the RMS map gives NaN. An RMS of zero is a value here: let it be NaN where it means "no
    data".

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.preprocessing import RMSAdder
    >>> image, rms = np.zeros((2, 2)), np.array([[1.0, 1.5], [2.0, np.nan]])
    >>> RMSAdder(stretch="linear").fit_transform([np.stack([image, rms])])
    [array([[[0. , 0.5],
            [1. , nan]]])]
    """

    _parameter_constraints: dict = {
        "rms_band": [Integral],
        "stretch": [StrOptions({"log", "linear", "asinh", "sqrt"})],
        "stretch_a": [Interval(Real, 0, None, closed="neither"), None],
        "normalize": ["boolean"],
    }
    _requires_fit = False

    def _keeps_rms(self, n_bands):
        return False

    def __init__(
        self,
        *,
        rms_band: int = -1,
        stretch: str = "log",
        stretch_a: float | None = None,
        normalize: bool = True,
    ) -> None:
        self.rms_band = rms_band
        self.stretch = stretch
        self.stretch_a = stretch_a
        self.normalize = normalize

    def _fit_images(self, images):
        check_rms_band(self.rms_band, images[0].shape[0])

    def _transform_image(self, image):
        check_rms_band(self.rms_band, image.shape[0])
        science = np.delete(image, self.rms_band, axis=0)
        science += self._stretched(image[self.rms_band]).astype(image.dtype, copy=False)
        return science

    def _stretched(self, rms):
        a = 500.0 if self.stretch == "log" and self.stretch_a is None else self.stretch_a
        limits = (0, 1)
        if self.normalize and self._statistics is None:
            limits = extremes(rms)
        elif self.normalize:
            limits = self._statistics["extremes"][self.rms_band]
        return scale_band(rms, *map(float, limits), make_stretch(self.stretch, a))

    def statistics_needed(self) -> dict[str, Statistic]:
        """Ask for the extremes of the RMS map; see `galaxysegment.base.MosaicAware`."""
        return {"extremes": Extremes()} if self.normalize and self._statistics is None else {}


class NoiseNormalizer(BaseImageTransformer):
    """Turn images into signal to noise: (image - background) / RMS.

    A pixel of empty sky then has mean 0 and standard deviation 1 at any depth and in any unit,
    which is what networks like to be fed.

    Parameters
    ----------
    rms_band : int or None, default=None
        Index of the RMS map among the bands; it divides the others and is dropped. None: the noise
        is estimated from each band, on a mesh as the background is.
    subtract_background : bool, default=True
        Subtract the background, estimated on the mesh, before dividing.
    stretch : {"linear", "asinh"}, default="linear"
        "asinh" takes the inverse hyperbolic sine of the signal to noise: linear in the noise,
        logarithmic in bright sources.
    box_size : int, default=50
        Side of the boxes of the mesh in pixels; well above the size of a source.
    filter_size : int, default=3
        Side of the median filter of the mesh in boxes: 1 (no filter), 3, 5, 7 or 9.
    exclude_percentile : float, default=15
        Boxes in which more than this percentage of the pixels is missing or clipped are filled from
        their neighbours.

    Attributes
    ----------
    n_bands_in_ : int
        Number of bands seen in `fit`, the RMS band included.

    See Also
    --------
    BackgroundSubtractor : Subtract the background only.

    Notes
    -----
    NaN stays NaN. A pixel whose RMS is zero, negative or NaN has no known noise and becomes NaN; a
    band without any noise, a constant one, becomes zero where the noise is estimated from it. An
    RMS map without a positive value is refused.

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.preprocessing import NoiseNormalizer
    >>> X = np.random.default_rng(0).normal(1000, 20, (1, 200, 200))
    >>> snr = NoiseNormalizer().fit_transform(X)
    >>> bool(abs(snr.mean()) < 0.1), bool(abs(snr.std() - 1) < 0.1)
    (True, True)
    """

    _parameter_constraints: dict = {
        "rms_band": [Integral, None],
        "subtract_background": ["boolean"],
        "stretch": [StrOptions({"linear", "asinh"})],
        "box_size": [Interval(Integral, 1, None, closed="left")],
        "filter_size": [Options(Integral, {1, 3, 5, 7, 9})],
        "exclude_percentile": [Interval(Real, 0, 100, closed="both")],
    }
    _requires_fit = False

    def __init__(
        self,
        *,
        rms_band: int | None = None,
        subtract_background: bool = True,
        stretch: str = "linear",
        box_size: int = 50,
        filter_size: int = 3,
        exclude_percentile: float = 15,
    ) -> None:
        self.rms_band = rms_band
        self.subtract_background = subtract_background
        self.stretch = stretch
        self.box_size = box_size
        self.filter_size = filter_size
        self.exclude_percentile = exclude_percentile

    def _fit_images(self, images):
        if self.rms_band is not None:
            check_rms_band(self.rms_band, images[0].shape[0])

    def _keeps_rms(self, n_bands):
        return self.rms_band is None

    def _transform_image(self, image):
        science, rms = self._split(image)
        meshes = known_meshes(self) or [None] * len(science)
        normalized = np.stack(
            [
                self._normalize_band(band, rms, known)
                for band, known in zip(science, meshes, strict=True)
            ]
        )
        return np.arcsinh(normalized) if self.stretch == "asinh" else normalized

    def _split(self, image):
        if self.rms_band is not None:
            check_rms_band(self.rms_band, image.shape[0])
            science = np.delete(image, self.rms_band, axis=0)
            if np.isnan(
                science
            ).all():  # outside the survey an RMS map may be empty too: nothing to refuse
                return science, image[self.rms_band]
        return split_rms(image, self.rms_band)

    def statistics_needed(self) -> dict[str, Statistic]:
        """Ask for the background meshes of the bands; see `galaxysegment.base.MosaicAware`."""
        if self._statistics is not None or not (self.rms_band is None or self.subtract_background):
            return {}
        return {"meshes": BackgroundMeshes(self._measured_bands, **self._mesh_options())}

    def _measured_bands(self, image):
        return bands_with_noise(image, self.rms_band)

    def _mesh_options(self):
        names = ("box_size", "filter_size", "exclude_percentile")
        return {name: getattr(self, name) for name in names}

    def _normalize_band(self, band, rms, meshes):
        if rms is not None:  # what has no noise has no data, and no say in the background
            band = np.where(np.isnan(rms), band.dtype.type(np.nan), band)
        signal = band
        if rms is None or self.subtract_background:
            subtracted, noise = subtract_background(band, meshes, **self._mesh_options())
            signal = subtracted if self.subtract_background else band
            rms = noise if rms is None else rms
        if self.rms_band is None and not (rms > 0).any():
            return np.where(np.isnan(band), band, band.dtype.type(0))
        with np.errstate(
            over="ignore"
        ):  # a bright pixel over hardly any noise is as bright as numbers go
            ratio = signal / np.where(rms > 0, rms, rms.dtype.type(np.nan))
        largest = np.finfo(ratio.dtype).max
        return np.clip(ratio, -largest, largest, out=ratio)

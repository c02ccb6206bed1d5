"""Take the sky away."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval, Options

from ..base import BaseImageTransformer, Statistic
from ..detection._background import background_maps
from ..detection._statistics import BackgroundMeshes
from ._bands import science_bands

__all__ = ["BackgroundSubtractor", "known_meshes", "subtract_background"]


def subtract_background(band, meshes=None, **options):
    """Subtract the background of a band.

    Parameters
    ----------
    band : ndarray of float, shape (height, width)
        NaN is "no data".
    meshes : pair of MeshMap, optional
        Background and noise of the mosaic that the band is a window of, as seen from its first
        pixel.
    **options
        Those of `background_maps`, which measures the band if there are no `meshes`.

    Returns
    -------
    residual, noise : ndarray of shape (height, width)
        In the dtype of `band`.
    """
    if meshes is not None:
        height, width = band.shape
        background, noise = (mesh.window(0, height, 0, width) for mesh in meshes)
        return band - background, noise
    # About a typical value: the interpolation of the mesh is good to 1e-5 of what it interpolates,
    # and a high pedestal must not blur the sky. The same holds for single precision.
    values = band[~np.isnan(band)]
    typical = band.dtype.type(0)
    if values.size:
        typical = np.median(values[:: max(1, values.size // 10_000)])
    residual = band - typical
    background, noise = background_maps(residual, **options)
    return residual - background, noise


def known_meshes(step):
    """Meshes of each science band of the mosaic; None if `step` sees a whole image."""
    if step._statistics is None:
        return None
    return [tuple(mesh.at(*step._corner) for mesh in pair) for pair in step._statistics["meshes"]]


class BackgroundSubtractor(BaseImageTransformer):
    """Subtract a smooth background, estimated on a mesh of boxes.

    In each box the background is the median of what clipping at 3 standard deviations leaves; the
    mesh is median-filtered and interpolated to the size of the image, as
    `photutils.background.Background2D` does.

    Parameters
    ----------
    box_size : int, default=50
        Side of a box in pixels: well above the size of a source, below the scale on which the sky
        varies. Cut to the image where that is smaller.
    filter_size : int, default=3
        Side of the median filter of the mesh in boxes: 1 (no filter), 3, 5, 7 or 9.
    exclude_percentile : float, default=15
        Boxes in which more than this percentage of the pixels is missing or clipped are filled from
        their neighbours.
    plane : bool, default=False
        Whether to take a plane through the boxes away first. A mesh is flat in the outer half of
        its outermost boxes: under a sky that rises across the image, a strip of sky stays there, at
        one side too bright, at the other too faint. Where it rises evenly, a plane leaves nothing.
    rms_band : int or None, default=None
        Index of an RMS band, which passes untouched; None means there is none.

    Attributes
    ----------
    n_bands_in_ : int
        Number of bands seen in `fit`.

    See Also
    --------
    NoiseNormalizer : Subtract the background and divide by the noise.

    Notes
    -----
    Each band of each image has its own background, so a constant added to an image changes nothing
    but rounding. NaN stays NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.preprocessing import BackgroundSubtractor
    >>> X = np.random.default_rng(0).normal(1000, 1, (1, 128, 128))
    >>> bool(abs(BackgroundSubtractor().fit_transform(X).mean()) < 0.1)
    True
    """

    _parameter_constraints: dict = {
        "box_size": [Interval(Integral, 1, None, closed="left")],
        "filter_size": [Options(Integral, {1, 3, 5, 7, 9})],
        "exclude_percentile": [Interval(Real, 0, 100, closed="both")],
        "plane": ["boolean"],
        "rms_band": [Integral, None],
    }
    _requires_fit = False

    def __init__(
        self,
        *,
        box_size: int = 50,
        filter_size: int = 3,
        exclude_percentile: float = 15,
        plane: bool = False,
        rms_band: int | None = None,
    ) -> None:
        self.box_size = box_size
        self.filter_size = filter_size
        self.exclude_percentile = exclude_percentile
        self.plane = plane
        self.rms_band = rms_band

    def _transform_image(self, image):
        result = image.copy()
        meshes = known_meshes(self)
        for place, index in enumerate(science_bands(len(image), self.rms_band)):
            known = None if meshes is None else meshes[place]
            result[index] = subtract_background(image[index], known, **self._options())[0]
        return result

    def statistics_needed(self) -> dict[str, Statistic]:
        """Ask for the background meshes of the bands; see `galaxysegment.base.MosaicAware`."""
        if self._statistics is not None:
            return {}
        return {"meshes": BackgroundMeshes(self._measured_bands, **self._options())}

    def _measured_bands(self, image):
        return [image[index] for index in science_bands(len(image), self.rms_band)]

    def _options(self):
        names = ("box_size", "filter_size", "exclude_percentile", "plane")
        return {name: getattr(self, name) for name in names}

"""Clusters of pixel intensities: the bright cluster is galaxy."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from .._utils.validation import split_rms
from ..base import ScoreMaps, SemanticSegmenter
from ..base._semantic import SMOOTHING_REACH
from ..detection._scores import signal_to_noise
from ..detection._smoothing import row_blocks
from ..structures._types import RandomState


class KMeansSegmenter(SemanticSegmenter):
    """Pixels clustered by their intensities in all bands; the brightest cluster is galaxy.

    `fit` finds the centres of the clusters from pixels of all images; `predict` gives each pixel to
    the nearest centre. Connected pixels of the brightest cluster become sources.

    The method ignores noise and neighbours. Prepare the images with a stretch that lifts faint
    sources from the sky, or with the colours of `LuptonRGB`.

    Parameters
    ----------
    n_clusters : int, default=2
        Number of clusters. With more than two, only the one with the brightest centre is galaxy.
    n_init : int, default=10
        Attempts from other starting points; the best one counts.
    max_samples : int or None, default=100000
        Largest number of pixels that the centres are fitted to, drawn at random in equal shares
        from the images; ``None`` takes all.
    rms_band : int or None, default=None
        Band of the images that is an RMS map and stays out of the clustering.
    n_pixels : int, default=10
        Smallest number of connected pixels of a source.
    deblend : bool or "galaxy", default=False
        Whether to split blended sources. ``"galaxy"`` splits them and keeps each galaxy whole, with
        its arms, knots and dust.
    contrast : float, default=0.001
        Smallest fraction of the light of a blend that a part must have: 0.001 splits sources that
        differ by up to 7.5 magnitudes, 0.05 by up to 3.3. Only for ``deblend=True``.
    random_state : int, RandomState instance or None, default=None
        Seed of the starting points and the sample of pixels.
    bridge : int, default=0
        Sources may bridge gaps without data (NaN, or no positive RMS) of up to this many pixels,
        such as bad columns through a star. If both ends of a gap are 3 sigma above the sky of the
        image, it is interpolated to find sources.
    label_bridge : bool, default=False
        Whether the pixels of such a gap get the label of the source; if not, they stay 0.
    no_data : {"auto", "nan"}, default="auto"
        Which pixels have no data. ``"auto"``: NaN, and large regions of exactly equal pixels, such
        as borders and gaps of zeros that no map marks. ``"nan"``: NaN alone.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_found, n_science_bands)
        Intensities of the centres, the brightest last. Fewer than `n_clusters` where the pixels
        have fewer different values.
    n_bands_in_ : int
        Number of bands of the images of `fit`.

    See Also
    --------
    PhotutilsSegmenter : Tells sources from background by the noise.
    galaxysegment.preprocessing.LuptonRGB : Colours for the pixels of three bands.

    Notes
    -----
    The brightness of a centre is its mean over the bands. A pixel without data (NaN) in any band
    belongs to no source, and an image that is constant has none. The result does not depend on the
    number of threads: the fit runs on one.

    ``predict(X, output="instances")`` gives each source the score ``sum(d) / sqrt(n_pixels)``. The
    position ``d`` of a pixel is 0 at the centre of the second brightest cluster and 1 at the centre
    of the brightest one, along the line through both. This is a signal to noise up to a factor,
    because k-means knows no noise: a number from 0 on that ranks sources, and no probability.

    References
    ----------
    .. [1] S. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory
       28, 129 (1982), :doi:`10.1109/TIT.1982.1056489`

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.segmenters import KMeansSegmenter
    >>> rng = np.random.default_rng(0)
    >>> images = rng.normal(10, 1, (2, 50, 50))
    >>> images[:, 10:20, 30:40] += 20
    >>> segmenter = KMeansSegmenter(random_state=0).fit(images)
    >>> segmenter.cluster_centers_.round().tolist()
    [[10.0], [30.0]]
    >>> np.count_nonzero(segmenter.predict(images), axis=(1, 2)).tolist()
    [100, 100]
    """

    works_in_threads = True
    _parameter_constraints: dict = {
        **SemanticSegmenter._parameter_constraints,
        "n_clusters": [Interval(Integral, 2, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [Interval(Integral, 2, None, closed="left"), None],
        "rms_band": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        n_clusters: int = 2,
        n_init: int = 10,
        max_samples: int | None = 100000,
        rms_band: int | None = None,
        n_pixels: int = 10,
        deblend: bool | str = False,
        contrast: float = 0.001,
        random_state: RandomState = None,
        bridge: int = 0,
        label_bridge: bool = False,
        no_data: str = "auto",
    ) -> None:
        self.n_clusters = n_clusters
        self.n_init = n_init
        self.max_samples = max_samples
        self.rms_band = rms_band
        self.n_pixels = n_pixels
        self.deblend = deblend
        self.contrast = contrast
        self.random_state = random_state
        self.bridge = bridge
        self.label_bridge = label_bridge
        self.no_data = no_data

    @property
    def reach(self) -> int:  # type: ignore[override]
        """Pixels around a pixel that decide about it: those that smooth before blends are split."""
        return SMOOTHING_REACH if self.deblend else 0

    def _fit_images(self, images, targets):
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits

        random_state = check_random_state(self.random_state)
        pixels = self._sample(images, random_state)
        distinct = np.unique(pixels, axis=0)
        if len(distinct) > self.n_clusters:
            clusters = KMeans(self.n_clusters, n_init=self.n_init, random_state=random_state)
            with threadpool_limits(1):  # threads would add up their parts in the order they finish
                distinct = clusters.fit(pixels).cluster_centers_
        self.cluster_centers_ = distinct[np.argsort(distinct.mean(axis=1), kind="stable")]

    def _sample(self, images, random_state):
        """Draw pixels that have data, float64 of shape (n_samples, n_science_bands)."""
        share = None if self.max_samples is None else max(1, self.max_samples // len(images))
        drawn = []
        for image in images:
            science = split_rms(image, self.rms_band)[0]
            pixels = science.reshape(len(science), -1)
            has_data = np.flatnonzero(~np.isnan(pixels).any(axis=0))
            if share is not None and has_data.size > share:
                has_data = random_state.choice(has_data, share, replace=False)
            drawn.append(pixels[:, has_data].T)
        drawn = np.concatenate(drawn).astype(np.float64)
        if not len(drawn):
            raise ValueError(
                "X holds no pixel with data in all bands (NaN means no data): pass images with "
                "data."
            )
        return drawn

    def _image_proba(self, image):
        science = split_rms(image, self.rms_band)[0]
        mask = np.zeros(science.shape[1:], dtype=bool)
        if len(self.cluster_centers_) < 2 or _is_constant(science):
            return mask
        for y0, y1 in row_blocks(mask.shape):
            mask[y0:y1] = self._nearest_is_brightest(science[:, y0:y1])
        return mask

    def _maps_of(self, proba, image):
        science = split_rms(image, self.rms_band)[0]
        position = np.zeros(proba.shape, dtype=np.float32)
        if proba.any():
            origin, brightest = self.cluster_centers_[-2:]
            step = brightest - origin
            largest = np.abs(step).max()
            direction = step / largest  # no overflow in its square
            direction /= (direction**2).sum() * largest
            for y0, y1 in row_blocks(proba.shape):
                bands = zip(science[:, y0:y1], origin.tolist(), direction.tolist(), strict=True)
                position[y0:y1] = sum((band - value) * weight for band, value, weight in bands)
        return ScoreMaps(position, 1.0)

    def score_sources(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score sources by their signal to noise; see `galaxysegment.base.MosaicAware`."""
        return signal_to_noise(sums)

    def _nearest_is_brightest(self, science):
        """Whether the pixels are nearest to the brightest centre; False where NaN."""
        brightest = self.cluster_centers_[-1]
        nearest = np.ones(science.shape[1:], dtype=bool)
        for other in self.cluster_centers_[:-1]:
            middle, direction = (brightest + other) / 2, brightest - other
            direction /= np.abs(
                direction
            ).max()  # only its sign counts: no overflow of bright pixels
            steps = zip(science, middle.tolist(), direction.tolist(), strict=True)
            nearest &= sum((band - value) * weight for band, value, weight in steps) > 0
        return nearest


def _is_constant(science):
    """Whether each band has but one value: then nothing stands out."""
    return all(
        band.size == 0 or band.min() == band.max()
        for band in (band[~np.isnan(band)] for band in science)
    )

"""A random forest that classifies pixels by their texture."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.ensemble import RandomForestClassifier
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from .._utils.validation import check_rms_band
from ..base import ProbabilisticSegmenter, Statistic
from ..base._semantic import SMOOTHING_REACH
from ..preprocessing import NoiseNormalizer, PixelFeatures
from ..preprocessing._features import stretched_signal
from ..preprocessing._smoothing import gaussian_average, gaussian_reach
from ..structures._truth import target_mask
from ..structures._types import RandomState

__all__ = ["RandomForestSegmenter"]

_CHUNK = 1 << 17  # pixels that one call of the forest classifies, which bounds memory


class RandomForestSegmenter(ProbabilisticSegmenter):
    """Tell galaxy from sky by a random forest on the texture around each pixel.

    The forest learns from a sample of pixels with the share of galaxy pixels that the images have.
    After a balanced sample it would predict too many galaxies.

    Parameters
    ----------
    n_estimators : int, default=250
        Number of trees.
    max_depth : int or None, default=12
        Depth of the trees; None lets them grow until their leaves are pure.
    features : {"texture"} or None, default="texture"
        "texture": `PixelFeatures` are computed of the signal to noise of the images.
        None: the bands of `X` are the features, as after `PixelFeatures` in a pipeline.
    window, n_levels, lbp_radius, lbp_points
        Parameters of `PixelFeatures`, by default 11, 32, 6 and 36; ignored where ``features=None``.
    fwhm : float or None, default=3
        Full width at half maximum, in pixels, of a Gaussian that smooths the signal to noise before
        any feature is computed; None leaves it. Ignored where ``features=None``.
    rms_band : int or None, default=None
        Index of an RMS map among the bands; None estimates the noise from each band. Must be None
        where ``features=None``.
    n_samples : int or None, default=100_000
        Number of pixels to learn from, in all; drawn from every image in proportion to its size,
        and from its galaxies and its sky in proportion to theirs. None takes all.
    max_samples : float or None, default=0.4
        Share of the sampled pixels that each tree draws; None draws as many as there are.
    min_samples_leaf : int, default=5
        Smallest number of sampled pixels in a leaf.
    threshold : float, default=0.5
        Probability above which a pixel belongs to a galaxy.
    smoothing : float or None, default=None
        Full width at half maximum, in pixels, of a Gaussian that smooths the probability map,
        against scattered false pixels, the weakness of a method that judges each pixel alone: 1.5
        gives fewer and rounder sources. None leaves it.
    n_pixels : int, default=8
        Smallest number of pixels of a source.
    deblend : bool or "galaxy", default=False
        Whether to split blended sources. ``"galaxy"`` splits them and keeps each galaxy whole, with
        its arms, knots and dust.
    contrast : float, default=0.001
        Smallest fraction of the light of a blend that a part must have: 0.001 splits sources that
        differ by up to 7.5 magnitudes, 0.05 by up to 3.3. Only for ``deblend=True``.
    n_jobs : int, optional
        Number of threads; results do not depend on it.
    random_state : int, RandomState instance or None, default=None
        Seeds the sample of pixels and the trees.
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
    forest_ : RandomForestClassifier
        The forest.
    pixel_features_ : PixelFeatures or None
        The fitted transformer that computes the features; None where ``features=None``.
    feature_importances_ : ndarray of shape (n_features,)
        Mean decrease in impurity by each feature.
    feature_names_ : ndarray of str, shape (n_features,)
        Names of the features, in the order of their importances.
    proba_threshold_ : float
        `threshold` on the probabilities of `predict_proba`: another number after `calibrate`.
    calibration_ : ndarray of shape (2, n_knots)
        Logits before and after calibration, if `calibrate` was called.
    n_bands_in_ : int
        Number of bands seen in `fit`.

    See Also
    --------
    galaxysegment.preprocessing.PixelFeatures : The features alone, for pipelines.

    Notes
    -----
    Pixels that miss a feature, because a band is NaN, are not learnt from; the trees send them
    where most pixels went. Pixels without any data have probability 0.

    ``predict(X, output="instances")`` gives each source the mean of `predict_proba` over its pixels
    as score, between `proba_threshold_` and 1.

    References
    ----------
    .. [1] L. Breiman, "Random Forests", Machine Learning 45, 5 (2001),
       :doi:`10.1023/A:1010933404324`

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment import RandomForestSegmenter
    >>> rows, columns = np.indices((64, 64))
    >>> galaxy = np.exp(-((rows - 30) ** 2 + (columns - 30) ** 2) / 50)
    >>> noise = np.random.default_rng(0).normal(size=(2, 64, 64))
    >>> X, y = 20 * galaxy + noise, np.stack([galaxy > 0.05] * 2)
    >>> forest = RandomForestSegmenter(n_estimators=10, random_state=0).fit(X[:1], y[:1])
    >>> round(forest.score(X[1:], y[1:]), 1)
    0.9
    """

    works_in_threads = True
    _parameter_constraints: dict = {
        **ProbabilisticSegmenter._parameter_constraints,
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "max_depth": [Interval(Integral, 1, None, closed="left"), None],
        "features": [StrOptions({"texture"}), None],
        **{
            name: PixelFeatures._parameter_constraints[name]
            for name in (
                "window",
                "n_levels",
                "lbp_radius",
                "lbp_points",
                "fwhm",
                "rms_band",
                "n_jobs",
            )
        },
        "n_samples": [Interval(Integral, 2, None, closed="left"), None],
        "max_samples": [Interval(Real, 0, 1, closed="right"), None],
        "min_samples_leaf": [Interval(Integral, 1, None, closed="left")],
        "threshold": [Interval(Real, 0, 1, closed="both")],
        "smoothing": [Interval(Real, 0, None, closed="neither"), None],
        "random_state": ["random_state"],
    }
    _requires_y = True

    def __init__(
        self,
        *,
        n_estimators: int = 250,
        max_depth: int | None = 12,
        features: str | None = "texture",
        window: int = 11,
        n_levels: int = 32,
        lbp_radius: float = 6,
        lbp_points: int = 36,
        fwhm: float | None = 3,
        rms_band: int | None = None,
        n_samples: int | None = 100000,
        max_samples: float | None = 0.4,
        min_samples_leaf: int = 5,
        threshold: float = 0.5,
        smoothing: float | None = None,
        n_pixels: int = 8,
        deblend: bool | str = False,
        contrast: float = 0.001,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        bridge: int = 0,
        label_bridge: bool = False,
        no_data: str = "auto",
    ) -> None:
        self.n_estimators = n_estimators
        self.max_depth = max_depth
        self.features = features
        self.window = window
        self.n_levels = n_levels
        self.lbp_radius = lbp_radius
        self.lbp_points = lbp_points
        self.fwhm = fwhm
        self.rms_band = rms_band
        self.n_samples = n_samples
        self.max_samples = max_samples
        self.min_samples_leaf = min_samples_leaf
        self.threshold = threshold
        self.smoothing = smoothing
        self.n_pixels = n_pixels
        self.deblend = deblend
        self.contrast = contrast
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.bridge = bridge
        self.label_bridge = label_bridge
        self.no_data = no_data

    def _fit_images(self, images, targets):
        self._check_parameters(images[0].shape[0])
        masks = [target_mask(target) for target in targets]
        _check_both_classes(masks)
        random = check_random_state(self.random_state)
        images = [self._signal(image) for image in images]
        self.pixel_features_ = None if self.features is None else self._make_features().fit(images)
        self.feature_names_ = self._name_features(images[0].shape[0])
        pixels, classes = self._sample(images, masks, random)
        self.forest_ = RandomForestClassifier(
            self.n_estimators,
            max_depth=self.max_depth,
            max_samples=self.max_samples,
            min_samples_leaf=self.min_samples_leaf,
            n_jobs=self.n_jobs,
            random_state=random.randint(np.iinfo(np.int32).max),
        ).fit(pixels, classes)
        self.forest_.n_jobs = (
            1  # at prediction the threads share the pixels, not the trees: sums keep their order
        )
        self.feature_importances_ = self.forest_.feature_importances_

    def _check_parameters(self, n_bands):
        if self.rms_band is None:
            return
        if self.features is None:
            raise ValueError(
                f"rms_band={self.rms_band} needs features='texture': with features=None every band "
                "of X is a "
                "feature. Set rms_band=None, or give the RMS map to the transformer that makes the "
                "features."
            )
        check_rms_band(self.rms_band, n_bands)

    @property
    def reach(self) -> int:  # type: ignore[override]
        """Pixels around a pixel that decide about it."""
        smoothings = [self.smoothing] if self.features is None else [self.smoothing, self.fwhm]
        texture = 0 if self.features is None else self._make_features().reach
        own = texture + sum(gaussian_reach(fwhm) for fwhm in smoothings if fwhm is not None)
        return max(own, SMOOTHING_REACH) if self.deblend else own

    def _make_features(self):
        return PixelFeatures(
            window=self.window,
            n_levels=self.n_levels,
            stretch="linear",
            fwhm=None,
            lbp_radius=self.lbp_radius,
            lbp_points=self.lbp_points,
            n_jobs=self.n_jobs,
        )

    def _name_features(self, n_bands):
        if self.pixel_features_ is None:
            return np.array([f"band_{index}" for index in range(n_bands)], dtype=object)
        return self.pixel_features_.get_feature_names_out()

    def _signal(self, image):
        """Bands from which the features are computed, or that are the features."""
        if self.features is None:
            return image
        signal = stretched_signal(image, self._normalizer(), self.fwhm)
        return signal.astype(np.float32, copy=False)

    def _normalizer(self):
        normalizer = NoiseNormalizer(rms_band=self.rms_band)
        if self._statistics is None:
            return normalizer
        return normalizer.with_statistics(self._statistics, self._corner)

    def statistics_needed(self) -> dict[str, Statistic]:
        """Ask for the background meshes of the bands; see `galaxysegment.base.MosaicAware`."""
        return {} if self.features is None else self._normalizer().statistics_needed()

    def _features(self, signal):
        """Features of each pixel, shape (n_features, height, width)."""
        return (
            signal if self.pixel_features_ is None else self.pixel_features_.transform([signal])[0]
        )

    def _sample(self, images, masks, random):
        """Features (n_samples, n_features) and classes of the pixels to learn from."""
        n_all = sum(mask.size for mask in masks)
        fraction = 1.0 if self.n_samples is None else min(1.0, self.n_samples / n_all)
        pixels, classes = [], []
        for image, mask in zip(images, masks, strict=True):
            features = self._features(image)
            index = _draw(mask, np.isfinite(features).all(axis=0), fraction, random)
            pixels.append(features.reshape(len(features), -1)[:, index].T.astype(np.float32))
            classes.append(mask.ravel()[index])
        classes = np.concatenate(classes)
        if classes.all() or not classes.any():
            raise ValueError(
                "No pixel of one class has data in every band: galaxies or sky lie on NaN only. "
                "Fill the images with BadPixelFiller, or give more of them."
            )
        return np.concatenate(pixels), classes

    def _image_proba(self, image):
        features = self._features(self._signal(image))
        no_data = np.isnan(features).all(axis=0)
        proba = np.full(no_data.size, np.nan, dtype=np.float32)
        index = np.flatnonzero(~no_data)
        proba[index] = self._classify(features.reshape(len(features), -1), index)
        proba = proba.reshape(no_data.shape)
        if self.smoothing is not None:
            proba = np.clip(gaussian_average(proba, self.smoothing), 0, 1)
        proba[no_data] = 0
        return proba

    def _classify(self, features, index):
        """Probability of the pixels `index`; features of shape (n_features, n_pixels)."""
        step = min(_CHUNK, max(1, -(-len(index) // effective_n_jobs(self.n_jobs))))
        chunks = [index[start : start + step] for start in range(0, len(index), step)]
        probabilities = Parallel(n_jobs=self.n_jobs, require="sharedmem")(
            delayed(_galaxy_probability)(self.forest_, features, chunk) for chunk in chunks
        )
        return np.concatenate([np.empty(0, np.float32), *probabilities])


def _galaxy_probability(forest, features, index):
    return forest.predict_proba(features[:, index].T.astype(np.float32))[:, 1].astype(np.float32)


def _check_both_classes(masks):
    share = sum(np.count_nonzero(mask) for mask in masks) / sum(mask.size for mask in masks)
    if share in (0, 1):
        which, other = ("galaxy", "sky") if share == 0 else ("sky", "galaxy")
        raise ValueError(
            f"y has no {which} pixel, all are {other}: the forest learns from both. Give images "
            "with sources and sky."
        )


def _draw(mask, usable, fraction, random):
    """Indices of a random `fraction` of the usable pixels inside and outside the mask."""
    chosen = []
    for member in (mask & usable, ~mask & usable):
        index = np.flatnonzero(member)
        count = max(1, round(fraction * len(index))) if len(index) else 0
        chosen.append(index if count == len(index) else random.choice(index, count, replace=False))
    return np.concatenate(chosen)

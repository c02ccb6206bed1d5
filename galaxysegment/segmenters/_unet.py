"""U-Net: galaxy or background, pixel by pixel, from a net that sees the surroundings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.utils._param_validation import Interval, Options, StrOptions

from .._utils.calibration import check_table
from .._utils.validation import split_rms
from ..base import ProbabilisticSegmenter, ScoreMaps
from ..detection._scores import N_SUMS
from ..structures import GALAXY, SKY, Instances
from ..structures._types import Floats, Images, RandomState
from ._best_threshold import best_threshold
from ._deep import DeepSegmenter
from ._faint_regions import without_noise
from ._pixel_classes import (
    bridge_votes,
    check_codes,
    class_truths,
    classes_of_sums,
    rescaled,
    stuff_map,
    things_of,
    votes_of,
    with_class_head,
    without_rims,
)
from ._scaling import stacked
from ._star_rule import check_star_rule, light_powers
from ._training_set import FieldTruth, class_counts, lazy_truths, tuning_windows

__all__ = ["UNetSegmenter"]

_TUNING_SIDE, _TUNING_PIXELS = 2048, 2**26  # of the images that `threshold` is tuned on
_TUNING_CHUNK = 2**24  # pixels of them in memory at once
_SMOOTHING = 1.5  # pixels; standard deviation of the kernel before deblending
_SMOOTHING_REACH = 6


class UNetSegmenter(DeepSegmenter, ProbabilisticSegmenter):
    """Find galaxies with a padded U-Net.

    Five levels of two 3×3 convolutions with concatenated skips and a 1×1 output [1]_, trained with
    cross-entropy plus Dice loss. Connected pixels whose galaxy probability exceeds `threshold`
    become sources. Images may have any size and any number of bands; NaN pixels are ignored.

    Parameters
    ----------
    base_width : int, default=16
        Channels of the first level; each further level has twice as many. The paper has 64, which
        costs 16 times as much and finds about as many faint galaxies.
    depth : int, default=5
        Number of levels.
    dropout : float, default=0.1
        Probability of dropping a channel in the two deepest levels.
    scaling : {"auto", "asinh", "noise"}, default="auto"
        How images are scaled for the net. ``"asinh"``: arcsinh((x - centre) / scale) in each band,
        with the median and the robust standard deviation of the training pixels. Units and
        pedestals then do not matter. ``"noise"``: arcsinh of the signal-to-noise ratio, with the
        background of each image on a mesh of 64 pixels without large galaxies, and its noise from
        the mesh or the RMS band; choose it for raw images of differing depth. Straight seams along
        rows or columns, at least 192 pixels long, are levelled first. ``"auto"``: as the `weights`
        were trained, or else ``"asinh"``.
    rms_band : int or None, default=None
        Index of the RMS band, for example -1, the last. ``scaling="noise"`` divides by it.
        ``None``: no band is an RMS map.
    threshold : float or "auto", default="auto"
        Probability above which a pixel belongs to a galaxy. ``"auto"``: the threshold with the best
        sum of pixel IoU and source F1 on the validation images (on the training images, if no
        image is held out), or the threshold that comes with `weights`.
    n_pixels : int, default=8
        Sources with fewer pixels are dropped. Masks of faint sources come out a little smaller than
        the truth: 8 finds most sources of 10 true pixels.
    min_snr : float, default=3
        A region of at most 64 pixels is no source if its signal to noise, the sum of its light over
        the noise of this sum, is smaller. 0 keeps all regions. Only for ``scaling="noise"``, that
        of the weights that ship.
    deblend : bool or "galaxy", default="galaxy"
        Whether to split blended sources. ``"galaxy"`` splits them and keeps each galaxy whole, with
        its arms, knots and dust. True splits them at all saddles of the smoothed signal-to-noise
        image.
    contrast : float, default=0.001
        Fraction of the blend's light that a part needs to be split off. 0.001 splits sources that
        differ by up to 7.5 mag, 0.05 sources that differ by up to 3.25 mag; 1 splits nothing.
        Only for ``deblend=True``.
    n_views : {1, 2, 4, 8}, default=4
        Number of mirrored (8: also transposed) views of an image whose mean is the prediction. The
        net takes four times as long for 4 views as for 1. On a simulated field, 1 view has a source
        F1 of .855, 2 have .878, 4 have .871.
    module : callable or None, default=None
        A module of your own in place of the U-Net: a torch module class, or a function that makes a
        module. It is called with ``n_bands`` and the ``module__…`` of `net_params`, and must turn a
        batch (n, n_bands, height, width) into logits of galaxies (n, 1, height, width). Its
        attributes ``multiple`` (sides of its input are multiples of this; 32 without it) and
        ``halo`` (pixels that it looks around a pixel; 128 without it) are used for padding and
        tiles. Model files cannot hold it: use joblib.
    criterion : callable or None, default=None
        A loss of your own: a torch module class. It is called with the logits, (n, 1, height,
        width), and a target (n, 2, height, width): the mask of galaxies, and each pixel's weight, 0
        for pixels that do not count. ``criterion__…`` of `net_params` are its arguments. ``None``
        means cross-entropy plus Dice loss.
    class_weight : dict, "balanced" or None, default=None
        Weights of pixels in the loss, ``{0: 1.0, 1: 5.0}`` for the sky and galaxies. ``"balanced"``
        weighs either class by the inverse of its frequency.
    classes : sequence of int or None, default=None
        Categories of pixels that the net tells apart beside the sky (0): ``(1, 2, 3)`` for
        galaxies, stars and artefacts, see ``CLASS_NAMES`` in `galaxysegment.structures`. The truth
        then is panoptic maps or `Instances` with classes. Galaxies and stars become sources; the
        others are stuff, which ``output="panoptic"`` shows. ``None``: as the `weights` were
        trained, or else sources against sky, of no class. The pixels of a source vote for its
        class, each with the weight of its light. ``weights="sky"`` and ``"bands"`` also compare the
        sources of an image with each other, see Notes.
    max_epochs : int, default=30
        Passes over the training images.
    batch_size : int, default=8
        Patches in a batch, in training and in prediction.
    lr : float, default=0.003
        Highest learning rate.
    optimizer : {"adamw", "adam", "sgd"} or class of torch.optim, default="adamw"
        Optimizer; ``net_params={"optimizer__momentum": 0.9}`` passes arguments to it.
    schedule : {"one-cycle"} or None, default="one-cycle"
        The rate rises over the first tenth of the steps and falls along a cosine; ``None`` keeps
        it.
    validation_fraction : float, default=0.1
        Fraction of the images that is held out for early stopping and `threshold`; 0 for none.
        Whole images are drawn at random. If images are related, hold out groups of them yourself,
        with scikit-learn's group splitters.
    patience : int or None, default=10
        Stop after so many epochs without a lower validation loss, and restore the best weights.
        ``None``: train for `max_epochs` and keep the last weights.
    patch_size : int or None, default=256
        Side in pixels of the patches that larger images are cut into, at new places in every epoch.
        ``None``: whole images.
    augment : str, sequence of str, callable or None, default="flip"
        Random changes of training images, as in `galaxysegment.preprocessing.augment`. A function
        ``augment(image, target, generator)`` returns the two, changed: the scaled image, float32 of
        shape (n_bands, height, width), and a map of 1 for galaxies, 0 for the sky and -1 for pixels
        that do not count; it draws from the `numpy.random.Generator`.
    device : str, default="auto"
        ``"auto"`` (cuda, else mps, else cpu), a torch device, or ``"accelerate"`` for several GPUs
        through Hugging Face accelerate and skorch's mixin.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        ``"auto"`` computes in bfloat16 where the processor does so natively: up to 1.7 times as
        fast as float32. Masks of the two agree with an IoU of .998.
    weights : str, path or None, default=None
        Weights to start from: ``"vis"``, ``"sky"`` or ``"bands"``, which ship with the package and
        need no training (scaling ``"noise"``, any units), or a file written by
        `galaxysegment.persistence.save`. ``"sky"`` and ``"bands"`` tell galaxies, stars and
        artefacts apart. ``"vis"`` and ``"sky"`` take one science band, ``"bands"`` any number in
        any order. The architecture and the scaling then come from the file.
    warm_start : bool, default=False
        Whether another call of `fit` goes on from the present weights.
    callbacks : list of skorch callbacks or None, default=None
        More callbacks. Each fit has copies of them. For a callback that cannot be copied, such as
        TensorBoard with an open file, pass a function that makes it.
    net_params : dict or None, default=None
        Other arguments of `skorch.NeuralNet`, e.g. ``{"iterator_train__num_workers": 2}``. With
        ``"train_split"``, None or a splitter of skorch, `validation_fraction` has no effect;
        ``None`` trains on every image.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, split, batches and augmentation. On a CPU, two fits with the same seed are
        equal.
    verbose : int or bool, default=False
        Whether to show a progress bar and a line per epoch.
    bridge : int, default=32
        Sources may bridge gaps without data (NaN, or no positive RMS) of up to this many pixels, so
        that a star stays whole whose saturated core is masked, or that bad columns cross. If both
        ends of a gap are 3 sigma above the sky of the image, it is interpolated to find sources.
        0 bridges nothing.
    label_bridge : bool, default=False
        Whether the pixels of such a gap get the label of the source; if not, they stay 0.
    no_data : {"auto", "nan"}, default="auto"
        Which pixels have no data. ``"auto"``: NaN, and large regions of exactly equal pixels, such
        as borders and gaps of zeros that no map marks. ``"nan"``: NaN alone.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` is the torch module.
    history_ : skorch.history.History
        Losses, durations and so on of every epoch.
    threshold_ : float
        The threshold in use, on the probabilities before calibration.
    proba_threshold_ : float
        The same threshold on the probabilities of `predict_proba`.
    calibration_ : ndarray of shape (2, n_knots)
        Logits before and after calibration, if `calibrate` was called or weights that ship with the
        package are in use.
    pixel_classes_ : ndarray of int, shape (n_classes,)
        Categories in the order of `predict_class_proba`: the sky and `classes`.
    scaling_ : str
        The scaling in use.
    centre_, scale_ : ndarray of shape (n_bands,) or None
        What ``scaling="asinh"`` learnt.
    n_bands_in_ : int
        Bands seen in `fit`.
    n_net_bands_ : int or None
        Bands that the net sees after scaling; None for a net of any number of bands.

    Notes
    -----
    ``predict(X, output="instances")`` gives each source the mean of `predict_proba` over its pixels
    as score, between `proba_threshold_` and 1.

    A net does not see how wide the point sources of an image are. With ``weights="sky"`` and
    ``"bands"`` the segmenter therefore finds the radius that the stars of an image share. It fits
    stars of this radius and larger galaxies by expectation maximization, from bright to faint, as
    [2]_ do for classes that are more common than in the training. A logistic regression joins the
    result with the votes. The radius comes from
    sums over pixels, so tiles of a mosaic are compared as the whole image is. An image without
    three sources above a signal to noise of 15 is left to the votes. `predict_class_proba` shows
    the net's own probabilities, and `fit` ends the comparison.

    The interpolated pixels of a gap (`bridge`) say nothing of the class of their source, unless the
    gap holds a square of 7 pixels. Such a gap is the masked core of a saturated star: its pixels
    vote for a star, each with the weight of its interpolated light.

    A net that knows artefacts (3) may see a faint source around a cosmic ray. So a region is no
    source that has at most 64 pixels and a signal to noise under 10, if more than half of it lies
    within two pixels of those that are most probably an artefact. In 40 simulated fields of
    version 1.1 of ``weights="sky"`` this removed 48 of 1448 false sources and no true one.
    `predict_proba` shows such regions all the same.

    The signal to noise that `min_snr` limits takes the noise of each pixel from the RMS map or the
    mesh, and pixels count as independent. So if the noise is correlated, fewer regions go.
    `predict_proba` shows the regions that go.

    References
    ----------
    .. [1] Ronneberger, Fischer & Brox 2015, MICCAI, 9351, 234. :doi:`10.1007/978-3-319-24574-4_28`
    .. [2] Saerens, Latinne & Decaestecker 2002, Neural Computation, 14, 21.
       :doi:`10.1162/089976602753284446`

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.segmenters import UNetSegmenter
    >>> rows, columns = np.indices((32, 32))
    >>> image = np.random.default_rng(0).normal(size=(32, 32))
    >>> image += 30 * np.exp(-((rows - 12) ** 2 + (columns - 18) ** 2) / 18)
    >>> truth = (rows - 12) ** 2 + (columns - 18) ** 2 < 60
    >>> unet = UNetSegmenter(base_width=4, depth=3, max_epochs=60, validation_fraction=0)
    >>> unet = unet.set_params(random_state=0)
    >>> labels = unet.fit(image[None], truth[None]).predict(image[None])
    >>> labels.shape, bool(labels[0, 12, 18] > 0)
    ((1, 32, 32), True)
    """

    _parameter_constraints: dict = {
        **ProbabilisticSegmenter._parameter_constraints,
        **DeepSegmenter._parameter_constraints,
        "base_width": [Interval(Integral, 1, None, closed="left")],
        "depth": [Interval(Integral, 1, 8, closed="both")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "threshold": [Interval(Real, 0, 1, closed="both"), StrOptions({"auto"})],
        "min_snr": [Interval(Real, 0, None, closed="left")],
        "contrast": [Interval(Real, 0, 1, closed="both")],
        "module": [callable, None],
        "criterion": [callable, None],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "classes": ["array-like", None],
        "n_views": [Options(Integral, {1, 2, 4, 8})],
    }

    def __init__(
        self,
        *,
        base_width: int = 16,
        depth: int = 5,
        dropout: float = 0.1,
        scaling: str = "auto",
        rms_band: int | None = None,
        threshold: float | str = "auto",
        n_pixels: int = 8,
        min_snr: float = 3,
        deblend: bool | str = "galaxy",
        contrast: float = 0.001,
        n_views: int = 4,
        module: Callable[..., Any] | None = None,
        criterion: Callable[..., Any] | None = None,
        class_weight: dict[int, float] | str | None = None,
        classes: Sequence[int] | None = None,
        max_epochs: int = 30,
        batch_size: int = 8,
        lr: float = 0.003,
        optimizer: str | type[Any] = "adamw",
        schedule: str | None = "one-cycle",
        validation_fraction: float = 0.1,
        patience: int | None = 10,
        patch_size: int | None = 256,
        augment: str | Sequence[str] | Callable[..., Any] | None = "flip",
        device: str = "auto",
        precision: str = "auto",
        weights: str | Path | None = None,
        warm_start: bool = False,
        callbacks: Sequence[Any] | None = None,
        net_params: dict[str, Any] | None = None,
        random_state: RandomState = None,
        verbose: int | bool = False,
        bridge: int = 32,
        label_bridge: bool = False,
        no_data: str = "auto",
    ) -> None:
        self.base_width = base_width
        self.depth = depth
        self.dropout = dropout
        self.scaling = scaling
        self.rms_band = rms_band
        self.threshold = threshold
        self.n_pixels = n_pixels
        self.min_snr = min_snr
        self.deblend = deblend
        self.contrast = contrast
        self.n_views = n_views
        self.module = module
        self.criterion = criterion
        self.class_weight = class_weight
        self.classes = classes
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.schedule = schedule
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.patch_size = patch_size
        self.augment = augment
        self.device = device
        self.precision = precision
        self.weights = weights
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.net_params = net_params
        self.random_state = random_state
        self.verbose = verbose
        self.bridge = bridge
        self.label_bridge = label_bridge
        self.no_data = no_data

    # ---- the decisions of this net ----

    def _module_class(self):
        if self.module is not None:
            from ..nets.unet._foreign import ForeignModule

            return ForeignModule
        from ..nets.unet._module import UNet

        return UNet

    def _module_params(self, n_bands):
        if self.module is not None:
            return {"n_bands": n_bands, "module": self.module}
        params = {
            "n_bands": n_bands,
            "base_width": self.base_width,
            "depth": self.depth,
            "dropout": self.dropout,
        }
        codes = self._codes()
        return params if codes is None else {**params, "n_outputs": len(codes) + 1}

    # the classes of a net in a model file, which count in place of the parameter
    _codes_known: tuple[int, ...] | None = None
    # how to tell stars from galaxies by all sources of an image, if a model file says it
    _star_rule = None

    def _codes(self):
        """Return the classes that the net tells apart but the sky, or None."""
        if self._codes_known is not None or self.classes is None:
            return self._codes_known
        return check_codes(self.classes)

    @property
    def pixel_classes_(self) -> NDArray[np.int64]:
        """Categories in the order of `predict_class_proba`: the sky and `classes`."""
        self._ready_net()
        return np.array([SKY, *(self._codes() or (GALAXY,))])

    def _criterion(self):
        if self.criterion is not None:
            return self.criterion
        from ..nets.common._losses import BCEDiceLoss, ClassLoss

        return BCEDiceLoss if self._codes() is None else ClassLoss

    def _net_settings(self):
        settings = super()._net_settings()
        if self.criterion is not None or self._codes() is None:
            return settings
        things = np.flatnonzero(things_of(self._codes())).tolist()
        return {**settings, "criterion__things": things}

    def _check_trainable(self, images, targets):
        super()._check_trainable(images, targets)
        if isinstance(self.class_weight, dict) and not (
            set(self.class_weight) == {0, 1} and min(self.class_weight.values()) >= 0
        ):
            raise ValueError(
                "class_weight must hold a weight for 0 (sky) and for 1 (galaxy), neither of them "
                f"negative. Got {self.class_weight!r} instead."
            )

        if self._codes() is not None and (self.module or self.class_weight) is not None:
            raise ValueError(
                "classes cannot be told apart with a module or a class_weight of your own: leave "
                "classes=None, or the two at None."
            )

    def _check_truth(self, y, images):
        codes = self._codes()
        return lazy_truths(y, images) if codes is None else class_truths(y, images, codes)

    def _field_truths(self, X, images):
        fields = [image.field for image in images]
        if not all(field.has_labels for field in fields):
            self._find_truth(X, None)  # which says that there is no truth
        if self._codes() is not None:
            truths = [
                Instances.from_label_map(field.labels, classes=field.classes) for field in fields
            ]
            return self._check_truth(truths, images)
        return [
            FieldTruth(field) if field.instances is None else field.instances for field in fields
        ]

    def _mask_ignored(self, y, images):
        return y, images  # the loss leaves them out

    def _make_dataset(self, data, training):
        from ..nets.common._data import ClassDataset, PixelDataset

        options = {
            "image_weights": data.weights,
            "patch_size": self.patch_size,
            "augmenter": self._augmenter() if training else None,
            "training": training,
        }
        if self._codes() is not None:
            return ClassDataset(data.images, data.targets, **options)
        weights = self._class_weights(data.targets)
        return PixelDataset(data.images, data.targets, class_weights=weights, **options)

    def _class_weights(self, targets):
        """Return the weights of the pixels of sky and galaxies."""
        if self.class_weight is None:
            return 1.0, 1.0
        if isinstance(self.class_weight, dict):
            return self.class_weight[0], self.class_weight[1]
        counts = np.maximum(sum(class_counts(target) for target in targets), 1)
        return tuple((counts.sum() / (2 * counts)).tolist())

    def _collate(self):
        from ..nets.common._data import collate_padded

        return collate_padded

    def _set_untuned(self):
        self._drop_calibration()
        self._star_rule = None  # which weighs the votes of the net as it was
        self.threshold_ = 0.5 if self.threshold == "auto" else self.threshold

    def _after_training(self, data):
        if self.threshold == "auto":
            self.threshold_ = best_threshold(self._tuning_pairs(data), self.n_pixels)

    def _tuning_pairs(self, data):
        """Yield probabilities and label maps of the images, 0 where a pixel does not count."""
        windows = tuning_windows(data.images, _TUNING_SIDE, _TUNING_PIXELS)
        step = max(
            1,
            _TUNING_CHUNK
            // max(
                (rows.stop - rows.start) * (columns.stop - columns.start)
                for _, rows, columns in windows
            ),
        )
        for start in range(0, len(windows), step):
            chunk = windows[start : start + step]
            images = [data.images[index].window(*window) for index, *window in chunk]
            probas = self._proba(images)
            for (index, *window), image, proba in zip(chunk, images, probas, strict=True):
                labels, ignored = _labels_of(data.targets[index], *window)
                left_out = np.isnan(image).all(axis=0) | ignored
                yield np.where(left_out, 0, proba), np.where(left_out, 0, labels)

    # ---- prediction ----

    @property
    def reach(self) -> int:  # type: ignore[override]
        """Pixels around a pixel that decide about it, in the net and in deblending."""
        self._ready_net()
        return self.net_.module_.halo + _SMOOTHING_REACH

    @property
    def phase(self) -> int:  # type: ignore[override]
        """Windows of a larger image begin at multiples of this, and are pooled as the whole is."""
        self._ready_net()
        return self.net_.module_.multiple

    def _images_proba(self, images):
        return self._proba(self._scale_all(images))

    def _segment_images(self, images):
        scaled_images = self._scale_all(images)
        if self._codes() is not None:
            return [
                self._sources_among(maps, self._seen(scaled))
                for maps, scaled in zip(self._class_maps(scaled_images), scaled_images, strict=True)
            ]
        probas = self._proba(scaled_images)
        return [
            self._sources(proba, self._seen(scaled))
            for proba, scaled in zip(probas, scaled_images, strict=True)
        ]

    def _sources_among(self, maps, seen):
        """Return the label map of an image, given its `ScoreMaps` with classes."""
        return self._sources(without_rims(maps, seen, self._codes(), self._threshold()), seen)

    def _regions(self, proba, image):
        labels = super()._regions(proba, image)
        return without_noise(labels, image, self.min_snr) if self.scaling_ == "noise" else labels

    def _seen(self, scaled_image):
        """Return the scaled image in which sources are split and weighed."""
        return stacked(scaled_image) if self.n_net_bands_ is None else scaled_image

    def _proba(self, scaled_images):
        """Return the probabilities of pixels of scaled images to belong to a source."""
        maps = self._net_proba(scaled_images)
        codes = self._codes()
        if codes is None:
            return maps
        return [proba[things_of(codes)].sum(axis=0) for proba in maps]

    def _net_proba(self, scaled_images):
        from ..nets.unet._prediction import predict_proba

        return predict_proba(self.net_, scaled_images, self.batch_size, self.n_views)

    def _class_maps(self, scaled_images):
        """Return the `ScoreMaps` of scaled images, before calibration."""
        things = things_of(self._codes())
        return [
            ScoreMaps(proba[things].sum(axis=0), classes=proba)
            for proba in self._net_proba(scaled_images)
        ]

    def _segment_scored(self, images):
        scaled_images = self._scale_all(images)
        if self._codes() is None:
            for proba, scaled in zip(self._proba(scaled_images), scaled_images, strict=True):
                image = self._seen(scaled)
                yield self._sources(proba, image), self._maps_of(proba, image)
            return
        class_maps = self._class_maps(scaled_images)
        seen_images = map(self._seen, scaled_images)
        for maps, scaled, image in zip(class_maps, seen_images, images, strict=True):
            calibrated = self._calibrated_maps(maps)
            votes = calibrated.classes * votes_of(scaled)
            if self._star_rule is not None:
                rms = split_rms(image, self.rms_band)[1]
                votes = np.concatenate([votes, light_powers(scaled, rms)])
            yield self._sources_among(maps, scaled), calibrated._replace(classes=votes)

    def _calibrated_maps(self, maps):
        light = self._calibrated(maps.light)
        classes = rescaled(maps.classes, things_of(self._codes()), light)
        return ScoreMaps(light, classes=classes)

    def _bridge_votes(self, maps, gaps):
        if maps.classes is None:
            return maps
        self._ready_net()
        return maps._replace(classes=bridge_votes(maps.classes, gaps, self._codes()))

    @property
    def classifies_sources(self) -> bool:  # type: ignore[override]
        """Whether the net tells stars from galaxies, or more classes."""
        self._ready_net()
        return self._codes() is not None

    def classify_sources(self, measured: NDArray[np.float64]) -> NDArray[np.integer]:
        """Class of each source; see `galaxysegment.base.MosaicAware`."""
        votes = measured[:, N_SUMS:].T
        return classes_of_sums(measured[:, 0], votes, self._codes(), self._star_rule)

    def classify_stuff(self, maps: ScoreMaps) -> NDArray[np.integer]:
        """Class of each pixel as if in no source; see `galaxysegment.base.MosaicAware`."""
        return stuff_map(maps, self._codes())

    def predict_class_proba(self, X: Images) -> Floats | list[Floats]:
        """Probability of each pixel to be of each class, in the order of `pixel_classes_`.

        Parameters
        ----------
        X : array of shape (n_images, height, width) or (n_images, n_bands, height, width), or list
            Images, or one `Field` or `NDData`, as in `predict`.

        Returns
        -------
        array of float32, shape (n_images, n_classes, height, width), or list
            Packed as `X` was; the classes of a pixel add up to 1. Pixels without data are sky.

        Raises
        ------
        ValueError
            If the net tells no classes apart: use `predict_proba`.
        """
        images, layout = self._check_images(X)
        self._validate_params()
        self._ready_net()
        if self._codes() is None:
            raise ValueError(
                "The net tells sources from the sky, but no classes apart: use predict_proba, or "
                "train with classes=(1, 2, 3)."
            )
        bridged, shown = self._prepared(images)
        probas = []
        for maps, image in zip(self._class_maps(self._scale_all(bridged)), shown, strict=True):
            proba = self._calibrated_maps(maps).classes
            proba[:, self._no_data(image)] = 0
            proba[0, self._no_data(image)] = 1
            probas.append(proba.astype(np.float32))
        return layout.pack_maps(probas)

    def _threshold(self):
        if self.threshold == "auto":
            self._ready_net()
            return self.threshold_
        return self.threshold

    def _deblending_image(self, proba, image):
        # the image is that which the net saw: saddles are looked for in units of the noise, with
        # the sky at zero
        flux = np.sinh(np.nan_to_num(image[0].astype(np.float64)))
        return ndimage.gaussian_filter(flux, _SMOOTHING)

    # ---- what a model file keeps ----

    def _get_own_state(self):
        state = {"threshold": self.threshold_, **self._calibration_state()}
        if self._star_rule is not None:
            state["star_rule"] = list(self._star_rule)
        codes = self._codes()
        return state if codes is None else {**state, "classes": list(codes)}

    def _set_net_state(self, state):
        known = state.get("classes")
        if self.classes is not None:
            codes = check_codes(self.classes)
            if known is None:
                state = with_class_head(state, codes)
            elif tuple(known) != codes:
                raise ValueError(
                    f"classes={self.classes!r}, but the net of the file has {tuple(known)}: leave "
                    "classes=None."
                )
        super()._set_net_state(state)

    def _check_module_params(self, params, n_bands):
        super()._check_module_params(params, n_bands)
        n_classes = len(self._codes() or ())
        if params.get("n_outputs", 1) != (n_classes + 1 if n_classes else 1):
            raise ValueError(
                f"The net has {params.get('n_outputs', 1)!r} outputs, but the file names "
                f"{n_classes} classes beside the sky."
            )

    def _training_set(self, X, y, mask, weights, n_bands_fitted):
        if self.module is not None and self.weights is not None:
            raise ValueError(
                f"weights={str(self.weights)!r} are those of a U-Net, but module={self.module!r} "
                "takes its place: pass one of the two."
            )
        if n_bands_fitted is None:  # a new net, whose classes decide what counts as a truth
            self._codes_known = None
            if self.weights is not None and self.classes is None:
                self._seed = 0
                self._load_weights()
        return super()._training_set(X, y, mask, weights, n_bands_fitted)

    def _set_own_state(self, state):
        self.threshold_ = state["threshold"]
        self._codes_known = None if "classes" not in state else check_codes(state["classes"])
        rule = state.get("star_rule")
        self._star_rule = None if rule is None else check_star_rule(rule)
        if "calibration" in state:
            self.calibration_ = check_table(state["calibration"])


def _labels_of(target, rows, columns):
    """Label map of a window of a target, and the pixels that do not count."""
    if isinstance(target, Instances):
        from ..nets.common._data import cut

        return cut(target, rows, columns).to_label_map(), False
    return target.labels(rows, columns), target.window(rows, columns) < 0

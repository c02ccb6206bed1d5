"""Mask R-CNN: each source has a mask, a class and a score of its own; sources may overlap."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from .._utils.streams import whole
from .._utils.validation import level_of_caller, split_rms
from ..base._segmenter import clear_no_data
from ..exceptions import CrowdedImageWarning
from ..metrics import detection_scores
from ..structures import GALAXY, SKY, STAR, Instances
from ..structures._types import RandomState
from ._deep import DeepSegmenter
from ._deep_instances import DeepInstanceSegmenter
from ._large_sources import keep_whole
from ._nested_sources import weigh_nested
from ._score_scale import check_score_scale
from ._star_rule import check_star_rule, evidence_of_instances, measure_instances, star_logits
from ._suppression import suppress
from ._training_set import tuning_windows

__all__ = ["MaskRCNNSegmenter"]

_THRESHOLDS = np.round(np.linspace(0.05, 0.95, 19), 2)
_MASK_THRESHOLDS = np.round(np.linspace(0.25, 0.65, 9), 2)
_MASK_IOUS = (0.5, 0.6, 0.7, 0.8, 0.9)
_LOWEST = 0.05  # scores below are not looked at when a threshold is chosen
_N_TUNING = 400  # images are enough to choose it
_TUNING_SIDE, _TUNING_PIXELS = 2048, 2**26
_N_LEVELS = 5
_SMALLEST_ANCHOR = 4
_SAMPLES_PER_SOURCE, _N_SAMPLES = 5, (32, 512)
_CHANNELS = {"unet": 64, "resnet50": 256, "resnet101": 256}
_TORCH_FILES = (".pth", ".pt")


class MaskRCNNSegmenter(DeepInstanceSegmenter):
    """Find galaxies and stars with Mask R-CNN; their masks may overlap.

    A residual net with a feature pyramid proposes boxes. Heads classify each box, correct it and
    draw its mask [1]_. The parts are torchvision's, changed for small sources: anchors are as large
    as the true sources, the first convolution keeps all pixels, images are not resized, and the
    number of sources is not limited. Images may have any size and any number of bands; NaN counts
    as sky.

    Parameters
    ----------
    backbone : {"resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "unet"}, \
            default="resnet18"
        The residual net; ``"resnet10"`` has one block at each stage. ``"unet"`` is a U-Net as
        `UNetSegmenter` has it, whose decoder is the pyramid: the whole net has 3.1 million weights,
        a quarter of those of ``"resnet18"``.
    stem_stride : {1, 2}, default=1
        Stride of the first convolution. 2, as for photographs, is four times as fast, but misses
        sources of a few pixels. A U-Net has 1.
    channels : int or None, default=None
        Channels of the pyramid and of the heads; ``None`` means 64 with a U-Net, 256 with
        ``"resnet50"`` and ``"resnet101"``, and else 128.
    anchors : "auto" or sequence of 5 float, default="auto"
        Sides in pixels of the anchors of each level of the pyramid. ``"auto"`` takes them from the
        boxes of the training truth.
    classes : sequence of int, default=(1, 2)
        Classes that may be in the truth: galaxies and stars by default. Sources without a class are
        galaxies.
    n_proposals : int, default=300
        Boxes per training patch that the first stage hands to the heads. Images of other sizes get
        as many in proportion to their area.
    n_samples : int or "auto", default="auto"
        Boxes per patch that the heads are trained on, a quarter of them on sources. ``"auto"``:
        five for each source of a patch, and at least 32.
    proposal_nms : float, default=0.7
        IoU of two proposals above which the proposal with the lower score is dropped.
    soft_nms : float or None, default=0.5
        Each box lowers the scores of lesser boxes, of any class, by exp(-IoU² / soft_nms) [4]_.
        Duplicates sink below the threshold; two galaxies in almost the same box can both stay.
        ``None``: only `box_nms` removes duplicates.
    box_nms : float, default=0.95
        IoU of two boxes of sources above which the box with the lower score is dropped. Use 0.5 if
        `soft_nms` is ``None``.
    mask_nms : float or None, default=None
        IoU of two masks above which the source with the lower score is dropped.
    nested_sources : float or "auto", default="auto"
        Weighs sources with 60 % of their pixels inside a surer one. Without a peak of light of
        their own, as the core or the rim of a galaxy, they get this factor times their score. Round
        ones of less than 3 % of its pixels, four times as bright as their surroundings, get its
        score, and come on top of it in label maps. 1 leaves all scores as they are. ``"auto"``: as
        the `weights` were tuned, or else 1.
    large_sources : {"auto", "net", "connected"}, default="auto"
        Where the masks of large sources come from. ``"net"``: from the net, as all others; sources
        much larger than the largest `anchors` end at straight edges or come in pieces.
        ``"connected"``: connected pixels above the noise that are 80 or more pixels across replace
        the net's pieces in them, unless one piece shows all of the source. The boosted trees behind
        ``deblend="galaxy"`` split them where they are several sources. Sources of the net with less
        than 5 % of the light and 7 % of the pixels stay. ``"auto"``: as the `weights` were tuned
        (``"connected"`` with ``weights="blends"``), or else ``"net"``.
    scores : {"auto", "class", "source"}, default="auto"
        What a score is the probability of: the source's class, or any class, so that a source that
        may be a galaxy or a star has a high score, too. ``"auto"``: as the `weights` were trained,
        or else ``"class"``.
    score_threshold : float or "auto", default="auto"
        Score from which a source counts. ``"auto"``: the score with the best F1 at an IoU of 0.5 on
        the validation images (on the training images, if no image is held out). Set it to 0.05
        before `predict` for precision-recall curves and average precision.
    mask_threshold : float or "auto", default="auto"
        Probability above which a pixel of a box belongs to its source. ``"auto"``: the threshold
        with the best F1, as mean over IoUs from 0.5 to 0.9, on the same images.
    n_pixels : int, default=4
        Sources with fewer pixels are dropped from truth and prediction.
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
    stages : list of dict, {"overlapping-2019", "deep-fields-2020"} or None, default=None
        Staged training: ``{"layers": "heads", "max_epochs": 15, "lr": 1e-3}`` and so on, one after
        the other, in place of `max_epochs` and `lr`. Layers are ``"heads"`` (all but the residual
        net), ``"5+"``, ``"4+"``, ``"3+"`` (the residual net from that stage on, too) or ``"all"``;
        schedule and early stopping begin anew in each stage. ``"overlapping-2019"`` is the training
        of [2]_, ``"deep-fields-2020"`` (with ``optimizer="sgd"``) that of a sequel to [3]_; both
        start from ``weights="coco"``. ``None`` trains all layers at once.
    max_epochs : int, default=20
        Passes over the training images.
    batch_size : int, default=8
        Patches in a batch, in training and in prediction.
    lr : float, default=0.001
        Highest learning rate.
    optimizer : {"adamw", "adam", "sgd"} or class of torch.optim, default="adamw"
        Optimizer; ``"sgd"`` has a momentum of 0.9. ``net_params={"optimizer__weight_decay": 1e-4}``
        passes arguments.
    schedule : {"one-cycle"} or None, default="one-cycle"
        The rate rises over the first tenth of the steps and falls along a cosine; ``None`` keeps
        it.
    validation_fraction : float, default=0.1
        Fraction of the images that is held out for early stopping and `score_threshold`; 0 for
        none. Whole images are drawn at random. If images are related, hold out groups of them
        yourself, with scikit-learn's group splitters.
    patience : int or None, default=10
        Stop after so many epochs without a lower validation loss, and restore the best weights.
        ``None``: train for `max_epochs` and keep the last weights.
    patch_size : int or None, default=256
        Side in pixels of the patches that larger images are cut into, at new places in every epoch.
        ``None``: whole images.
    augment : str, sequence of str, callable or None, default="flip"
        Random changes of training images, as in `galaxysegment.preprocessing.augment`. A function
        ``augment(image, target, generator)`` returns the two, changed: the scaled image, float32 of
        shape (n_bands, height, width), and the patch's `Instances`; it draws from the
        `numpy.random.Generator`.
    device : str, default="auto"
        ``"auto"`` (cuda, else mps, else cpu), a torch device, or ``"accelerate"`` for several GPUs
        through Hugging Face accelerate and skorch's mixin.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        ``"auto"`` computes in bfloat16 where the processor does so natively.
    weights : str, path or None, default=None
        Weights to start from: ``"blends"``, which ship with the package and need no training (one
        science band in any units, galaxies and stars), or a file written by
        `galaxysegment.persistence.save`. Architecture, classes and scaling then come from the file.
        ``"coco"``, torchvision's weights of photographs (170 MB, downloaded once), or a file
        ``.pth`` of them or of another state dict of torchvision's Mask R-CNN, with
        ``backbone="resnet50"`` and any number of bands.
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
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` is the torch module.
    history_ : skorch.history.History
        Losses, durations and so on of every epoch; ``train_loss_mask``, ``valid_loss_classifier``
        and so on are those of the five parts.
    score_threshold_, mask_threshold_ : float
        The thresholds in use.
    nested_sources_ : float
        The factor in use.
    large_sources_ : str
        Where the masks of large sources come from.
    scores_ : str
        What scores are the probability of.
    anchor_sizes_ : list of float
        The anchors in use.
    scaling_ : str
        The scaling in use.
    centre_, scale_ : ndarray of shape (n_bands,) or None
        What ``scaling="asinh"`` learnt.
    n_bands_in_ : int
        Bands seen in `fit`.
    n_net_bands_ : int
        Bands that the net sees after scaling.

    Warns
    -----
    CrowdedImageWarning
        If an image may hold more sources than there are proposals.

    Notes
    -----
    The score of a source is the net's probability of its class, or of any class, between 0 and 1,
    after `soft_nms`. A model file may hold a line through logits that turns such scores into
    probabilities: with ``weights="blends"``, eight in ten sources with scores near 0.8 are true on
    simulated fields. `fit` ends that.

    A net does not see how wide the point sources of an image are. ``weights="blends"`` therefore
    compares all sources of an image, or of a mosaic, with each other, as `UNetSegmenter` does with
    ``weights="sky"``, and the result decides with the net's vote whether a source is a star. The
    comparison measures sources in the pixels that no other source covers. `fit` ends it.

    With ``large_sources="connected"``, a mosaic puts a large galaxy together from what its tiles
    see of it: a spiral of 240 pixels in tiles of 256 stays one source, 3 % smaller.

    References
    ----------
    .. [1] He et al. 2017, ICCV, 2980. :doi:`10.1109/ICCV.2017.322`
    .. [2] Kamath 2019, "Separating overlapping galaxies with Mask R-CNN", CS230 final project
       report, Stanford University.
    .. [3] Burke et al. 2019, MNRAS, 490, 3952. :doi:`10.1093/mnras/stz2845`
    .. [4] Bodla et al. 2017, ICCV, 5562. :doi:`10.1109/ICCV.2017.593`

    Examples
    --------
    >>> from galaxysegment.segmenters import MaskRCNNSegmenter
    >>> from galaxysegment.testing import make_images
    >>> X, y = make_images(4, shape=(32, 32))
    >>> net = MaskRCNNSegmenter(channels=16, n_proposals=20, max_epochs=1, random_state=0)
    >>> net = net.set_params(score_threshold=0.0)
    >>> sources = net.fit(X, y).predict(X, output="instances")  # far from trained
    >>> len(sources), sources[0].shape
    (4, (32, 32))
    """

    _parameter_constraints: dict = {
        **DeepSegmenter._parameter_constraints,
        "backbone": [
            StrOptions({"resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "unet"})
        ],
        "stem_stride": [Interval(Integral, 1, 2, closed="both")],
        "channels": [Interval(Integral, 1, None, closed="left"), None],
        "anchors": [StrOptions({"auto"}), "array-like"],
        "classes": ["array-like"],
        "n_proposals": [Interval(Integral, 1, None, closed="left")],
        "n_samples": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "proposal_nms": [Interval(Real, 0, 1, closed="right")],
        "soft_nms": [Interval(Real, 0, None, closed="neither"), None],
        "box_nms": [Interval(Real, 0, 1, closed="right")],
        "mask_nms": [Interval(Real, 0, 1, closed="right"), None],
        "nested_sources": [Interval(Real, 0, 1, closed="both"), StrOptions({"auto"})],
        "large_sources": [StrOptions({"auto", "net", "connected"})],
        "scores": [StrOptions({"auto", "class", "source"})],
        "score_threshold": [Interval(Real, 0, 1, closed="both"), StrOptions({"auto"})],
        "mask_threshold": [Interval(Real, 0, 1, closed="both"), StrOptions({"auto"})],
        "n_pixels": [Interval(Integral, 1, None, closed="left")],
        "stages": [list, tuple, str, None],
    }

    # how to tell stars from galaxies by all sources of an image, if a model file says it
    _star_rule = None
    # what the net's scores are worth as probabilities, if a model file says it
    _score_scale = None

    def __init__(
        self,
        *,
        backbone: str = "resnet18",
        stem_stride: int = 1,
        channels: int | None = None,
        anchors: str | Sequence[float] = "auto",
        classes: Sequence[int] = (1, 2),
        n_proposals: int = 300,
        n_samples: int | str = "auto",
        proposal_nms: float = 0.7,
        soft_nms: float | None = 0.5,
        box_nms: float = 0.95,
        mask_nms: float | None = None,
        nested_sources: float | str = "auto",
        large_sources: str = "auto",
        scores: str = "auto",
        score_threshold: float | str = "auto",
        mask_threshold: float | str = "auto",
        n_pixels: int = 4,
        scaling: str = "auto",
        rms_band: int | None = None,
        stages: Sequence[dict[str, Any]] | str | None = None,
        max_epochs: int = 20,
        batch_size: int = 8,
        lr: float = 0.001,
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
        bridge: int = 0,
        label_bridge: bool = False,
        no_data: str = "auto",
    ) -> None:
        self.backbone = backbone
        self.stem_stride = stem_stride
        self.channels = channels
        self.anchors = anchors
        self.classes = classes
        self.n_proposals = n_proposals
        self.n_samples = n_samples
        self.proposal_nms = proposal_nms
        self.soft_nms = soft_nms
        self.box_nms = box_nms
        self.mask_nms = mask_nms
        self.nested_sources = nested_sources
        self.large_sources = large_sources
        self.scores = scores
        self.score_threshold = score_threshold
        self.mask_threshold = mask_threshold
        self.n_pixels = n_pixels
        self.scaling = scaling
        self.rms_band = rms_band
        self.stages = stages
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

    # of the net in a model file, which counts in place of the parameter
    _stride_known: int | None = None

    def _module_class(self):
        from ..nets.mask_rcnn._module import MaskRCNN

        return MaskRCNN

    def _module_params(self, n_bands):
        return {
            "n_bands": n_bands,
            "n_classes": len(self.classes),
            "backbone": self.backbone,
            "stem_stride": self.stem_stride,
            "channels": self.channels or _CHANNELS.get(self.backbone, 128),
            "anchor_sizes": self.anchor_sizes_,
            "n_proposals": self.n_proposals,
            "patch_area": self._patch_area,
            "n_samples": self._n_samples if self.n_samples == "auto" else self.n_samples,
            "proposal_nms": self.proposal_nms,
        }

    def _net_settings(self):
        if self.optimizer in ("adam", "adamw") and self.device in ("cpu", "cuda"):
            return {"optimizer__fused": True}  # one pass over the weights in place of a dozen
        return super()._net_settings()

    def _make_dataset(self, data, training):
        from ..nets.mask_rcnn._data import SourceDataset

        targets = [
            clear_no_data(self._large_enough(target), np.isnan(whole(image)).all(axis=0))
            for target, image in zip(data.targets, data.images, strict=True)
        ]
        augmenter = self._augmenter() if training else None
        return SourceDataset(
            data.images,
            targets,
            patch_size=self.patch_size,
            augmenter=augmenter,
            training=training,
            image_weights=data.weights,
        )

    def _large_enough(self, target):
        instances = target if isinstance(target, Instances) else Instances.from_label_map(target)
        return instances.select(instances.areas >= self.n_pixels)

    def _collate(self):
        from ..nets.mask_rcnn._data import DetectionCollate

        stride = self._stride_known or self.stem_stride
        return DetectionCollate(32 * stride, self._declared_classes())

    def _check_trainable(self, images, targets):
        super()._check_trainable(images, targets)
        if self.backbone == "unet" and self.stem_stride != 1:
            raise ValueError(
                f"stem_stride={self.stem_stride} is a stride of residual nets, but a U-Net keeps "
                "all pixels: use stem_stride=1 with backbone='unet'."
            )
        for index, target in enumerate(targets):
            if isinstance(target, Instances) and target.classes is not None:
                self._check_classes(target.classes, f"y[{index}]")

    def _measure(self, images, targets):
        """Set the area of a training patch, how many boxes to sample in it, and the anchors."""
        limit = self.patch_size or np.inf
        sides = np.array([np.minimum(image.shape[1:], limit) for image in images])
        self._patch_area = int(sides.prod(axis=1).max())
        targets = [self._large_enough(target) for target in targets]
        density = sum(map(len, targets)) / sum(np.prod(image.shape[1:]) for image in images)
        self._n_samples = int(
            np.clip(_SAMPLES_PER_SOURCE * density * self._patch_area, *_N_SAMPLES)
        )
        if isinstance(self.anchors, str):
            self.anchor_sizes_ = _choose_anchors(targets)
            return
        self.anchor_sizes_ = [float(size) for size in self.anchors]
        if len(self.anchor_sizes_) != _N_LEVELS or min(self.anchor_sizes_) <= 0:
            raise ValueError(
                f"anchors must be 'auto' or {_N_LEVELS} positive sides in pixels, one for each "
                f"level of the pyramid. Got {self.anchors!r} instead."
            )

    # ---- training ----

    def _start(self, data):
        self._stride_known = None
        self.scores_ = "class" if self.scores == "auto" else self.scores
        self.nested_sources_ = 1.0 if self.nested_sources == "auto" else self.nested_sources
        self.large_sources_ = "net" if self.large_sources == "auto" else self.large_sources
        super()._start(data)

    def _set_untuned(self):
        super()._set_untuned()
        self._star_rule = self._score_scale = None  # which are of the net as it was
        self.mask_threshold_ = 0.5 if self.mask_threshold == "auto" else self.mask_threshold

    def _after_training(self, data):
        if "auto" not in (self.score_threshold, self.mask_threshold):
            return
        from ..nets.common._data import cut

        windows = tuning_windows(data.images, _TUNING_SIDE, _TUNING_PIXELS)[:_N_TUNING]
        images = [data.images[index].window(*window) for index, *window in windows]
        targets = [
            cut(self._large_enough(data.targets[index]), *window) for index, *window in windows
        ]
        boxes, _ = self._look(images, _LOWEST)
        draw = partial(self._draw, boxes, images)
        if self.score_threshold == "auto":
            predicted = draw(0.5 if self.mask_threshold == "auto" else self.mask_threshold)
            self.score_threshold_ = _best_score(targets, predicted)
        if self.mask_threshold == "auto":
            self.mask_threshold_ = _best_mask(targets, draw, self.score_threshold_)

    # ---- weights of torchvision ----

    def _has_foreign_weights(self):
        return self.weights is not None and (
            self.weights == "coco" or Path(self.weights).suffix in _TORCH_FILES
        )

    def _load_foreign_weights(self, n_bands):
        from ..nets.mask_rcnn._torchvision import load_torchvision

        self._make_net(n_bands, self._module_class(), self._module_params(n_bands))
        load_torchvision(self.net_.module_, self.weights)

    # ---- prediction ----

    @property
    def reach(self) -> int:  # type: ignore[override]
        """Pixels around a pixel that decide about it: the size of the largest sources."""
        self._ready_net()
        return int(np.ceil(self.anchor_sizes_[-2]))

    @property
    def phase(self) -> int:  # type: ignore[override]
        """Windows of a larger image begin at multiples of this, and are pooled as the whole is."""
        self._ready_net()
        return self.net_.module_.multiple

    def _segment_images(self, images):
        return [
            replace(sources, classes=self.classify_sources(table))
            for sources, table in self._segment_measured(images)
        ]

    def _segment_measured(self, images):
        """Yield the sources of each image, and the numbers that `classify_sources` gets."""
        scaled_images = self._scale_all(images)
        boxes, saturated = self._look(scaled_images, self._threshold_in_use("score_threshold"))
        if saturated:
            warnings.warn(
                f"{len(saturated)} of {len(images)} images (index {saturated[0]} first) may hold "
                f"more sources than the net looks at, {self.net_.module_.n_proposals} boxes for "
                "each training patch: use a larger n_proposals.",
                CrowdedImageWarning,
                stacklevel=level_of_caller(),
            )
        drawn = self._draw(boxes, scaled_images, self._threshold_in_use("mask_threshold"))
        if self._threshold_in_use("nested_sources") < 1:  # which lowers scores
            least = self._threshold_in_use("score_threshold")
            drawn = [sources.select(sources.scores >= least) for sources in drawn]
        if self._threshold_in_use("large_sources") == "connected":
            pairs = zip(drawn, scaled_images, strict=True)
            drawn = [keep_whole(*pair, self.score_threshold_) for pair in pairs]
        for sources, own, scaled, image in zip(drawn, boxes, scaled_images, images, strict=True):
            table = own["labels"].numpy()[sources.classes, np.newaxis].astype(np.float64)
            if self._star_rule is not None:
                votes = own["proba"].numpy()[np.ix_(sources.classes, self._star_and_galaxy())]
                rms = split_rms(image, self.rms_band)[1]
                table = measure_instances(sources, votes, scaled, rms, self.score_threshold_)
            yield sources, table

    @property
    def classifies_sources(self) -> bool:  # type: ignore[override]
        """Whether sources are compared with each other to tell stars from galaxies."""
        self._ready_net()
        return self._star_rule is not None

    def find_candidates(self, image: NDArray[Any]) -> tuple[Instances, NDArray[np.float64]]:
        """Sources of a window, and what tells stars from galaxies; see `MosaicAware`."""
        [candidates] = self._segment_measured([image])
        return candidates

    def _star_and_galaxy(self):
        """Places of both classes among the net's probabilities."""
        names = [SKY, *self._declared_classes()]
        return [names.index(STAR), names.index(GALAXY)]

    def classify_sources(self, measured: NDArray[np.float64]) -> NDArray[np.integer]:
        """Class of each source; see `galaxysegment.base.MosaicAware`."""
        if self._star_rule is None:
            return np.asarray(self._declared_classes())[measured[:, 0].astype(np.int64) - 1]
        logits = star_logits(evidence_of_instances(measured), self._star_rule)
        return np.where(logits > 0, STAR, GALAXY)

    def _look(self, scaled_images, score_threshold):
        """Boxes with masks of probabilities, and the indices of the images that hold too many."""
        from ..nets.mask_rcnn._prediction import find_boxes

        scale = self._score_scale
        limits = {
            "score_threshold": scale.undo(score_threshold) if scale else score_threshold,
            "box_nms": self.box_nms,
            "soft_nms": self.soft_nms,
            "any_class": self._score_in_use() == "source",
        }
        boxes, saturated = find_boxes(self.net_, scaled_images, self.batch_size, **limits)
        for own in boxes if scale else ():
            scores = own["scores"]
            own["scores"] = scores.new_tensor(scale.apply(scores.float().numpy()))
        return boxes, saturated

    def _score_in_use(self):
        return self.scores_ if self.scores == "auto" else self.scores

    def _draw(self, boxes, scaled_images, mask_threshold):
        """Instances whose classes are the places of their boxes."""
        from ..nets.mask_rcnn._prediction import draw_masks

        shapes = [image.shape[1:] for image in scaled_images]
        drawn = [
            draw_masks(*pair, self.n_pixels, mask_threshold)
            for pair in zip(boxes, shapes, strict=True)
        ]
        if self.mask_nms is not None:
            drawn = [suppress(sources, self.mask_nms) for sources in drawn]
        factor = self._threshold_in_use("nested_sources")
        if factor == 1:
            return drawn
        pairs = zip(drawn, scaled_images, strict=True)
        return [weigh_nested(*pair, factor) for pair in pairs]

    # ---- what a model file keeps ----

    def _get_own_state(self):
        settled = {"star_rule": self._star_rule, "score_scale": self._score_scale}
        return {
            **super()._get_own_state(),
            "mask_threshold": self.mask_threshold_,
            "scores": self._score_in_use(),
            "nested_sources": float(self._threshold_in_use("nested_sources")),
            "large_sources": self._threshold_in_use("large_sources"),
            "anchor_sizes": self.anchor_sizes_,
            "patch_area": self._patch_area,
            **{name: list(values) for name, values in settled.items() if values is not None},
        }

    def _set_own_state(self, state):
        super()._set_own_state(state)
        self._stride_known = state["module_params"]["stem_stride"]
        self.mask_threshold_ = state["mask_threshold"]
        self.scores_ = state.get("scores", "class")  # older files have no such entry
        self.nested_sources_ = state.get("nested_sources", 1.0)
        self.large_sources_ = state.get("large_sources", "net")
        self.anchor_sizes_, self._patch_area = state["anchor_sizes"], state["patch_area"]
        rule, scale = state.get("star_rule"), state.get("score_scale")
        self._star_rule = None if rule is None else check_star_rule(rule)
        self._score_scale = None if scale is None else check_score_scale(scale)


def _best_score(targets, predicted):
    """Score with the best F1 of the sources above it."""
    f1 = [
        detection_scores(
            targets, [sources.select(sources.scores >= threshold) for sources in predicted]
        ).f1
        for threshold in _THRESHOLDS
    ]
    # the middle of the best scores, because the curve is flat and noisy
    best = np.flatnonzero(np.array(f1) >= max(f1) - 1e-3)
    return float(_THRESHOLDS[best[len(best) // 2]])


def _best_mask(targets, draw, score_threshold):
    """Return the mask threshold with the best F1, as mean over IoUs from .5 to .9."""
    quality = []
    for mask_threshold in _MASK_THRESHOLDS:
        predicted = [
            sources.select(sources.scores >= score_threshold) for sources in draw(mask_threshold)
        ]
        quality.append(
            np.mean([detection_scores(targets, predicted, iou=iou).f1 for iou in _MASK_IOUS])
        )
    return float(_MASK_THRESHOLDS[int(np.argmax(quality))])


def _choose_anchors(targets):
    """Return the side of each level's anchors: small sources first, growing at least twofold.

    An anchor is then never much finer than the pixels of its level, and the largest source still
    has one.
    """
    boxes = np.concatenate([target.boxes for target in targets])
    sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
    small, large = (
        np.percentile(sides, [10, 98]) if len(sides) else (_SMALLEST_ANCHOR, _SMALLEST_ANCHOR)
    )
    small = max(small, _SMALLEST_ANCHOR)
    growth = max(2.0, (large / small) ** (1 / (_N_LEVELS - 1)))
    return [round(float(small * growth**level), 1) for level in range(_N_LEVELS)]

"""DETR and Mask2Former: a set of queries, each of which becomes one source or nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from .._utils.validation import level_of_caller
from ..exceptions import CrowdedImageWarning
from ..metrics import iou_score, panoptic_quality
from ..structures import GALAXY, Instances
from ..structures._types import RandomState
from ._deep import DeepSegmenter
from ._deep_instances import DeepInstanceSegmenter

__all__ = ["DETRSegmenter"]

_THRESHOLDS = np.round(np.linspace(0.05, 0.95, 19), 2)
_N_TUNING = 256  # patches are enough to choose one
_FLAT = 0.005  # panoptic qualities of so many patches are no closer to the truth than this
# Architecture and form of the net, by the name that model files have for it.
_FORMS = {
    "seeded": ("mask2former", "seeded"),
    "plain": ("mask2former", "published"),
    "seeded-detr": ("detr", "seeded"),
    "detr": ("detr", "published"),
}


class DETRSegmenter(DeepInstanceSegmenter):
    """Find galaxies and stars with a transformer: Mask2Former or panoptic DETR.

    Each query of a transformer decoder becomes a source, the sky, or nothing. In training, queries
    are matched one to one with the true segments. Each pixel belongs to the sky or to one source:
    galaxies and stars are things, the sky is stuff. Images may have any size and any number of
    bands; NaN counts as sky.

    ``architecture="mask2former"`` [1]_, the default, is transformers' decoder with masked
    attention, its matching and its losses. ``architecture="detr"`` is panoptic DETR [3]_ as in
    transformers: encoder, decoder, boxes, matching by boxes, and masks from the attention of each
    query. Both stand on a U-Net at full resolution, because half of all galaxies have less than
    30 pixels, and their queries begin at peaks that the U-Net sees [2]_. With `backbone` they stand
    on a residual net with learned queries, as published. Notes compares them.

    Parameters
    ----------
    architecture : {"mask2former", "detr"}, default="mask2former"
        The net.
    backbone : {"auto", "unet", "light", "resnet18", "resnet50"}, default="auto"
        The net that makes features; all of its layers learn. ``"auto"`` is the U-Net of
        `base_width` and `depth`, which also learns the sources' pixels and centres. On a residual
        net, Mask2Former has the deformable pixel decoder and both have the learned queries of their
        papers.
    queries : {"peaks", "learned"}, default="peaks"
        Whether the queries on a U-Net begin at peaks or are learned as in the papers, which takes
        far longer.
    n_queries : int, default=64
        Most sources in a patch of `patch_size`. One of the learned queries is the sky's.
    d_model : int, default=64
        Width of the transformer; 256 in the papers.
    n_heads : int, default=8
        Attention heads.
    encoder_layers : int, default=1
        Layers of DETR's encoder or of the deformable pixel decoder; Mask2Former on a U-Net has
        none.
    decoder_layers : int, default=3
        Layers of the decoder.
    n_points : int, default=2048
        Pixels of each training patch at which masks are compared with the truth: those near sources
        first.
    stem_stride : {1, 2, 4}, default=1
        Pixels between the finest features of a residual net, and between those of its masks; 4 in
        the papers, blind to sources of a few pixels.
    base_width, depth : int, default=16 and 5
        Channels of the first level of the U-Net, and its levels.
    classes : sequence of int, default=(1, 2)
        Classes that may be in the truth: galaxies and stars by default. Sources without a class are
        galaxies.
    score_threshold : float or "auto", default="auto"
        Score from which a query is a source; ``"auto"`` takes the one with the best panoptic
        quality of the sources in the validation images (in the training images, if there are none),
        of nearly equal ones that with the best IoU of all pixels.
    n_pixels : int, default=4
        Sources with fewer pixels are dropped.
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
    stages : list of dict or None, default=None
        Staged training: ``{"layers": "heads", "max_epochs": 15, "lr": 1e-3}`` and so on, one after
        the other, in place of `max_epochs` and `lr`. Layers are ``"heads"`` (all but the backbone),
        ``"5+"``, ``"4+"``, ``"3+"`` (the backbone from that stage on, too) or ``"all"``; schedule
        and early stopping begin anew in each stage. ``None`` trains all layers at once.
    max_epochs : int, default=3
        Passes over the training images. Three, as published for pretrained weights, are few from
        scratch: see Notes.
    batch_size : int, default=3
        Patches in a batch, in training and in prediction.
    lr : float, default=0.001
        Highest learning rate.
    optimizer : {"adamw", "adam", "sgd"} or class of torch.optim, default="adamw"
        Optimizer; ``net_params={"optimizer__weight_decay": 1e-4}`` passes arguments to it.
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
    patch_size : int or None, default=128
        Larger images are trained on in patches of this size, at new places in every epoch, and
        predicted in windows of this size that overlap by half: a source is taken from the window
        whose middle is closest to it. ``None`` for whole images.
    augment : str, sequence of str, callable or None, default="flip"
        Random changes of training images, as in `galaxysegment.preprocessing.augment`. A function
        ``augment(image, target, generator)`` returns the two, changed: the scaled image, float32 of
        shape (n_bands, height, width), and an integer map, 0 for the sky and one value for each
        source; it draws from the `numpy.random.Generator`.
    device : str, default="auto"
        ``"auto"`` (cuda, else mps, else cpu), a torch device, or ``"accelerate"`` for several GPUs
        through Hugging Face accelerate and skorch's mixin.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        ``"auto"`` computes in bfloat16 where the processor does so natively.
    weights : str, path or None, default=None
        Weights to start from: a file written by `galaxysegment.persistence.save`, whose
        architecture and scaling then count; the folder of a checkpoint of transformers, DETR
        (panoptic) or Mask2Former as `architecture` says; or its name on the Hugging Face hub,
        ``"facebook/detr-resnet-50-panoptic"``, which is read from the cache or downloaded once.
        Bands and classes are adapted.
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
        Losses, durations and so on of every epoch; ``train_loss_class``, ``valid_loss_mask``,
        ``valid_loss_dice`` and so on are those of the parts.
    score_threshold_ : float
        The threshold in use.
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
        If a training image holds more sources than there are queries, or if all queries are used in
        prediction.

    Notes
    -----
    The score of a source is the net's probability of its class times the mean sureness of its mask,
    between 0 and 1.

    Measured on 512 patches of 128² pixels of two simulated fields (`make_field`; 4.6 sources a
    patch, sources at the edge included). Mask2Former has a panoptic quality of galaxies of 0.665
    (SQ 0.791, RQ 0.840) after 22 minutes of training on two busy cores, with
    ``DETRSegmenter(batch_size=8, max_epochs=19, lr=0.002, n_queries=32)`` and 384 patches of 256²
    pixels divided by their noise. Tuned sep has 0.598, version 1.1 of the shipped U-Net 0.643.

    DETR has 0.652 (SQ 0.784, RQ 0.832) with ``architecture="detr"``, ``batch_size=8``,
    ``max_epochs=13`` and the same patches. A step takes 1.8 times as long, and only the masks of
    the last layer are compared with the truth. The published form, with learned queries on a
    residual net, learns no mask from scratch in minutes: all queries have the same box for hundreds
    of steps. On the U-Net, boxes are relative to the peaks, and the attention that makes masks
    falls off with the distance from the peak [4]_: it fits eight patches (galaxy PQ 0.99) in 300
    steps. Three things differ from transformers' DETR: the backbone learns, weights are drawn as in
    the paper, and the attention is divided by its mean, which makes it as large as the features.

    References
    ----------
    .. [1] Cheng et al. 2022, CVPR, 1280. :doi:`10.1109/CVPR52688.2022.00135`
    .. [2] He et al. 2023, CVPR, 23663. :doi:`10.1109/CVPR52729.2023.02266`
    .. [3] Carion et al. 2020, ECCV, 213. :doi:`10.1007/978-3-030-58452-8_13`
    .. [4] Gao et al. 2021, ICCV, 3621. :doi:`10.1109/ICCV48922.2021.00360`

    Examples
    --------
    >>> from galaxysegment.segmenters import DETRSegmenter
    >>> from galaxysegment.testing import make_images
    >>> X, y = make_images(4, shape=(32, 32))
    >>> small = {"base_width": 4, "depth": 2, "d_model": 32, "n_queries": 8}
    >>> detr = DETRSegmenter(**small, max_epochs=1, random_state=0)
    >>> detr = detr.fit(X, y)  # far from trained; then detr.predict(X, output="panoptic")
    >>> len(detr.history_), bool(detr.history_[-1, "train_loss_dice"] > 0)
    (1, True)
    """

    _parameter_constraints: dict = {
        **DeepSegmenter._parameter_constraints,
        "architecture": [StrOptions({"mask2former", "detr"})],
        "backbone": [StrOptions({"auto", "unet", "light", "resnet18", "resnet50"})],
        "queries": [StrOptions({"peaks", "learned"})],
        "n_queries": [Interval(Integral, 1, None, closed="left")],
        "d_model": [Interval(Integral, 8, None, closed="left")],
        "n_heads": [Interval(Integral, 1, None, closed="left")],
        "encoder_layers": [Interval(Integral, 0, None, closed="left")],
        "decoder_layers": [Interval(Integral, 1, None, closed="left")],
        "n_points": [Interval(Integral, 16, None, closed="left")],
        "stem_stride": [Options(Integral, {1, 2, 4})],
        "base_width": [Interval(Integral, 1, None, closed="left")],
        "depth": [Interval(Integral, 1, 8, closed="both")],
        "classes": ["array-like"],
        "score_threshold": [Interval(Real, 0, 1, closed="both"), StrOptions({"auto"})],
        "n_pixels": [Interval(Integral, 1, None, closed="left")],
        "stages": [list, tuple, str, None],
    }

    # architecture and form of the net in a model file, which count in place of the parameters
    _form_known: tuple[str, str] | None = None

    def __init__(
        self,
        *,
        architecture: str = "mask2former",
        backbone: str = "auto",
        queries: str = "peaks",
        n_queries: int = 64,
        d_model: int = 64,
        n_heads: int = 8,
        encoder_layers: int = 1,
        decoder_layers: int = 3,
        n_points: int = 2048,
        stem_stride: int = 1,
        base_width: int = 16,
        depth: int = 5,
        classes: Sequence[int] = (1, 2),
        score_threshold: float | str = "auto",
        n_pixels: int = 4,
        scaling: str = "auto",
        rms_band: int | None = None,
        stages: Sequence[dict[str, Any]] | str | None = None,
        max_epochs: int = 3,
        batch_size: int = 3,
        lr: float = 0.001,
        optimizer: str | type[Any] = "adamw",
        schedule: str | None = "one-cycle",
        validation_fraction: float = 0.1,
        patience: int | None = 10,
        patch_size: int | None = 128,
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
        self.architecture = architecture
        self.backbone = backbone
        self.queries = queries
        self.n_queries = n_queries
        self.d_model = d_model
        self.n_heads = n_heads
        self.encoder_layers = encoder_layers
        self.decoder_layers = decoder_layers
        self.n_points = n_points
        self.stem_stride = stem_stride
        self.base_width = base_width
        self.depth = depth
        self.classes = classes
        self.score_threshold = score_threshold
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

    def _form(self):
        """Return architecture and form of the net, of a model file if there is one."""
        if self._form_known is not None:
            return self._form_known
        published = self._has_foreign_weights() or self._backbone() != "unet"
        return self.architecture, "published" if published else "seeded"

    def _backbone(self):
        return "unet" if self.backbone == "auto" else self.backbone

    def _module_class(self):
        if self._form() == ("detr", "seeded"):
            from ..nets.detr._seeded import SeededDetr as Module
        elif self._form() == ("detr", "published"):
            from ..nets.detr._published import PublishedDetr as Module
        elif self._form() == ("mask2former", "seeded"):
            from ..nets.mask2former._seeded import SeededMask2Former as Module
        else:
            from ..nets.mask2former._published import PublishedMask2Former as Module
        return Module

    def _module_params(self, n_bands):
        params = {
            "n_bands": n_bands,
            "n_classes": len(self._declared_classes()) + 1,
            "n_queries": self.n_queries,
            "d_model": self.d_model,
            "n_heads": self.n_heads,
            "decoder_layers": self.decoder_layers,
            "feedforward": 4 * self.d_model,
        }
        architecture, form = self._form()
        if (architecture, form) != ("mask2former", "seeded"):
            params["encoder_layers"] = self.encoder_layers
        if form == "published":
            return {**params, "backbone": self._backbone(), "stem_stride": self.stem_stride}
        return {
            **params,
            "base_width": self.base_width,
            "depth": self.depth,
            "queries": self.queries,
        }

    def _make_dataset(self, data, training):
        from ..nets.common._data import PatchDataset

        codes = [self._encode(target) for target in data.targets]
        augmenter = self._augmenter() if training else None
        return PatchDataset(
            data.images,
            codes,
            patch_size=self.patch_size,
            augmenter=augmenter,
            training=training,
            image_weights=data.weights,
        )

    def _collate(self):
        from ..nets.queries._data import SegmentCollate

        return SegmentCollate(self.n_points)

    def _encode(self, target):
        """Label map of a target that tells the class index of each source too."""
        from ..nets.queries._data import encode_target

        labels, classes = _segments(target)
        self._check_classes(classes, "y")
        index = {number: place for place, number in enumerate(self._declared_classes(), start=1)}
        return encode_target(
            labels, np.array([index[number] for number in classes.tolist()], dtype=np.int64)
        )

    # ---- what is refused or warned of ----

    def _check_trainable(self, images, targets):
        super()._check_trainable(images, targets)
        self._check_width()
        self._warn_of_crowds(targets)

    def _check_width(self):
        """Refuse a width that attention heads, sines and DETR's mask head cannot divide."""
        if self.architecture == "detr":
            fits = (
                self.d_model in (32, 64) or self.d_model % 128 == 0
            ) and not self.d_model % self.n_heads
            fits = fits and self.n_heads % 8 == 0
            remedy = (
                "32, 64 or a multiple of 128, and n_heads that is a multiple of 8 and divides it"
            )
        else:
            multiple = max(4 * self.n_heads, 32 if self._backbone() != "unet" else 4)
            fits, remedy = not self.d_model % multiple, f"that is a multiple of {multiple}"
        if not fits:
            raise ValueError(
                f"d_model={self.d_model} with n_heads={self.n_heads} cannot be divided as the net "
                f"needs it: use a d_model {remedy}."
            )

    def _warn_of_crowds(self, targets):
        """Warn where an image that is trained on whole has more sources than there are queries."""
        limit = self.n_queries - (self._backbone() != "unet")
        counts = [
            len(target) if isinstance(target, Instances) else int(target.max(initial=0))
            for target in targets
            if self.patch_size is None or max(target.shape) <= self.patch_size
        ]
        if counts and max(counts) > limit:
            warnings.warn(
                f"A training image holds {max(counts)} sources, but n_queries={self.n_queries} "
                f"finds at most {limit} in one: the others cannot be learnt. Use n_queries >= "
                f"{max(counts) + self.n_queries - limit}, or a smaller patch_size.",
                CrowdedImageWarning,
                stacklevel=level_of_caller(),
            )

    # ---- training ----

    def _after_training(self, data):
        if self.score_threshold == "auto":
            patches = self._make_dataset(replace(data, weights=None), training=False)
            patches.windows = patches.windows[:: -(-len(patches) // _N_TUNING)]
            self.score_threshold_ = self._best_threshold(
                [patches[index] for index in range(len(patches))]
            )

    def _best_threshold(self, patches):
        """Return the score with the best panoptic quality; of nearly equal, the best IoU.

        The quality counts a galaxy of ten thousand pixels like one of ten, and is nearly flat up to
        scores at which the largest ones are lost.
        """
        from ..nets.queries._data import decode_target
        from ..nets.queries._prediction import find_candidates, to_instances

        truths = []
        for _, codes in patches:
            labels, classes, _ = decode_target(codes, 1)
            truths.append(Instances.from_label_map(labels, classes=self._names()[classes]))
        candidates = find_candidates(self.net_, [image for image, _ in patches], self.batch_size)
        quality, overlap = [], []
        for threshold in _THRESHOLDS:
            sources = [
                to_instances(queries, threshold, self.n_pixels, self._names())
                for queries in candidates
            ]
            things = panoptic_quality(truths, sources).things.pq
            quality.append(1.0 if np.isnan(things) else things)  # no source, and none found
            overlap.append(iou_score(truths, sources, average="pixels"))
        rank = np.where(np.array(quality) >= max(quality) - _FLAT, overlap, -1)
        best = np.flatnonzero(rank == rank.max())
        return float(
            _THRESHOLDS[best[len(best) // 2]]
        )  # the middle of equal ones, away from where they end

    def _names(self):
        """Category of each class index, the sky's first."""
        return np.array([0, *self._declared_classes()])

    # ---- prediction ----

    def _segment_images(self, images):
        from ..nets.queries._prediction import predict_instances

        scaled_images = self._scale_all(images)
        threshold = self._threshold_in_use("score_threshold")
        window = None if self.patch_size is None else max(self.patch_size, 32)
        sources, crowded = predict_instances(
            self.net_,
            scaled_images,
            self.batch_size,
            window,
            threshold,
            self.n_pixels,
            self._names(),
        )
        if crowded:
            warnings.warn(
                f"All {self.net_.module_.n_queries} queries are used in {len(crowded)} of "
                f"{len(images)} images (index {crowded[0]} first), which may hold more sources: "
                "train with a larger n_queries or a smaller patch_size, or raise score_threshold.",
                CrowdedImageWarning,
                stacklevel=level_of_caller(),
            )
        return sources

    # ---- checkpoints of transformers ----

    def _has_foreign_weights(self):
        """Return whether `weights` are a checkpoint of transformers, in a folder or on the hub."""
        if self.weights is None:
            return False
        path = Path(self.weights)
        return path.is_dir() or (not path.exists() and not path.suffix and "/" in str(self.weights))

    def _start(self, data):
        self._form_known = None
        super()._start(data)

    def _load_foreign_weights(self, n_bands):
        from ..nets.queries._checkpoints import load_checkpoint

        module = self._module_class()
        n_classes = len(self._declared_classes()) + 1
        params, state = load_checkpoint(self.weights, module, n_bands, n_classes)
        self._make_net(n_bands, module, params)
        self.net_.module_.load_state_dict(state)

    # ---- what a model file keeps ----

    def _get_own_state(self):
        names = {form: name for name, form in _FORMS.items()}
        return {**super()._get_own_state(), "kind": names[self._form()]}

    def _set_own_state(self, state):
        super()._set_own_state(state)
        self._form_known = _FORMS[state["kind"]]


def _segments(target):
    """Label map of a checked target, and the class of every label."""
    if not isinstance(target, Instances):
        return target, np.full(int(target.max(initial=0)), GALAXY)
    semantic, labels = target.to_panoptic()
    classes = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int64)
    classes[labels] = semantic
    return labels, classes[1:]

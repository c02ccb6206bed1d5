"""U-Net: galaxy or background, pixel by pixel, from a net that sees the surroundings."""

from numbers import Integral, Real

import numpy as np
from scipy import ndimage
from sklearn.utils._param_validation import Interval, StrOptions

from ..base import ProbabilisticSegmenter, target_mask
from ..metrics import detection_scores
from ..structures import as_label_map, label_components, remove_small
from ._deep import DeepSegmenterMixin
from ._scaling import learn_scale, noise_scaled, scaled

__all__ = ["UNetSegmenter"]

_THRESHOLDS = np.linspace(0.2, 0.8, 13)


class UNetSegmenter(DeepSegmenterMixin, ProbabilisticSegmenter):
    """Find galaxies with a padded U-Net.

    Five levels of two 3×3 convolutions with concatenated skips and a 1×1 output [1]_, trained with
    cross-entropy plus Dice loss; pixels whose galaxy probability exceeds `threshold` become sources by
    connected components. Images of any size and any number of bands; NaN pixels do not count.

    Parameters
    ----------
    base_width : int, default=16
        Channels of the first level, doubled at each further one. 64 is the paper's form, which costs 16 times
        as much and is hardly better on faint galaxies.
    depth : int, default=5
        Number of levels.
    dropout : float, default=0.1
        Probability of dropping a channel in the two deepest levels.
    scaling : {"auto", "asinh", "noise"}, default="auto"
        How images reach the net. ``"asinh"``: asinh((x - centre) / scale) in each band, with the median and the
        robust standard deviation of the training pixels, so that neither units nor pedestals matter. ``"noise"``:
        asinh of the signal-to-noise ratio, background (and noise, without an RMS band) estimated in each image
        on a mesh: for raw images of differing depth. ``"auto"``: what the `weights` were trained with, else
        ``"asinh"``.
    rms_band : int or None, default=None
        Index of the RMS band that ``scaling="noise"`` divides by; ``None`` means there is none.
    threshold : float or "auto", default="auto"
        Probability above which a pixel belongs to a galaxy; ``"auto"`` takes the one with the best sum of
        pixel IoU and source F1 on the validation images (on the training images, if there are none), or the one
        that comes with `weights`.
    n_pixels : int, default=8
        Sources with fewer pixels are dropped. The mask of a faint source tends to come out a little smaller than
        the truth: to find sources of ten pixels ask for fewer.
    deblend : bool, default=False
        Whether to split sources at saddles of the smoothed image.
    max_epochs : int, default=30
        Passes over the training images.
    batch_size : int, default=8
        Patches in a batch, in training and in prediction.
    lr : float, default=0.003
        Highest learning rate.
    optimizer : {"adamw", "adam", "sgd"} or class of torch.optim, default="adamw"
        Optimizer; ``net_params={"optimizer__momentum": 0.9}`` passes arguments to it.
    schedule : {"one-cycle"} or None, default="one-cycle"
        The rate rises over the first tenth of the steps and falls along a cosine; ``None`` keeps it.
    validation_fraction : float, default=0.1
        Fraction of the images held out for early stopping and `threshold`; 0 for none. They are drawn by image:
        hold groups of related images out yourself with scikit-learn's group splitters.
    patience : int or None, default=10
        Stop after so many epochs without a lower validation loss. The best weights are restored in any case;
        ``None`` keeps the last ones instead.
    patch_size : int or None, default=256
        Larger images are trained on in patches of this size, at new places in every epoch; ``None`` for whole
        images.
    augment : str, sequence of str or None, default="flip"
        Random changes of training images, as in `galaxysegment.preprocessing.augment`.
    device : str, default="auto"
        ``"auto"`` (cuda, else mps, else cpu), a torch device, or ``"accelerate"`` for several GPUs through
        Hugging Face accelerate and skorch's mixin.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        ``"auto"`` computes in bfloat16 where the processor does so natively.
    weights : str, path or None, default=None
        Weights to start from: ``"vis"``, which ship with the package and need no training (scaling ``"noise"``,
        one science band in any units), or a file written by `galaxysegment.persistence.save`. The architecture and the
        scaling then come from the file.
    warm_start : bool, default=False
        Whether another call of `fit` goes on from the present weights.
    callbacks : list of skorch callbacks or None, default=None
        More callbacks.
    net_params : dict or None, default=None
        Anything else for `skorch.NeuralNet`, e.g. ``{"iterator_train__num_workers": 2}``.
    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the split, the batches and the augmentation. On a CPU two fits with one seed are equal.
    verbose : int or bool, default=False
        Whether to show a progress bar and a line per epoch.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` is the torch module.
    history_ : skorch.history.History
        Losses, durations and so on of every epoch.
    threshold_ : float
        The threshold in use.
    scaling_ : str
        The scaling in use.
    centre_, scale_ : ndarray of shape (n_bands,) or None
        What ``scaling="asinh"`` learnt.
    n_bands_in_ : int
        Bands seen in `fit`.
    n_net_bands_ : int
        Bands that the net sees after scaling.

    References
    ----------
    .. [1] Ronneberger, Fischer & Brox 2015, MICCAI, 9351, 234. :doi:`10.1007/978-3-319-24574-4_28`

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.segmenters import UNetSegmenter
    >>> rows, columns = np.indices((32, 32))
    >>> image = np.random.default_rng(0).normal(size=(32, 32))
    >>> image += 30 * np.exp(-((rows - 12) ** 2 + (columns - 18) ** 2) / 18)
    >>> truth = (rows - 12) ** 2 + (columns - 18) ** 2 < 60
    >>> unet = UNetSegmenter(base_width=4, depth=3, max_epochs=60, validation_fraction=0, random_state=0)
    >>> labels = unet.fit(image[None], truth[None]).predict(image[None])
    >>> labels.shape, bool(labels[0, 12, 18] > 0)
    ((1, 32, 32), True)
    """

    _parameter_constraints: dict = {
        **ProbabilisticSegmenter._parameter_constraints,
        **DeepSegmenterMixin._parameter_constraints,
        "base_width": [Interval(Integral, 1, None, closed="left")],
        "depth": [Interval(Integral, 1, 8, closed="both")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "scaling": [StrOptions({"auto", "asinh", "noise"})],
        "rms_band": [Integral, None],
        "threshold": [Interval(Real, 0, 1, closed="both"), StrOptions({"auto"})],
    }

    def __init__(
        self,
        *,
        base_width=16,
        depth=5,
        dropout=0.1,
        scaling="auto",
        rms_band=None,
        threshold="auto",
        n_pixels=8,
        deblend=False,
        max_epochs=30,
        batch_size=8,
        lr=3e-3,
        optimizer="adamw",
        schedule="one-cycle",
        validation_fraction=0.1,
        patience=10,
        patch_size=256,
        augment="flip",
        device="auto",
        precision="auto",
        weights=None,
        warm_start=False,
        callbacks=None,
        net_params=None,
        random_state=None,
        verbose=False,
    ):
        self.base_width = base_width
        self.depth = depth
        self.dropout = dropout
        self.scaling = scaling
        self.rms_band = rms_band
        self.threshold = threshold
        self.n_pixels = n_pixels
        self.deblend = deblend
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

    # ---- the decisions of this net ----

    def _module_spec(self, n_bands):
        from ..nets._unet import UNet

        shape = {"base_width": self.base_width, "depth": self.depth, "dropout": self.dropout}
        return UNet, {"n_bands": n_bands, **shape}

    def _criterion(self):
        from ..nets._losses import BCEDiceLoss

        return BCEDiceLoss

    def _make_dataset(self, images, targets, training):
        from ..nets._data import MaskDataset

        masks = [target_mask(target) for target in targets]
        augmenter = self._augmenter() if training else None
        return MaskDataset(images, masks, patch_size=self.patch_size, augmenter=augmenter, training=training)

    def _collate(self):
        from ..nets._data import collate_padded

        return collate_padded

    def _learn_scaling(self, images):
        self.scaling_ = "asinh" if self.scaling == "auto" else self.scaling
        self.centre_ = self.scale_ = None
        if self.scaling_ == "asinh":
            self.centre_, self.scale_ = learn_scale(images, self._seed)

    def _scale(self, image):
        if self.scaling_ == "noise":
            return noise_scaled(image, self.rms_band)
        return scaled(image, self.centre_, self.scale_)

    def _after_training(self, images, targets):
        self.threshold_ = self.threshold
        if self.threshold == "auto":
            no_data = [np.isnan(image).all(axis=0) for image in images]
            probas = [np.where(gap, 0, one) for gap, one in zip(no_data, self._proba(images), strict=True)]
            truths = [np.where(gap, 0, as_label_map(one)) for gap, one in zip(no_data, targets, strict=True)]
            self.threshold_ = _best_threshold(probas, truths, self.n_pixels)

    # ---- prediction ----

    @property
    def _reach(self):
        """Pixels around a pixel that decide about it: what the net sees, and what smooths before a blend is split."""
        self._ready_net()
        return self.net_.module_.halo + 4

    @property
    def _phase(self):
        """A window of a larger image begins at a multiple of this, so that it is pooled as the whole is."""
        self._ready_net()
        return self.net_.module_.multiple

    def _images_proba(self, images):
        self._ready_net()
        scaled_images = [self._scale(image) for image in images]
        if len(scaled_images[0]) != self.n_net_bands_:
            raise ValueError(
                f"The net sees {self.n_net_bands_} band(s) after scaling, but X gives {len(scaled_images[0])}: pass "
                "one band at a time or a coadd, and set rms_band where X has an RMS map."
            )
        return self._proba(scaled_images)

    def _proba(self, scaled_images):
        from ..nets._prediction import predict_proba

        return predict_proba(self.net_, scaled_images, self.batch_size)

    def _threshold(self):
        return self.threshold_ if self.threshold == "auto" else self.threshold

    def _deblending_image(self, proba, image):
        # saddles are looked for in units of the noise, with the sky at zero
        flux = np.sinh(np.nan_to_num(self._scale(image)[0].astype(np.float64)))
        return ndimage.gaussian_filter(flux, 1.0)

    # ---- what a model file keeps ----

    def _get_net_state(self):
        scaling = {"scaling": self.scaling_, "centre": self.centre_, "scale": self.scale_, "threshold": self.threshold_}
        return {**super()._get_net_state(), **scaling}

    def _set_net_state(self, state):
        self.scaling_, self.threshold_ = state["scaling"], state["threshold"]
        self.centre_, self.scale_ = state["centre"], state["scale"]
        super()._set_net_state(state)


def _best_threshold(probas, truths, n_pixels):
    """Threshold with the best sum of pixel IoU and source F1: the former is flat, so that the latter often decides."""
    quality = []
    for threshold in _THRESHOLDS:
        found = [remove_small(label_components(proba > threshold), n_pixels) for proba in probas]
        both, either = (
            sum(np.count_nonzero(join(truth > 0, one > 0)) for truth, one in zip(truths, found, strict=True))
            for join in (np.logical_and, np.logical_or)
        )
        quality.append(both / max(either, 1) + detection_scores(truths, found).f1)
    return float(_THRESHOLDS[int(np.argmax(quality))])

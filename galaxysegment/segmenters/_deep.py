"""The template of the deep segmenters: parameters, the life of a training run, weights, prediction.

A deep segmenter is composed with skorch, not derived from it: `fit` makes ``self.net_``. Two more
objects do the work that needs no segmenter: a `Scaler` makes the net's inputs of images, and a
`galaxysegment.nets.common._trainer.Trainer` makes and trains the net.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints

from .._utils.shipped import load_weights, shipped_models
from .._utils.streams import ArrayStream
from .._utils.typed import fit_context
from .._utils.validation import check_weights, common_shape
from ..base import BaseSegmenter, Statistic
from ..exceptions import NoValidationWarning
from ..io._inputs import open_observations
from ..preprocessing._augment import check_kinds
from ..structures._truth import check_targets
from ..structures._types import Images, RandomState, Sources
from ._augmenter import Augmenter
from ._scaling import Scaler
from ._stages import check_stages
from ._training_set import (
    FieldStream,
    FloatStream,
    TrainingSet,
    has_sources,
    mask_streams,
    split_ignored,
)

__all__ = ["DeepSegmenter"]

_NET_PREFIXES = (
    "module__",
    "criterion__",
    "optimizer__",
    "iterator_train__",
    "iterator_valid__",
    "callbacks__",
)


class DeepSegmenter(BaseSegmenter):
    """Template of a segmenter that holds a skorch net: training, warm starts, weights, devices.

    A subclass has the parameters that are declared below in its ``__init__``. It overrides the
    hooks that follow them: `_module_class`, `_module_params`, `_criterion`, `_make_dataset` and
    `_collate` always, the others where it differs from other nets. Its prediction method
    (``_segment_images`` or ``_images_proba``) takes the net's inputs from `_scale_all`.
    """

    # ---- the parameters that the template uses ----

    max_epochs: int
    batch_size: int
    lr: float
    optimizer: str | type[Any]
    schedule: str | None
    validation_fraction: float
    patience: int | None
    patch_size: int | None
    augment: str | Sequence[str] | Callable[..., Any] | None
    scaling: str
    rms_band: int | None
    device: str
    precision: str
    weights: str | Path | None
    warm_start: bool
    callbacks: Sequence[Any] | None
    net_params: dict[str, Any] | None
    random_state: RandomState
    verbose: int | bool
    #: Stages of the training; a subclass whose module can ``freeze(layers)`` has the parameter.
    stages: Sequence[dict[str, Any]] | str | None = None

    _requires_y = True

    _parameter_constraints: dict = {
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "optimizer": [StrOptions({"adamw", "adam", "sgd"}), callable],
        "schedule": [StrOptions({"one-cycle"}), None],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left"), None],
        "patch_size": [Interval(Integral, 16, None, closed="left"), None],
        "augment": [str, "array-like", callable, None],
        "scaling": [StrOptions({"auto", "asinh", "noise"})],
        "rms_band": [Integral, None],
        "device": [str],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "weights": [str, Path, None],
        "warm_start": ["boolean"],
        "callbacks": [list, None],
        "net_params": [dict, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # ---- parameters of the net, as skorch's users write them ----

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters; with `deep`, those of `net_params` with two underscores, too.

        Parameters
        ----------
        deep : bool, default=True

        Returns
        -------
        dict
        """
        params = super().get_params(deep=deep)
        # Anything may have been set: `fit` refuses what is no dict.
        if deep and isinstance(self.net_params, dict):
            params |= {key: value for key, value in self.net_params.items() if "__" in key}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``optimizer__weight_decay`` and the like go into `net_params`.

        Parameters
        ----------
        **params
            Names of parameters, or skorch's ``module__…``, ``criterion__…``, ``optimizer__…``,
            ``iterator_train__…``, ``iterator_valid__…`` and ``callbacks__…``. They count from the
            next `fit` on; ``module__…`` and ``criterion__…`` not in a warm start.

        Returns
        -------
        self : object
        """
        of_net = {key: value for key, value in params.items() if key.startswith(_NET_PREFIXES)}
        super().set_params(**{key: params[key] for key in params if key not in of_net})
        if of_net:
            self.net_params = {**(self.net_params or {}), **of_net}
        return self

    # ---- hooks that every subclass overrides ----

    def _module_class(self):
        """Return the class of the torch module."""
        raise NotImplementedError

    def _module_params(self, n_bands):
        """Return the module's arguments, a dict, for inputs of `n_bands` bands.

        They are kept in model files: numbers, strings, lists and None.
        """
        raise NotImplementedError

    def _criterion(self):
        """Return the class of the loss, a function of the module's output and the target."""
        raise NotImplementedError

    def _make_dataset(self, data, training):
        """Return a torch dataset of a `TrainingSet` of scaled images; augment if `training`."""
        raise NotImplementedError

    def _collate(self):
        """Return the function that makes a batch (input, target) of the dataset's items."""
        raise NotImplementedError

    # ---- hooks that a subclass may override ----

    def _net_class(self):
        """Return the class of the skorch net; override if the module takes more than a tensor."""
        from ..nets.common._net import SegmentationNet

        return SegmentationNet

    def _net_settings(self):
        """Return more arguments of the skorch net, a dict; `net_params` overrides them."""
        return {}

    def _check_trainable(self, images, targets):
        """Refuse data that teach nothing; override to check more, and call super."""
        if not callable(self.augment):
            check_kinds(self.augment)
        if not any(map(has_sources, targets)):
            raise ValueError(
                f"y holds no source in any of its {len(targets)} targets: {type(self).__name__} "
                "cannot learn what a galaxy is from background alone. Check that y is the truth "
                "of X, or add images with sources."
            )
        holds_out = self.validation_fraction and "train_split" not in (self.net_params or {})
        if len(images) == 1 and holds_out:
            warnings.warn(
                "X holds 1 image, so that none is left for validation: training runs all "
                f"max_epochs ({self.max_epochs}) without early stopping. Pass patches of the image "
                "(at least 2), or validation_fraction=0 to say that this is meant.",
                NoValidationWarning,
                stacklevel=5,
            )

    def _check_truth(self, y, images):
        """Return the checked truth of images, a list; override to keep it on disk."""
        return check_targets(y, images)

    def _field_truths(self, X, images):
        """Return the truth that fields bring along, a list; `images` are their streams.

        Override with `_check_truth`.
        """
        return check_targets(self._find_truth(X, None), images)

    def _mask_ignored(self, y, images):
        """Return the truth and the images for pixels of label -1, which do not count.

        They become pixels without data; override for a net whose loss leaves pixels out.
        """
        y, masks = split_ignored(y)
        return y, images if len(masks) != len(images) else mask_streams(images, masks, "y")

    def _measure(self, images, targets):
        """Set what `_module_params` needs of the data; override if it needs anything."""

    def _set_untuned(self):
        """Set values that `_after_training` tunes, before the training; override with it.

        The segmenter can then predict even if the training is interrupted.
        """

    def _after_training(self, data):
        """Tune what depends on the trained net; override if there is anything.

        `data` is a `TrainingSet` of scaled images: those of the validation, or of the training
        without one.
        """

    def _has_foreign_weights(self):
        """Return if `weights` are of another program; override with `_load_foreign_weights`."""
        return False

    def _load_foreign_weights(self, n_bands):
        """Make ``net_`` for inputs of `n_bands` bands, with the weights of another program."""
        raise NotImplementedError

    def _get_own_state(self):
        """Return a dict of what a model file keeps beside net and scaling; override if needed."""
        return {}

    def _set_own_state(self, state):
        """Take back what `_get_own_state` returned, before the net is made."""

    # ---- training ----

    @property
    def history_(self) -> Any:
        """The epochs of the training so far, a `skorch.history.History`."""
        return self.net_.history

    @fit_context
    def fit(
        self,
        X: Images,
        y: Sources | None = None,
        *,
        mask: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train the net on images.

        Only patches are in memory as the net sees them: memory maps and fields on disk may be
        larger than the memory. 20 GB of them are trained on in 0.7 GB of memory.

        Parameters
        ----------
        X : array of shape (n_images, [n_bands,] height, width), list, `Field` or `NDData`
            Images; NaN means "no data". A list holds arrays of different sizes, fields or `NDData`;
            the RMS map of a field becomes its last band if `rms_band` is -1.
        y : array of shape (n_images, height, width), list of label maps or of `Instances`, optional
            The truth: label maps (0 = background), binary masks or instances. Pixels of label -1
            are ignored. Fields bring their own truth.
        mask : array of bool, shape (n_images, height, width), or list, optional
            True for pixels without data.
        sample_weight : array-like of shape (n_images,), optional
            Weight of each image in the loss; images of weight 0 teach nothing. A pipeline passes
            `mask` and `sample_weight` on after ``set_fit_request(mask=True, sample_weight=True)``.

        Returns
        -------
        self : object
            The trained segmenter.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C. The segmenter then has the best weights so far, if an epoch is complete.
        """
        return self._fit(X, y, mask, sample_weight)

    @fit_context
    def partial_fit(
        self,
        X: Images,
        y: Sources | None = None,
        *,
        mask: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Go on training with more images, from the present weights.

        Parameters
        ----------
        X : array of shape (n_images, [n_bands,] height, width), list, `Field` or `NDData`
            Images with as many bands as before; NaN means "no data".
        y : array of shape (n_images, height, width), list of label maps or of `Instances`
            The truth, as for `fit`.
        mask : array of bool, shape (n_images, height, width), or list, optional
            True for pixels without data.
        sample_weight : array-like of shape (n_images,), optional
            Weight of each image in the loss, as for `fit`.

        Returns
        -------
        self : object
            The segmenter, trained for up to `max_epochs` more epochs.
        """
        return self._fit(X, y, mask, sample_weight, goes_on=hasattr(self, "net_"))

    def _fit(self, X, y, mask=None, weights=None, goes_on=None):
        """Train from the present weights if `goes_on`; by default `warm_start` decides."""
        goes_on = self.warm_start and hasattr(self, "net_") if goes_on is None else goes_on
        data = self._training_set(X, y, mask, weights, self._n_bands_fitted if goes_on else None)
        self._check_trainable(data.images, data.targets)
        if not goes_on:
            self._start(data)
        try:
            self._train(data)
        except KeyboardInterrupt:
            if not any("train_loss" in row for row in self.net_.history):
                del self.net_  # no epoch is complete: there is nothing to keep
            raise
        return self

    def _training_set(self, X, y, mask, weights, n_bands_fitted):
        """Check what `fit` was given, and return it as a `TrainingSet`."""
        fields, _ = open_observations(X)
        if fields is None:
            self._find_truth(X, y)  # arrays bring none along: without `y` there is nothing to check
        if fields is not None:
            images = self._field_streams(fields, n_bands_fitted)
        elif (
            isinstance(X, np.ndarray) and X.ndim in (3, 4) and not np.ma.isMaskedArray(X) and len(X)
        ):
            self._unpack(X[:1], n_bands_fitted)  # checks it
            images = [FloatStream(image if X.ndim == 4 else image[None]) for image in X]
        else:
            images = [ArrayStream(image) for image in self._unpack(X, n_bands_fitted)[0]]
        if n_bands_fitted is None:
            self.n_bands_in_ = images[0].shape[0]
            self._image_shape = common_shape(images)
        if fields is not None and y is None:
            targets = self._field_truths(X, images)
        else:
            y, images = self._mask_ignored(self._find_truth(X, y), images)
            targets = self._check_truth(y, images)
        if mask is not None:
            images = mask_streams(images, list(mask), "mask")
        return TrainingSet(images, targets, check_weights(weights, len(images)))

    def _field_streams(self, fields, n_bands_fitted):
        images = [
            FieldStream(field, field.has_rms and self._takes_rms(field.n_bands, n_bands_fitted))
            for field in fields
        ]
        counts = {image.shape[0] for image in images}
        if len(counts) > 1 or (n_bands_fitted is not None and counts != {n_bands_fitted}):
            wanted = "the same number of bands" if n_bands_fitted is None else n_bands_fitted
            raise ValueError(
                f"The fields of X have {sorted(counts)} bands, RMS maps included, but "
                f"{type(self).__name__} needs {wanted}: pass fields of equal bands, all of them "
                "with or all without an RMS map."
            )
        return images

    def _start(self, data):
        """Make the net, with fresh weights or with those that `weights` names."""
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._measure(data.images, data.targets)
        if self.weights is not None and not self._has_foreign_weights():
            self._load_weights()
            return
        self._set_scaler(Scaler.learn(self.scaling, data.images, self._seed, self.rms_band))
        n_bands = self._scaler().n_bands_of(data.images[0].shape[0])
        if self.weights is None:
            self._make_net(n_bands, self._module_class(), self._module_params(n_bands))
        else:
            self._load_foreign_weights(n_bands)

    def _train(self, data):
        scaler = self._scaler()
        self._check_net_bands(scaler.n_bands_of(data.images[0].shape[0]))
        scaled = replace(data, images=[scaler.stream(image) for image in data.images])
        learn, hold = (scaled.part(indices) for indices in self._split(len(data)))
        self._set_untuned()
        self._trainer().train(
            self.net_,
            self._make_dataset(learn, training=True),
            self._make_dataset(hold, training=False) if len(hold) else None,
        )
        self._after_training(hold if len(hold) else learn)

    def _split(self, n_images):
        """Return the indices of the training images and of the validation images.

        They are the same in every call, so that a warm start never trains on validation images.
        """
        from ..nets.common._data import split_by, split_indices

        if "train_split" in (self.net_params or {}):
            return split_by(self.net_params["train_split"], n_images)
        generator = np.random.default_rng(self._seed)
        return split_indices(n_images, self.validation_fraction, generator)

    def _trainer(self):
        """Return the object that makes and trains the net."""
        from ..nets.common._trainer import Trainer

        return Trainer(
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            optimizer=self.optimizer,
            schedule=self.schedule,
            patience=self.patience,
            device=self.device,
            precision=self.precision,
            callbacks=self.callbacks,
            net_params=self.net_params,
            verbose=self.verbose,
            seed=self._seed,
            stages=None if self.stages is None else check_stages(self.stages),
        )

    def _make_net(self, n_bands, module, module_params, check=None):
        """Make ``net_``, unless `check` refuses the class and the arguments of its module."""
        trainer = self._trainer()
        self.n_net_bands_ = n_bands
        net = trainer.make_net(
            module,
            module_params,
            criterion=self._criterion(),
            collate=self._collate(),
            net_class=self._net_class(),
            **self._net_settings(),
        )
        if check is not None:
            check(net.module, net.get_params_for("module"))
        trainer.initialize(net)
        self.net_ = net

    def _augmenter(self):
        """Return the function that changes a training image and its target, or None."""
        if callable(self.augment):
            return Augmenter(self.augment)
        kinds = check_kinds(self.augment)
        # once scaled by the noise, images have no RMS map
        rms_band = self.rms_band if self.scaling_ == "asinh" else None
        return Augmenter(kinds, rms_band) if kinds else None

    # ---- the net's inputs ----

    def _scaler(self):
        """Return the `Scaler` in use."""
        return Scaler(
            self.scaling_,
            self.centre_,
            self.scale_,
            self.rms_band,
            self._statistics,
            self._corner,
        )

    def statistics_needed(self) -> dict[str, Statistic]:
        """Ask for the statistics of the whole image that scaling needs; see `MosaicAware`."""
        self._ready_net()
        return self._scaler().statistics_needed()

    def _set_scaler(self, scaler):
        self.scaling_, self.centre_, self.scale_ = scaler.method, scaler.centre, scaler.scale

    def _scale_all(self, images):
        """Scale images for a net that is there already."""
        self._ready_net()
        scaler = self._scaler()
        self._check_net_bands(scaler.n_bands_of(len(images[0])))
        return [scaler.scale_image(image) for image in images]

    def _check_net_bands(self, n_bands):
        if self.n_net_bands_ not in (None, n_bands):
            raise ValueError(
                f"The net sees {self.n_net_bands_} band(s) after scaling, but X gives {n_bands}: "
                "pass one band at a time or a coadd, take the weights of a net of any number of "
                "bands (weights='bands' of UNetSegmenter), and set rms_band where X has an RMS map."
            )

    # ---- weights that are there before any training ----

    def __sklearn_is_fitted__(self):
        # weights of photographs know no galaxies
        return hasattr(self, "net_") or (
            self.weights is not None and not self._has_foreign_weights()
        )

    def _unfitted_message(self):
        names = [model.name for model in shipped_models(type(self).__name__)]
        if not names:
            return None
        return (
            "This %(name)s instance is not fitted yet: call 'fit' with images and their truth, or "
            f"take weights that ship with the package, weights='{names[0]}'."
        )

    def _ready_net(self):
        """Return the trained net; load `weights` if there was no training."""
        if not hasattr(self, "net_"):
            self._seed = 0
            self._load_weights()
        return self.net_

    def _load_weights(self):
        from ..nets.common._net import check_device

        check_device(self.device)
        load_weights(type(self).__name__, self.weights, self._set_net_state)

    # ---- what a model file keeps ----

    def _get_model_state(self):
        """Return what a model file keeps of the fitted segmenter: arrays, numbers and strings."""
        state = {**self._get_net_state(), "seed": self._seed}
        if hasattr(self, "n_bands_in_"):
            state["n_bands_in"] = self.n_bands_in_
        return state

    def _set_model_state(self, state):
        self._seed = state["seed"]
        if "n_bands_in" in state:
            self.n_bands_in_ = state["n_bands_in"]
        self._set_net_state(state)
        for row in state["history"]:
            self.net_.history.new_epoch()
            for key, value in row.items():
                self.net_.history.record(key, value)

    def _get_net_state(self):
        net = self._ready_net()
        tensors = {
            name: tensor.detach().cpu().numpy() for name, tensor in net.module_.state_dict().items()
        }
        history = [
            {key: value for key, value in row.items() if key != "batches"}
            for row in (net.history or [])
        ]
        return {
            "n_net_bands": self.n_net_bands_,
            "module_params": dict(net.get_params_for("module")),
            "tensors": tensors,
            "history": history,
            "scaling": self.scaling_,
            "centre": self.centre_,
            "scale": self.scale_,
            **self._get_own_state(),
        }

    def _set_net_state(self, state):
        from ..nets.common._claims import check_claims, without_downloads
        from ..nets.common._net import load_arrays

        self._set_scaler(Scaler(state["scaling"], state["centre"], state["scale"]))
        self._set_own_state(state)
        n_bands, tensors = state["n_net_bands"], state["tensors"]

        def check(module, params):
            self._check_module_params(params, n_bands)
            check_claims(module, params, tensors)

        params = without_downloads(state["module_params"])
        self._make_net(n_bands, self._module_class(), params, check)
        load_arrays(self.net_.module_, tensors)

    def _check_module_params(self, params, n_bands):
        """Refuse arguments of a module in a file that the segmenter's parameters may not have."""
        if params["n_bands"] != n_bands:
            raise ValueError(
                f"The net takes {params['n_bands']!r} band(s), but the file says {n_bands!r}."
            )
        known = {name: rule for name, rule in self._parameter_constraints.items() if name in params}
        validate_parameter_constraints(
            known, {name: params[name] for name in known}, type(self).__name__
        )

"""What the deep segmenters share: parameters, the life of a training run, weights, prediction.

A deep segmenter is composed with skorch, not derived from it: `fit` makes ``self.net_``. A subclass
decides, each in one hook: which module (`_module_spec`), which loss (`_criterion`), how images and
targets become a dataset and a batch (`_make_dataset`, `_collate`), and how the module's outputs become
sources (its own prediction method).
"""

from __future__ import annotations

import copy
import warnings
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints

from .._utils.model_file import DAMAGE, one_line, read_model_file
from .._utils.typed import fit_context
from ..base import check_targets
from ..exceptions import NoValidationWarning
from ..preprocessing._augment import augment_one, check_kinds
from ..structures._types import Images, Sources

__all__ = ["DeepSegmenterMixin"]

_WEIGHTS_FOLDER = Path(__file__).parent / "weights"


class DeepSegmenterMixin:
    """Training, warm starts, weights and devices of a segmenter that holds a skorch net."""

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
        "augment": [str, "array-like", None],
        "device": [str],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "weights": [str, Path, None],
        "warm_start": ["boolean"],
        "callbacks": [list, None],
        "net_params": [dict, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # ---- the decisions of a subclass ----

    def _module_spec(self, n_bands):
        """Class of the torch module and its arguments for inputs of `n_bands` bands."""
        raise NotImplementedError

    def _criterion(self):
        """Class of the loss."""
        raise NotImplementedError

    def _net_class(self):
        """Class of the skorch net."""
        from ..nets._net import SegmentationNet

        return SegmentationNet

    def _net_settings(self):
        """More arguments of the skorch net, which `net_params` may change."""
        return {}

    def _make_dataset(self, images, targets, training):
        """Return a torch dataset of scaled images and their targets."""
        raise NotImplementedError

    def _collate(self):
        """Function that makes a batch of a dataset's items."""
        raise NotImplementedError

    def _learn_scaling(self, images):
        """Learn how raw images become the module's inputs; called before the first training only."""

    def _scale(self, image):
        """Return the module's input for a raw image, both (n_bands, height, width)."""
        raise NotImplementedError

    def _after_training(self, images, targets):
        """Tune what depends on the trained net, on the validation images (or all, if there are none)."""

    # ---- training ----

    @property
    def history_(self) -> Any:
        """The epochs of the training so far, a `skorch.history.History`."""
        return self.net_.history

    @fit_context
    def partial_fit(self, X: Images, y: Sources | None = None) -> Self:
        """Go on training with more images, from the present weights.

        Parameters
        ----------
        X : array of shape (n_images, height, width) or (n_images, n_bands, height, width), or list
            Images with as many bands as before; NaN means "no data".
        y : array of shape (n_images, height, width), list of label maps or of `Instances`
            The truth.

        Returns
        -------
        self : object
            The segmenter, trained for up to `max_epochs` more epochs.
        """
        if not hasattr(self, "net_"):
            return self.fit(X, y)  # type: ignore[attr-defined]  # of the segmenter that this is mixed into
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed: pass one label map per image."
            )
        images, _ = self._check_images(X)  # type: ignore[attr-defined]
        targets = check_targets(y, images)
        self._check_trainable(images, targets)
        self._train(images, targets)
        return self

    def _check_fit_images(self, X):
        if self.warm_start and hasattr(self, "net_"):
            return self._check_images(X)
        return super()._check_fit_images(X)

    def _fit_images(self, images, targets):
        self._check_trainable(images, targets)
        if not (self.warm_start and hasattr(self, "net_")):
            self._start(images)
        self._train(images, targets)

    def _start(self, images):
        """Make the net, with fresh weights or with those that `weights` names."""
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        if self.weights is not None:
            self._load_weights()
        else:
            self._learn_scaling(images)
            self._make_net(len(self._scale(images[0])))

    def _make_net(self, n_bands, spec=None, check=None):
        """Make ``net_``, initialized with the seed, unless `check` refuses the class and arguments of its module."""
        from ..nets._net import find_device, find_optimizer, seeded

        module, module_params = spec or self._module_spec(n_bands)
        self.n_net_bands_ = n_bands
        settings = {
            "module": module,
            **{f"module__{name}": value for name, value in module_params.items()},
            "criterion": self._criterion(),
            "optimizer": find_optimizer(self.optimizer),
            "lr": self.lr,
            "max_epochs": self.max_epochs,
            "batch_size": self.batch_size,
            "iterator_train__shuffle": True,
            "iterator_train__collate_fn": self._collate(),
            "iterator_valid__collate_fn": self._collate(),
            "train_split": None,
            "verbose": int(self.verbose),
            "precision": self.precision,
        }
        settings.update(self._net_settings())
        net_class, placement = self._placement(find_device)
        net = net_class(**{**settings, **placement, **(self.net_params or {})})
        if check is not None:
            check(net.module, net.get_params_for("module"))
        with seeded(self._seed, placement["device"] or "cpu"):
            net.initialize()
        self.net_ = net

    def _placement(self, find_device):
        """Class of the net and where it runs."""
        if self.device == "accelerate":
            from ..nets._accelerate import accelerated, make_accelerator

            # skorch would print through accelerate even where nothing is to be printed
            sink = "auto" if self.verbose else print
            placement = {
                "accelerator": make_accelerator(),
                "device": None,
                "callbacks__print_log__sink": sink,
            }
            return accelerated(self._net_class()), placement
        return self._net_class(), {"device": find_device(self.device)}

    def _train(self, images, targets):
        from ..nets._data import split_indices
        from ..nets._net import seeded

        scaled = [self._scale(image) for image in images]
        # the same images are held out in every call, so that a warm start never trains on them
        learn, hold = split_indices(
            len(images), self.validation_fraction, np.random.default_rng(self._seed)
        )
        self._configure(has_validation=len(hold) > 0)
        dataset, validation = (
            self._make_dataset([scaled[i] for i in part], [targets[i] for i in part], training)
            for part, training in ((learn, True), (hold, False))
        )
        with seeded(self._seed + len(self.net_.history or []), self.net_.device or "cpu"):
            self._run_training(dataset, validation if len(hold) else None)
        tuned_on = hold if len(hold) else learn
        self._after_training([scaled[i] for i in tuned_on], [targets[i] for i in tuned_on])

    def _run_training(self, dataset, validation):
        from ..nets._net import train

        train(self.net_, dataset, validation)

    def _check_trainable(self, images, targets):
        """Refuse, before any work, what the net could not learn from."""
        check_kinds(self.augment)
        if not any(len(target) if hasattr(target, "boxes") else target.any() for target in targets):
            raise ValueError(
                f"y holds no source in any of its {len(targets)} targets: {type(self).__name__} cannot learn what "
                "a galaxy is from background alone. Check that y is the truth of X, or add images with sources."
            )
        if len(images) == 1 and self.validation_fraction:
            warnings.warn(
                "X holds 1 image, so that none is left for validation: training runs all max_epochs "
                f"({self.max_epochs}) without early stopping. Pass patches of the image (at least 2), or "
                "validation_fraction=0 to say that this is meant.",
                NoValidationWarning,
                stacklevel=5,
            )

    def _configure(self, has_validation):
        """Bring what may change between two trainings of one net up to date."""
        from ..nets._net import make_callbacks

        callbacks = make_callbacks(
            patience=self.patience,
            has_validation=has_validation,
            one_cycle=self.schedule is not None,
            verbose=self.verbose,
            extra=copy.deepcopy(self.callbacks or []),
        )
        net = self.net_
        for name in ("max_epochs", "batch_size", "lr"):
            value = (self.net_params or {}).get(name, getattr(self, name))
            if getattr(net, name) != value:
                net.set_params(**{name: value})
        net.verbose = int(self.verbose)
        # not by set_params, which initializes the callbacks before it sets them
        net.callbacks = callbacks
        net.initialize_callbacks()

    def _augmenter(self):
        """Return the function that changes a training image and its target, or None."""
        kinds = check_kinds(self.augment)
        return _Augmenter(kinds) if kinds else None

    # ---- weights that are there before any training ----

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_") or self.weights is not None

    def _ready_net(self):
        """Return the trained net; where only `weights` are given, load them at the first prediction."""
        if not hasattr(self, "net_"):
            self._seed = 0
            self._load_weights()
        return self.net_

    def _load_weights(self):
        own_name = type(self).__name__
        tree = read_model_file(self._weights_path(own_name))
        name = tree.get("class") if isinstance(tree, dict) else None
        if name != own_name or not tree.get("state"):
            raise ValueError(
                f"weights={str(self.weights)!r} holds no fitted {own_name} (but: {name}): pass a file that "
                f"galaxysegment.persistence.save made of a fitted {own_name}."
            )
        try:
            self._set_net_state(tree["state"])
        except DAMAGE as error:
            reason = one_line(error)
            raise ValueError(
                f"weights={str(self.weights)!r} cannot be used ({type(error).__name__}: {reason}): the file is damaged "
                "or comes from another version of galaxysegment."
            ) from error

    def _weights_path(self, own_name):
        path = Path(self.weights)
        if path.is_file() or path.suffix:
            return path
        shipped = _WEIGHTS_FOLDER / f"{own_name}-{self.weights}.safetensors"
        if not shipped.is_file():
            names = sorted(
                one.stem.split("-", 1)[1] for one in _WEIGHTS_FOLDER.glob(f"{own_name}-*")
            )
            raise ValueError(
                f"weights={str(self.weights)!r} is neither a file nor a name of weights that come with {own_name}: "
                f"use one of {names} or the path of a model file."
            )
        return shipped

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
        module_params = dict(net.get_params_for("module"))
        history = [
            {key: value for key, value in row.items() if key != "batches"}
            for row in (net.history or [])
        ]
        return {
            "n_net_bands": self.n_net_bands_,
            "module_params": module_params,
            "tensors": tensors,
            "history": history,
        }

    def _set_net_state(self, state):
        import torch

        from ..nets._claims import check_claims, without_downloads

        n_bands, tensors = state["n_net_bands"], state["tensors"]
        params = without_downloads(state["module_params"])

        def check(module, params):
            self._check_module_params(params, n_bands)
            check_claims(module, params, tensors)

        module, _ = self._module_spec(n_bands)
        self._make_net(n_bands, (module, params), check)
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
        self.net_.module_.load_state_dict(tensors)

    def _check_module_params(self, params, n_bands):
        """Refuse, of arguments of a module in a file, what the segmenter's parameters of these names may not be."""
        if params["n_bands"] != n_bands:
            raise ValueError(
                f"The net takes {params['n_bands']!r} band(s), but the file says {n_bands!r}."
            )
        known = {name: rule for name, rule in self._parameter_constraints.items() if name in params}
        validate_parameter_constraints(
            known, {name: params[name] for name in known}, type(self).__name__
        )


class _Augmenter:
    """Random changes of a training image and its target; a class, for processes to send it around."""

    def __init__(self, kinds):
        self.kinds = kinds

    def __call__(self, image, target, generator):
        return augment_one(image, target, generator, self.kinds)

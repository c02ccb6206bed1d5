"""`UNetSeparator`: a net corrects the shares of symmetric templates."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from .._utils.shipped import load_weights, weights_path
from .._utils.typed import fit_context
from .._utils.validation import check_images, check_same_shape
from ..structures import Separated
from ..structures._types import Images, RandomState
from ._base import check_rms
from ._lessons import blends_of, lessons_of, simulate_blends
from ._maps import N_MAPS, corrected, maps_of, total_light
from ._template import TemplateSeparator

__all__ = ["UNetSeparator"]


class UNetSeparator(TemplateSeparator):
    """Divide light by symmetric templates whose shares a U-Net corrects.

    The templates are those of `TemplateSeparator`. The net sees the template of a source, the light
    of the others and the residual in 64 × 64 pixels around its centre, and changes the logarithm of
    its share; the shares of each pixel are then scaled to the same sum, so that no light is lost
    or made.

    Parameters
    ----------
    n_iterations : int, default=20
        How often each template is made anew before the net sees it.
    find_companions : bool, default=False
        Whether neighbours that nobody detected become sources too, as for `TemplateSeparator`.
    growth : float, default=1.5
        How far the light of a blend reaches beyond its masks, in radii of a circle of their area.
    masks : {"given", "light"}, default="given"
        Which masks the result has, as for `TemplateSeparator`.
    weights : str, path or None, default="blends"
        Weights to start from: the name of shipped ones, or a file that
        `galaxysegment.persistence.save` made of a fitted `UNetSeparator`. With ``None``, `fit`
        comes first.
    base_width : int, default=16
        Channels of the first level of the net; each of the two further levels has twice as many.
    n_blends : int, default=1600
        Blends to simulate if `fit` gets none.
    max_epochs, batch_size : int, default=12, 8
        Length of the training, and blends a step.
    lr : float, default=0.002
        Highest learning rate.
    validation_fraction : float, default=0.1
        Part of the blends that is held out to report the validation loss.
    patience : int or None, default=None
        Epochs without a better validation loss after which the training ends.
    device : str, default="auto"
        Where the net runs: ``"cpu"``, ``"cuda"``, ``"mps"``, or the best there is.
    callbacks : list of skorch callbacks, optional
        For instance `skorch.callbacks.Checkpoint`, which keeps the weights of each epoch.
    net_params : dict, optional
        More arguments of skorch's ``NeuralNet``.
    random_state : int, RandomState instance or None, default=None
        Seed of the simulation, the first weights and the order of the blends.
    verbose : int or bool, default=False
        Whether to print a line an epoch.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net.

    See Also
    --------
    TemplateSeparator : The templates alone: nothing to train, a quarter less time.

    Examples
    --------
    >>> from galaxysegment.datasets import make_blends
    >>> from galaxysegment.separation import UNetSeparator
    >>> X, y, lights = make_blends(4, return_isolated=True, random_state=0)
    >>> separator = UNetSeparator(weights=None, max_epochs=1, validation_fraction=0, random_state=0)
    >>> separated = separator.fit(X, lights).separate(X, y)
    >>> len(separated), len(separated[0])
    (4, 2)
    """

    _parameter_constraints: dict = {
        **TemplateSeparator._parameter_constraints,
        "weights": [str, Path, None],
        "base_width": [Interval(Integral, 1, 256, closed="both")],
        "n_blends": [Interval(Integral, 2, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left"), None],
        "device": [str],
        "callbacks": [list, None],
        "net_params": [dict, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        n_iterations: int = 20,
        find_companions: bool = False,
        growth: float = 1.5,
        masks: str = "given",
        weights: str | Path | None = "blends",
        base_width: int = 16,
        n_blends: int = 1600,
        max_epochs: int = 12,
        batch_size: int = 8,
        lr: float = 0.002,
        validation_fraction: float = 0.1,
        patience: int | None = None,
        device: str = "auto",
        callbacks: Sequence[Any] | None = None,
        net_params: dict[str, Any] | None = None,
        random_state: RandomState = None,
        verbose: int | bool = False,
    ) -> None:
        super().__init__(
            n_iterations=n_iterations, find_companions=find_companions, growth=growth, masks=masks
        )
        self.weights = weights
        self.base_width = base_width
        self.n_blends = n_blends
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.device = device
        self.callbacks = callbacks
        self.net_params = net_params
        self.random_state = random_state
        self.verbose = verbose

    def _validate_params(self):
        super()._validate_params()
        if self.weights is not None and not hasattr(self, "net_"):
            weights_path("UNetSeparator", self.weights)  # isolated sources never ask for the net

    # ---- training ----

    @property
    def history_(self) -> Any:
        """The epochs of the training so far, a `skorch.history.History`."""
        return self.net_.history

    @fit_context
    def fit(
        self,
        X: Images | None = None,
        y: Sequence[ArrayLike | Separated] | None = None,
        rms: Images | None = None,
    ) -> Self:
        """Train the net on blends whose true light is known, from `weights` if there are any.

        Parameters
        ----------
        X : array of shape (n_images, height, width), or list, optional
            Images of blends, the background subtracted. By default `n_blends` are simulated by
            `galaxysegment.datasets.make_blends`, with two to seven galaxies and a new PSF, pixel
            scale and depth for each 20.
        y : list of arrays of shape (n_sources, height, width), or of `Separated`, optional
            Noise-free light of each source, as ``make_blends(…, return_isolated=True)`` returns it.
        rms : array or list, optional
            RMS maps, as for `separate`. By default the RMS of the image without the true light.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If `X` comes without `y`, shapes disagree, or no two sources share light.
        KeyboardInterrupt
            After Ctrl-C. The separator then has the weights of the last epoch.
        """
        return self._fit(X, y, rms, goes_on=False)

    @fit_context
    def partial_fit(
        self,
        X: Images | None = None,
        y: Sequence[ArrayLike | Separated] | None = None,
        rms: Images | None = None,
    ) -> Self:
        """Go on training from the present weights.

        Parameters
        ----------
        X, y, rms : optional
            As for `fit`.

        Returns
        -------
        self : object
        """
        return self._fit(X, y, rms, goes_on=hasattr(self, "net_"))

    def _fit(self, X, y, rms, *, goes_on):
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        if not goes_on:
            self._seed = seed
        lessons = self._lessons(X, y, rms)
        if not goes_on:
            if self.weights is None:
                self._make_net({"n_maps": N_MAPS, "base_width": self.base_width})
            else:
                self._load_weights()
        self._train(lessons)
        return self

    def _lessons(self, X, y, rms):
        """Return the blends of `fit` as lists of lessons, one for each image."""
        if X is None:
            n_seen = len(self.net_.history) if hasattr(self, "net_") else 0
            blends = simulate_blends(self.n_blends, np.random.default_rng([self._seed, n_seen]))
        else:
            blends = blends_of(*_check_blends(X, y, rms))
        lessons = [lessons_of(self, blend) for blend in blends]
        if not any(lessons):
            raise ValueError(
                f"In none of the {len(lessons)} images do two sources share light: "
                "UNetSeparator learns from blends. Check that y holds the light of each source."
            )
        return lessons

    def _train(self, lessons):
        from ..nets.common._data import split_indices
        from ..nets.shares._data import LessonDataset

        generator = np.random.default_rng(self._seed)
        learn, hold = (
            [lesson for index in indices for lesson in lessons[index]]
            for indices in split_indices(len(lessons), self.validation_fraction, generator)
        )
        self._trainer().train(
            self.net_,
            LessonDataset(learn or hold, training=True),
            LessonDataset(hold) if hold and learn else None,
        )

    def _trainer(self):
        from ..nets.common._trainer import Trainer

        return Trainer(
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            optimizer="adamw",
            schedule="one-cycle",
            patience=self.patience,
            device=self.device,
            precision="float32",
            callbacks=self.callbacks,
            net_params=self.net_params,
            verbose=self.verbose,
            seed=self._seed,
        )

    def _make_net(self, module_params, check=None):
        from ..nets.common._net import SegmentationNet
        from ..nets.shares._data import collate_lessons
        from ..nets.shares._loss import ShareLoss
        from ..nets.shares._module import ShareNet

        trainer = self._trainer()
        net = trainer.make_net(
            ShareNet,
            module_params,
            criterion=ShareLoss,
            collate=collate_lessons,
            net_class=SegmentationNet,
        )
        if check is not None:
            check(net.module, net.get_params_for("module"))
        trainer.initialize(net)
        self.net_ = net

    # ---- separation ----

    def _detection_templates(self, scene):
        templates = super()._detection_templates(scene)
        if len(templates) == 1:
            return templates
        total = total_light(scene, templates)
        maps, corners = maps_of(scene, templates, total)
        return corrected(scene, templates, total, self._changes(maps), corners)

    def _changes(self, maps):
        """Return the change of the logarithm of each share, shape (n, side, side)."""
        import torch

        module = self._ready_net().module_
        if module.training:
            module.eval()
        device = next(module.parameters()).device
        with torch.inference_mode():
            maps = torch.from_numpy(maps).to(device, memory_format=torch.channels_last)
            return module(maps)[:, 0].float().cpu().numpy()

    # ---- weights and what a model file keeps ----

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True  # `fit` without images simulates the truth as well
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_") or self.weights is not None

    def _ready_net(self):
        """Return the trained net; load `weights` if there was no training."""
        if not hasattr(self, "net_"):
            check_is_fitted(self)
            self._seed = 0
            self._load_weights()
        return self.net_

    def _load_weights(self):
        from ..nets.common._net import check_device

        check_device(self.device)
        load_weights("UNetSeparator", self.weights, self._set_net_state)

    def _get_model_state(self):
        """Return what a model file keeps of the fitted separator: arrays, numbers and strings."""
        net = self._ready_net()
        tensors = net.module_.state_dict().items()
        return {
            "seed": self._seed,
            "module_params": dict(net.get_params_for("module")),
            "tensors": {name: tensor.detach().cpu().numpy() for name, tensor in tensors},
            "history": [
                {key: value for key, value in row.items() if key != "batches"}
                for row in (net.history or [])
            ],
        }

    def _set_model_state(self, state):
        self._seed = state["seed"]
        self._set_net_state(state)
        for row in state["history"]:
            self.net_.history.new_epoch()
            for key, value in row.items():
                self.net_.history.record(key, value)

    def _set_net_state(self, state):
        from ..nets.common._claims import check_claims
        from ..nets.common._net import load_arrays

        params, tensors = state["module_params"], state["tensors"]
        if params["n_maps"] != N_MAPS:
            raise ValueError(f"the net takes {params['n_maps']!r} maps, but there are {N_MAPS}")
        self._make_net(params, lambda module, known: check_claims(module, known, tensors))
        load_arrays(self.net_.module_, tensors)


def _check_blends(X, y, rms):
    """Check the images of `fit`, their truth and their noise; three lists."""
    images, layout = check_images(X)
    if layout.has_bands:
        raise ValueError(
            "X has several bands, but UNetSeparator learns in one: pass images of shape "
            "(n_images, height, width), for instance the sum of the bands."
        )
    if y is None:
        raise ValueError(
            "y is missing: UNetSeparator learns from the true light of each source. Pass what "
            "make_blends(..., return_isolated=True) returns, a list of Separated, or no X at all."
        )
    truths = list(y)
    if len(truths) != len(images):
        raise ValueError(
            f"X holds {len(images)} images, but y holds {len(truths)}: give one per image."
        )
    truths = [
        _check_truth(truth, image, index)
        for index, (truth, image) in enumerate(zip(truths, images, strict=True))
    ]
    if rms is None:
        noises = [
            np.full(image.shape, np.nanstd(image[0] - truth.sum(axis=0)) or 1.0)
            for image, truth in zip(images, truths, strict=True)
        ]
    else:
        noises = check_rms(rms, images)
    return [image[0] for image in images], [noise[0] for noise in noises], truths


def _check_truth(truth, image, index):
    """Light of each source, shape (n_sources, height, width)."""
    if isinstance(truth, Separated):
        truth = [truth.isolated(source) for source in range(len(truth))]
    truth = np.asarray(truth, dtype=np.float64)
    if truth.ndim != 3:
        raise ValueError(
            f"y[{index}] must have shape (n_sources, height, width) or be a Separated of one band. "
            f"Got an array of shape {truth.shape} instead."
        )
    check_same_shape(truth.shape[1:], image.shape[1:], f"y[{index}]", f"X[{index}]")
    if not np.isfinite(truth).all() or not (truth.sum(axis=(1, 2)) > 0).all():
        raise ValueError(
            f"y[{index}] has a source without light or with NaN: give finite light with a positive "
            "sum, or leave the source out."
        )
    return truth

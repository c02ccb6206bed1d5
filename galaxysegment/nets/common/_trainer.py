"""The trainer: it makes a net of a segmenter's parameters and trains it, stage by stage."""

import copy
import pickle
from dataclasses import dataclass
from typing import Any

from skorch.helper import predefined_split

from ._interrupts import noted_interrupts
from ._memory import kept_memory
from ._net import find_device, find_optimizer, make_callbacks, seeded

__all__ = ["Trainer"]

# Parameters of a net that may change between two trainings without a new module.
_CHANGEABLE = ("optimizer__", "iterator_train__", "iterator_valid__", "callbacks__")
_UNSET = object()


@dataclass(frozen=True)
class Trainer:
    """Makes and trains a net; the fields are the parameters of this name of the deep segmenters.

    Parameters
    ----------
    seed : int
        Seed of the weights, of the batches and of the augmentation.
    stages : sequence of dict or None, default=None
        ``{"layers": …, "max_epochs": …, "lr": …}`` each; ``None`` trains all layers at once.
    """

    max_epochs: int
    batch_size: int
    lr: float
    optimizer: Any
    schedule: str | None
    patience: int | None
    device: str
    precision: str
    callbacks: list | None
    net_params: dict | None
    verbose: int | bool
    seed: int
    stages: Any = None

    def make_net(self, module, module_params, *, criterion, collate, net_class, **settings):
        """Return a skorch net that is not initialized.

        Parameters
        ----------
        module, criterion : type
            Classes of the torch module and of the loss.
        module_params : dict
            Arguments of the module.
        collate : callable
            Makes a batch of a dataset's items.
        net_class : type
            `SegmentationNet` or a subclass.
        **settings
            More arguments of the net, which `net_params` may change.
        """
        arguments = {
            "module": module,
            **{f"module__{name}": value for name, value in module_params.items()},
            "criterion": criterion,
            "optimizer": find_optimizer(self.optimizer),
            "lr": self.lr,
            "max_epochs": self.max_epochs,
            "batch_size": self.batch_size,
            "iterator_train__shuffle": True,
            "iterator_train__collate_fn": collate,
            "iterator_valid__collate_fn": collate,
            "verbose": int(self.verbose),
            "precision": self.precision,
        }
        net_class, placement = self._placement(net_class)
        params = {**arguments, **settings, **placement, **(self.net_params or {})}
        # images are held out before they become patches: see `split_images`
        return net_class(**{**params, "train_split": None})

    def _placement(self, net_class):
        """Class of the net and where it runs."""
        if self.device != "accelerate":
            return net_class, {"device": find_device(self.device)}
        from ._accelerate import accelerated, make_accelerator

        # skorch would print through accelerate even where nothing is to be printed
        sink = "auto" if self.verbose else print
        placement = {
            "accelerator": make_accelerator(),
            "device": None,
            "callbacks__print_log__sink": sink,
        }
        return accelerated(net_class), placement

    def initialize(self, net):
        """Draw the first weights of a net."""
        with seeded(self.seed, net.device or "cpu"):
            net.initialize()

    def train(self, net, dataset, validation=None):
        """Train an initialized net, from its present weights.

        Parameters
        ----------
        net : SegmentationNet
        dataset, validation : torch.utils.data.Dataset
            The net keeps neither of them. Without `validation` there is no early stopping.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C, once the best weights so far are restored.
        """
        self._configure(net, has_validation=validation is not None)
        # another stream in each call, so that a warm start sees other patches
        with seeded(self.seed + len(net.history or []), net.device or "cpu"):
            if self.stages is None:
                _run(net, dataset, validation)
            else:
                self._run_stages(net, dataset, validation)

    def _configure(self, net, has_validation):
        """Bring the parameters that may change between two trainings of one net up to date."""
        params = self.net_params or {}
        for name in ("max_epochs", "batch_size", "lr"):
            value = params.get(name, getattr(self, name))
            if getattr(net, name) != value:
                net.set_params(**{name: value})
        known = net.get_params(deep=False)
        changed = {
            name: value
            for name, value in params.items()
            if name.startswith(_CHANGEABLE) and known.get(name, _UNSET) is not value
        }
        if changed:
            net.set_params(**changed)
        net.verbose = int(params.get("verbose", self.verbose))
        # not by set_params, which initializes the callbacks before it sets them
        net.callbacks = make_callbacks(
            patience=self.patience,
            has_validation=has_validation,
            one_cycle=self.schedule is not None,
            verbose=net.verbose,
            extra=[
                _own(callback)
                for callback in [*(self.callbacks or []), *(params.get("callbacks") or [])]
            ],
        )
        net.initialize_callbacks()

    def _run_stages(self, net, dataset, validation):
        try:
            for stage in self.stages:
                net.module_.freeze(stage["layers"])
                net.set_params(lr=stage["lr"], max_epochs=stage["max_epochs"])
                n_before = len(net.history)
                _run(net, dataset, validation)
                n_done = sum("train_loss" in row for row in net.history[n_before:])
                if n_done < stage["max_epochs"] and not _stopped_early(net):
                    break  # a callback ended the training
        finally:
            net.module_.freeze("all")


def _own(callback):
    """Return a callback of the net's own: that which a function makes, or else a copy.

    A callback that cannot be copied, such as one that holds an open file, is taken as it is.
    """
    if isinstance(callback, tuple):
        name, callback = callback
        return name, _own(callback)
    if callable(callback) and not isinstance(callback, type):
        return callback()
    try:
        return copy.deepcopy(callback)
    except (TypeError, AttributeError, RuntimeError, pickle.PicklingError):
        return callback


def _run(net, dataset, validation):
    net.train_split = predefined_split(validation) if validation is not None else None
    try:
        with kept_memory(), noted_interrupts() as interrupts:
            net.partial_fit(dataset, y=None)
    finally:
        net.train_split = None
    if interrupts.happened:  # skorch ends the training as usual: by now the best weights are back
        raise KeyboardInterrupt


def _stopped_early(net):
    stopper = dict(net.callbacks_).get("early_stopping")
    return stopper is not None and stopper.misses_ >= stopper.patience

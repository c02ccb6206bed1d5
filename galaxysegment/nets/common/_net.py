"""The skorch net behind every deep segmenter: mixed precision, channels-last, schedule, devices."""

import math

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, ProgressBar

from ._folding import folded

__all__ = [
    "OneCycle",
    "SegmentationNet",
    "autocast_dtype",
    "check_device",
    "find_device",
    "find_optimizer",
    "load_arrays",
    "make_callbacks",
    "seeded",
]

_OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}


class SegmentationNet(NeuralNet):
    """skorch net that runs in mixed precision with the channels of a pixel side by side in memory.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        What the module computes in; see `autocast_dtype`.
    """

    def __init__(self, *args, precision="auto", **kwargs):
        super().__init__(*args, **kwargs)
        self.precision = precision

    def initialize_module(self):
        super().initialize_module()
        # oneDNN's and cuDNN's fastest kernels want this order; in the other one they copy back and
        # forth
        self.module_.to(memory_format=torch.channels_last)
        return self

    def infer(self, x, **fit_params):
        """Run the module on a batch in `precision`; the output is float32."""
        return self.run_module(self.module_, x, **fit_params)

    def run_module(self, module, x, **fit_params):
        """Run a module on a batch, on the device and in the precision of the net."""
        device = torch.device(self.device or next(module.parameters()).device)
        x = x.to(device, memory_format=torch.channels_last, non_blocking=True)
        dtype = autocast_dtype(self.precision, device)
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            return self._output(module, x, **fit_params)

    def _output(self, module, x, **fit_params):
        return module(x, **fit_params).float()

    def predictor(self, prepare=None):
        """Return a function of a batch that returns what the trained module makes of it.

        Batch normalization is folded into the convolutions of a copy (see `folded`); the module
        itself stays as it is. accelerate's modules are wrapped and run as they are.

        Parameters
        ----------
        prepare : callable, optional
            ``prepare(module)`` sets what the module that predicts needs.
        """
        self.check_is_fitted()
        module = self.module_ if self.device is None else folded(self.module_)
        if prepare is not None:
            prepare(module)
        if self.device is None:
            return lambda batch: self.evaluation_step((batch, None))

        def predict(batch):
            with torch.no_grad():
                return self.run_module(module, batch)

        return predict

    def train_step_single(self, batch, **fit_params):
        step = super().train_step_single(batch, **fit_params)
        if not torch.isfinite(step["loss"]):
            raise FloatingPointError(
                f"The training loss became {step['loss'].item()}: the steps are too large or X "
                f"holds extreme values. Use a smaller lr (now {self.lr}) or a scaling that "
                "compresses bright pixels."
            )
        return step


class OneCycle(Callback):
    """Learning rate that rises for a tenth of the steps and falls to a hundredth along a cosine.

    Parameters
    ----------
    warmup : float, default=0.1
        Fraction of the steps in which it rises.
    final : float, default=0.01
        Last rate over the highest.

    References
    ----------
    .. [1] Smith & Topin 2019, Proc. SPIE 11006, 1100612. :doi:`10.1117/12.2520589`
    """

    def __init__(self, warmup=0.1, final=0.01):
        self.warmup = warmup
        self.final = final

    def on_train_begin(self, net, **kwargs):
        self.step_ = 0
        for group in net.optimizer_.param_groups:
            group["peak_lr"] = group["lr"]

    def on_train_end(self, net, **kwargs):
        for group in net.optimizer_.param_groups:
            group["lr"] = group["peak_lr"]

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        # the length is known to skorch only here; user callbacks may have changed max_epochs before
        self.n_steps_ = net.max_epochs * math.ceil(len(dataset_train) / net.batch_size)

    def on_batch_begin(self, net, training=False, **kwargs):
        if training:
            factor = self.factor(self.step_ / max(self.n_steps_, 1))
            for group in net.optimizer_.param_groups:
                group["lr"] = group["peak_lr"] * factor
            self.step_ += 1

    def factor(self, progress):
        """Return the rate over the highest rate after a fraction of the steps."""
        if progress < self.warmup:
            return max(progress / self.warmup, self.final)
        progress = min((progress - self.warmup) / (1 - self.warmup), 1.0)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2


def check_device(device):
    """Refuse a device that torch does not know or this machine does not have."""
    if device != "accelerate":
        find_device(device)


def find_device(device):
    """Name of the device to run on; ``"auto"`` takes cuda, else mps, else cpu."""
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        known = "'auto', 'cpu', 'cuda', 'cuda:1', 'mps' or 'accelerate'"
        raise ValueError(f"device={device!r} is no device of torch: use {known}.") from error
    if (kind == "cuda" and not torch.cuda.is_available()) or (
        kind == "mps" and not torch.backends.mps.is_available()
    ):
        raise ValueError(
            f"device={device!r}, but this machine offers no {kind} device to torch: use "
            "device='auto'."
        )
    return device


def autocast_dtype(precision, device):
    """Dtype of the fast computations, or None for plain float32.

    ``"auto"`` means bfloat16 where the processor multiplies it natively: it has float32's range, so
    that no loss needs scaling.
    """
    if precision == "float32":
        return None
    if precision == "bfloat16":
        return torch.bfloat16
    kind = torch.device(device).type
    if kind == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        asks = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # older releases cannot tell
        native = kind == "cpu" and asks is not None and asks()
    return torch.bfloat16 if native else None


def find_optimizer(optimizer):
    """Class of an optimizer given by name; a class is returned as it is."""
    return _OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer


def make_callbacks(*, patience, has_validation, one_cycle, verbose, extra):
    """List a net's callbacks: schedule, early stopping, progress, and the user's."""
    callbacks = [("one_cycle", OneCycle())] if one_cycle else []
    if has_validation and patience is not None:
        callbacks.append(("early_stopping", EarlyStopping(patience=patience, load_best=True)))
    if verbose:
        callbacks.append(("progress", ProgressBar()))
    return [*callbacks, *extra]


class seeded:  # noqa: N801 - a context manager reads like a function
    """Seed torch inside a ``with`` block and leave its random state as it was."""

    def __init__(self, seed, device):
        self._seed = seed
        cuda = torch.device(device).type == "cuda"
        self._fork = torch.random.fork_rng(devices=range(torch.cuda.device_count()) if cuda else [])

    def __enter__(self):
        self._fork.__enter__()
        torch.manual_seed(self._seed)

    def __exit__(self, *error):
        return self._fork.__exit__(*error)


def load_arrays(module, arrays):
    """Give a module the weights that a model file holds.

    Parameters
    ----------
    module : torch.nn.Module
    arrays : dict of str to ndarray
        By the names of the module's ``state_dict``.
    """
    module.load_state_dict(
        {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    )

"""Training by the clock: a budget of minutes, of the wall clock or of processor time."""

import json
import time
from pathlib import Path

import numpy as np
from skorch.callbacks import Callback


class Clock(Callback):
    """One-cycle learning rate over `minutes` of wall-clock time, after which training stops.

    The rate rises over the first tenth of the time and falls along a cosine, as with
    ``schedule="one-cycle"``.
    """

    def __init__(self, minutes):
        self.minutes = minutes

    def on_train_begin(self, net, **kwargs):
        self.start_, self.rates_ = (
            time.monotonic(),
            [group["lr"] for group in net.optimizer_.param_groups],
        )

    def on_batch_begin(self, net, training=False, **kwargs):
        share = (time.monotonic() - self.start_) / (60 * self.minutes)
        if share > 1:
            raise KeyboardInterrupt  # skorch ends the training there and keeps the weights
        for group, rate in zip(net.optimizer_.param_groups, self.rates_, strict=True):
            group["lr"] = rate * one_cycle(share)


def one_cycle(share, rise=0.1, least=0.01):
    """Factor of the highest rate after a `share` of the time."""
    if share < rise:
        return max(share / rise, least)
    fall = (1 + np.cos(np.pi * (share - rise) / (1 - rise))) / 2
    return float(least + (1 - least) * fall)  # a plain number, so that checkpoints hold no numpy


def by_the_clock(params, minutes):
    """Turn the parameters of a recipe into parameters of a training that ends by the clock."""
    params = {name: value for name, value in params.items() if name != "stages"}
    return {
        **params,
        "max_epochs": 100_000,
        "schedule": None,
        "patience": None,
        "callbacks": [Clock(minutes)],
    }


class TrainingClock:
    """Processor minutes of a training, which may be interrupted and gone on with.

    A processor second does less on a busy machine. Rivals that a busy machine trains have a number
    of `patches` each, from `pace.rates`.

    Parameters
    ----------
    core_minutes : float
        Processor minutes after which `share` is 1.
    checkpoint : path or None
        File of the weights and the optimizer, written every `every` processor seconds, with the
        time used in a JSON file beside it. ``None``: nothing is written.
    patches : int, default=0
        Patches after which `share` is 1, in place of the minutes; 0 for none.
    """

    def __init__(self, core_minutes, checkpoint=None, every=30.0, patches=0):
        self.seconds = 60 * core_minutes
        self.patches = patches
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.every = every
        self.n_seen, self.loss, self._before = 0, None, 0.0
        self._start = self._saved = time.process_time()

    @property
    def used(self):
        """Processor seconds so far, earlier parts of the training included."""
        return self._before + time.process_time() - self._start

    @property
    def share(self):
        """Share of the budget that is used."""
        return self.n_seen / self.patches if self.patches else self.used / self.seconds

    @property
    def rate(self):
        """Factor of the highest learning rate at this moment."""
        return one_cycle(min(self.share, 1.0))

    def resume(self, module, optimizer):
        """Go on from the checkpoint, if there is one."""
        import torch

        if self.checkpoint is not None and self.checkpoint.is_file():
            state = torch.load(self.checkpoint, weights_only=True)
            module.load_state_dict(state["module"])
            optimizer.load_state_dict(state["optimizer"])
            noted = json.loads(self.checkpoint.with_suffix(".json").read_text())
            self._before, self.n_seen = noted["seconds"], noted["patches"]
            self.loss = noted["loss"]
        self._start = self._saved = time.process_time()

    def step(self, module, optimizer, n_patches, loss):
        """Note a batch; write the checkpoint from time to time."""
        self.n_seen += n_patches
        self.loss = loss if self.loss is None else 0.95 * self.loss + 0.05 * loss
        if self.checkpoint is not None and time.process_time() - self._saved > self.every:
            self.save(module, optimizer)

    def save(self, module, optimizer):
        """Write weights, optimizer and the time used; an interrupted write leaves the former."""
        import torch

        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        part = self.checkpoint.with_suffix(".part")
        torch.save({"module": module.state_dict(), "optimizer": optimizer.state_dict()}, part)
        part.replace(self.checkpoint)
        noted = {"seconds": self.used, "patches": self.n_seen, "loss": self.loss}
        self.checkpoint.with_suffix(".json").write_text(json.dumps(noted))
        self._saved = time.process_time()


class CoreClock(Callback):
    """`TrainingClock` for a net of skorch: one-cycle rate, and the end of the training.

    Parameters
    ----------
    core_minutes : float
    checkpoint : path or None
    patches : int, default=0
    """

    def __init__(self, core_minutes, checkpoint=None, patches=0):
        self.core_minutes = core_minutes
        self.checkpoint = checkpoint
        self.patches = patches

    def on_train_begin(self, net, **kwargs):
        self.clock_ = TrainingClock(self.core_minutes, self.checkpoint, patches=self.patches)
        self.rates_ = [group["lr"] for group in net.optimizer_.param_groups]
        self.clock_.resume(net.module_, net.optimizer_)

    def on_batch_begin(self, net, training=False, **kwargs):
        if self.clock_.share >= 1:
            raise KeyboardInterrupt  # skorch ends the training there and keeps the weights
        for group, rate in zip(net.optimizer_.param_groups, self.rates_, strict=True):
            group["lr"] = rate * self.clock_.rate

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        if training:
            loss = net.history[-1, "batches", -1].get("train_loss", 0.0)
            self.clock_.step(net.module_, net.optimizer_, len(batch[0]), loss)

    def on_train_end(self, net, **kwargs):
        if self.checkpoint is not None:
            self.clock_.save(net.module_, net.optimizer_)

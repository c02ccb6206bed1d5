"""Training by the clock: a budget of minutes whatever the machine, and however busy it is."""

import time

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
    return least + (1 - least) * (1 + np.cos(np.pi * (share - rise) / (1 - rise))) / 2


def by_the_clock(params, minutes):
    """Turn a recipe's parameters into those of a training that ends by the clock."""
    params = {name: value for name, value in params.items() if name != "stages"}
    return {
        **params,
        "max_epochs": 100_000,
        "schedule": None,
        "patience": None,
        "callbacks": [Clock(minutes)],
    }

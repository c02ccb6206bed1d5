"""Train StarDist on the arrays of a folder, or predict; called by `outside.StarDist`."""

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
from csbdeep.utils import normalize
from stardist.models import Config2D, StarDist2D

BATCH, STEPS, PATCH = 8, 20, (96, 96)
GRID = (2, 2)  # as in the notebooks: the net predicts at every second pixel, and learns faster


class CoreClock(keras.callbacks.Callback):
    """One-cycle learning rate over processor seconds or patches, and the end of the training.

    The first batch compiles the net, and is counted with the time of the second.
    """

    def __init__(self, seconds, patches, highest):
        super().__init__()
        self.seconds, self.patches, self.highest = seconds, patches, highest
        self.n_seen, self.loss = 0, None
        self.start = time.process_time()

    @property
    def used(self):
        """Processor seconds so far."""
        return time.process_time() - self.start

    @property
    def share(self):
        """Share of the budget that is used."""
        return self.n_seen / self.patches if self.patches else self.used / self.seconds

    def on_train_batch_begin(self, batch, logs=None):
        share = min(self.share, 1.0)
        fall = 0.01 + 0.99 * (1 + np.cos(np.pi * (share - 0.1) / 0.9)) / 2
        rate = self.highest * (max(share / 0.1, 0.01) if share < 0.1 else fall)
        self.model.optimizer.learning_rate = rate

    def on_train_batch_end(self, batch, logs=None):
        if not self.n_seen:
            self.start = time.process_time()
        elif self.n_seen == BATCH:
            self.start -= self.used
        self.n_seen += BATCH
        self.loss = float((logs or {}).get("loss", 0.0))
        if self.share >= 1:
            self.model.stop_training = True


def stack(images):
    """Image of each patch, channels last, normalized as StarDist's examples do."""
    images = np.moveaxis(images, 1, -1)
    return [normalize(image, 1, 99.8, axis=(0, 1)) for image in images]


def flips(seed):
    """Return a function that turns and mirrors an image and its labels at random."""
    rng = np.random.default_rng(seed)

    def flip(x, y):
        turns = int(rng.integers(4))
        x, y = np.rot90(x, turns, axes=(0, 1)), np.rot90(y, turns, axes=(0, 1))
        return (x[:, ::-1], y[:, ::-1]) if rng.integers(2) else (x, y)

    return flip


def fit(folder, core_minutes, patches, seed, note):
    keras.utils.set_random_seed(int(seed))
    with np.load(folder / "train.npz") as stored:
        X, y = stack(stored["images"]), list(stored["labels"].astype(np.int32))
    config = Config2D(
        n_rays=32,
        grid=GRID,
        n_channel_in=X[0].shape[-1],
        train_patch_size=PATCH,
        train_batch_size=BATCH,
        train_tensorboard=False,
        train_reduce_lr=None,
        use_gpu=False,
    )
    model = StarDist2D(config, name="model", basedir=str(folder))
    model.prepare_for_training()
    highest = 3 * config.train_learning_rate
    clock = CoreClock(60 * float(core_minutes), int(patches), highest)
    model.callbacks.append(clock)
    n_held = max(len(X) // 20, 1)
    train, held = (X[n_held:], y[n_held:]), (X[:n_held], y[:n_held])
    model.train(
        *train,
        validation_data=held,
        augmenter=flips(int(seed)),
        epochs=100_000,
        steps_per_epoch=STEPS,
    )
    used = clock.used
    model.optimize_thresholds(X[:64], y[:64])
    if note:
        Path(note).write_text(
            json.dumps({"seconds": used, "patches": clock.n_seen, "loss": clock.loss})
        )


def predict(folder):
    model = StarDist2D(None, name="model", basedir=str(folder))
    labels, scores = [], []
    with np.load(folder / "test.npz") as stored:
        for image in stack(stored["images"]):
            label_map, details = model.predict_instances(image)
            labels.append(label_map.astype(np.int32))
            scores.append(np.asarray(details["prob"], dtype=np.float32))
    np.savez(
        folder / "predicted.npz",
        labels=np.stack(labels),
        scores=np.concatenate(scores),
        counts=[len(item) for item in scores],
    )


if __name__ == "__main__":
    verb, folder, *words = sys.argv[1:]
    {"fit": fit, "predict": predict}[verb](Path(folder), *words)

"""Train Cellpose on the arrays of a folder, or predict; called by `outside.Cellpose`."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from cellpose import dynamics, models, train

N_EPOCHS = 120  # its learning rate rises over the first 10 epochs and is halved in the last 50
BATCH = 8
SIDE = 120
TRIAL = 32  # images that tell how long one takes


def first_band(images):
    """Cellpose sees one channel: the mean of the bands."""
    return [image.mean(axis=0) for image in images]


def train_seg(net, X, flows, n_epochs, n_images, folder):
    """Train the net in the function of the package, on `n_images` images in each epoch."""
    start = time.process_time()
    _, losses, _ = train.train_seg(
        net,
        train_data=X,
        train_labels=flows,
        channels=[0, 0],
        n_epochs=n_epochs,
        batch_size=BATCH,
        nimg_per_epoch=n_images,
        min_train_masks=1,
        bsize=SIDE,
        rescale=False,
        scale_range=0.5,
        save_path=str(folder),
        model_name="model",
    )
    return time.process_time() - start, float(losses[-1])


def length(patches):
    """Epochs, at least 120 if there are patches for them, and images in each: full batches."""
    n_images = BATCH * max(int(patches / N_EPOCHS / BATCH), 1)
    return max(round(patches / n_images), 1), n_images


def affordable(X, flows, seconds, folder):
    """Images that a training of so many processor seconds sees."""
    trial = models.CellposeModel(gpu=False, pretrained_model=False)
    both = [train_seg(trial.net, X, flows, n, TRIAL, folder)[0] for n in (1, 3)]
    return seconds * 2 * TRIAL / max(both[1] - both[0], 1e-3)


def fit(folder, core_minutes, patches, seed, note):
    torch.manual_seed(int(seed))
    with np.load(folder / "train.npz") as stored:
        X, y = first_band(stored["images"]), list(stored["labels"].astype(np.int32))
    # not counted, because it is preparation
    flows = dynamics.labels_to_flows(y, device=torch.device("cpu"))
    patches = int(patches) or affordable(X, flows, 60 * float(core_minutes), folder)
    torch.manual_seed(int(seed))
    model = models.CellposeModel(gpu=False, pretrained_model=False)
    n_epochs, n_images = length(patches)
    used, loss = train_seg(model.net, X, flows, n_epochs, n_images, folder)
    if note:
        noted = {"seconds": used, "patches": n_epochs * n_images, "loss": loss}
        Path(note).write_text(json.dumps(noted))


def predict(folder):
    model = models.CellposeModel(gpu=False, pretrained_model=str(folder / "models" / "model"))
    labels, scores = [], []
    with np.load(folder / "test.npz") as stored:
        for image in first_band(stored["images"]):
            label_map, flows, _ = model.eval(image, channels=[0, 0], diameter=None, rescale=1.0)
            label_map = np.asarray(label_map, dtype=np.int32)
            n = label_map.max(initial=0)
            light = np.bincount(label_map.ravel(), weights=flows[2].ravel(), minlength=n + 1)
            area = np.maximum(np.bincount(label_map.ravel(), minlength=n + 1), 1)
            labels.append(label_map)
            scores.append(1 / (1 + np.exp(-(light / area)[1:])))
    np.savez(
        folder / "predicted.npz",
        labels=np.stack(labels),
        scores=np.concatenate(scores),
        counts=[len(item) for item in scores],
    )


if __name__ == "__main__":
    verb, folder, *words = sys.argv[1:]
    {"fit": fit, "predict": predict}[verb](Path(folder), *words)

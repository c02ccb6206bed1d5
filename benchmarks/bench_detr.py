"""Panoptic quality of DETR, Mask2Former and the other segmenters on 128² patches, how fast they learn and predict.

    python benchmarks/bench_detr.py table --minutes 10   # trains both architectures, and a U-Net, for 10 minutes each
    python benchmarks/bench_detr.py table --load mask2former.safetensors unet.safetensors   # nets trained before
    python benchmarks/bench_detr.py overfit              # DETR on eight patches of 64², a thousand steps
    python benchmarks/bench_detr.py speed                # patches a second of every net, in turns in one process

The fields that are trained on and those that are tested on are different ones. `table` prints the convergence too:
the panoptic quality of the test patches after every few epochs.
"""

import argparse
import itertools
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from galaxysegment import NoSourcesWarning
from galaxysegment.datasets import make_field
from galaxysegment.metrics import panoptic_quality
from galaxysegment.persistence import load, save
from galaxysegment.preprocessing import NoiseNormalizer
from galaxysegment.segmenters import (
    DETRSegmenter,
    MaskRCNNSegmenter,
    PhotutilsSegmenter,
    SEPSegmenter,
    UNetSegmenter,
)

SIZE = 128
HEADER = f"{'system':26s}" + "".join(f"|{name:^17s}" for name in ("all", "sky", "galaxy")) + "| patches/s"
#: Arguments of both architectures beside their defaults, and patches of 128² that two cores train on in a second.
RECIPES = {
    "mask2former": ({"batch_size": 8, "n_heads": 4}, 33),
    "detr": ({"architecture": "detr", "batch_size": 8, "lr": 2e-3, "n_queries": 32}, 14),
}


def make_patches(n_fields, first_seed, side, size):
    """Patches (n, 2, size, size) of image and RMS, and their label maps."""
    fields = [make_field((side, side), random_state=first_seed + index) for index in range(n_fields)]
    parts = [field.patches(size, rms=True) for field in fields]
    return np.concatenate([X for X, _ in parts]), np.concatenate([y for _, y in parts])


def row(name, y, labels, seconds):
    quality = panoptic_quality(list(y), list(labels))
    cells = [quality.all, quality.per_class[0], quality.per_class[1]]
    text = "".join(f"| {one.pq:.3f} {one.sq:.3f} {one.rq:.3f}" for one in cells)
    print(f"{name:26s}{text}| {len(labels) / seconds:9.1f}", flush=True)
    return cells[2].pq


def evaluate(name, segmenter, test):
    start = time.perf_counter()
    labels = segmenter.predict(test[0])
    return row(name, test[1], labels, time.perf_counter() - start)


def tuned_sep(training, n_fit=48):
    """Sep with the threshold, kernel and smallest size that have the best quality on training patches."""
    X, y = (part[:n_fit] for part in training)
    choices = [
        SEPSegmenter(n_sigma=n_sigma, fwhm=fwhm, n_pixels=n_pixels, deblend=True, rms_band=-1)
        for n_sigma, fwhm, n_pixels in itertools.product((0.8, 1.0, 1.2, 1.5), (1.5, 2.5), (8, 12))
    ]
    return max(choices, key=lambda one: panoptic_quality(list(y), list(one.predict(X))).things.pq)


class Curve(Callback):
    """After every few epochs, the quality of the test patches; its time does not count."""

    def __init__(self, patches, every):
        self.patches, self.every = patches, every

    def on_train_begin(self, net, **kwargs):
        self.seconds = 0.0

    def on_epoch_end(self, net, **kwargs):
        from galaxysegment.nets._segment_prediction import find_candidates, to_instances

        row = net.history[-1]
        self.seconds += row["dur"]
        text = f"  epoch {len(net.history):3d} {self.seconds / 60:5.1f} min, loss {row['train_loss']:.2f}"
        if len(net.history) % self.every == 0:
            images, truth = self.patches
            found = find_candidates(net, images, 8)
            best = max(
                panoptic_quality(truth, [to_instances(one, score, 4, np.array([0, 1, 2])) for one in found]).things.pq
                for score in np.linspace(0.2, 0.9, 8)
            )
            text += f", galaxy PQ {best:.3f} at the best threshold"
        print(text, flush=True)


def train(architecture, options, training, test):
    """Train for about so many minutes; the pipeline."""
    params, rate = RECIPES[architecture]
    crops = len(training[0]) * (options.size // SIZE) ** 2
    epochs = max(2, round(60 * options.minutes * rate / (0.9 * crops)))
    normalizer = NoiseNormalizer(rms_band=-1)
    segmenter = DETRSegmenter(**params, max_epochs=epochs, random_state=options.seed)
    some = normalizer.fit_transform(test[0][:64])
    X = normalizer.fit_transform(training[0])
    # what the net sees is what it will have learnt of all training pixels
    segmenter._seed = 0
    segmenter._learn_scaling(list(X))
    curve = Curve(([segmenter._scale(one) for one in some], list(test[1][:64])), options.every)
    segmenter.set_params(callbacks=[curve])
    start = time.perf_counter()
    segmenter.fit(X, training[1])
    minutes = (time.perf_counter() - start) / 60
    print(f"  {architecture}: {epochs} epochs of {crops} crops, {minutes:.1f} min, {segmenter.get_params()}")
    segmenter.set_params(callbacks=None)
    pipeline = make_pipeline(normalizer, segmenter)
    if options.save:
        save(pipeline, options.save / f"{architecture}.safetensors")
    return pipeline


def table(options):
    test = make_patches(options.n_test, 900, options.side, SIZE)
    counts = test[1].max(axis=(1, 2))
    print(f"{len(test[0])} test patches of {SIZE}², {counts.mean():.1f} sources each")
    print(HEADER)
    evaluate("photutils", PhotutilsSegmenter(deblend=True, rms_band=-1), test)
    evaluate("sep, tuned", tuned_sep(make_patches(1, 100, options.side, SIZE)), test)
    evaluate("U-Net, shipped weights", UNetSegmenter(weights="vis", rms_band=-1, n_pixels=10), test)
    for path in options.load:
        evaluate(path.stem, load(path), test)
    if options.load:
        return
    training = make_patches(options.n_fields, 100, options.side, options.size)
    for architecture in options.architecture:
        evaluate(architecture, train(architecture, options, training, test), test)


def overfit(options):
    X, y = make_patches(1, 100, 512, SIZE // 2)
    fullest = np.argsort(-y.max(axis=(1, 2)))[:8]
    X, y = X[fullest], y[fullest]
    params, _ = RECIPES["detr"]
    steps = options.steps
    params |= {"max_epochs": steps, "schedule": None, "augment": None, "validation_fraction": 0, "encoder_layers": 0}
    detr = DETRSegmenter(**params, random_state=options.seed)
    start = time.perf_counter()
    detr.fit(NoiseNormalizer(rms_band=-1).fit_transform(X), y)
    for step in range(0, steps, max(steps // 10, 1)):
        parts = ("class", "box", "giou", "mask", "dice")
        losses = {part: round(float(detr.history_[step, f"train_loss_{part}"]), 3) for part in parts}
        print(f"step {step:5d} {losses}")
    found = detr.predict(NoiseNormalizer(rms_band=-1).fit_transform(X))
    print(panoptic_quality(list(y), list(found)))
    print(f"{steps} steps on {len(X)} patches, {time.perf_counter() - start:.0f} s")


def speed(options):
    X, y = make_patches(1, 100, 1024, SIZE)
    X = NoiseNormalizer(rms_band=-1).fit_transform(X)
    common = {"max_epochs": 1, "batch_size": 8, "validation_fraction": 0, "random_state": 0, "warm_start": True}
    nets = {
        "U-Net": UNetSegmenter(**common),
        "Mask R-CNN": MaskRCNNSegmenter(**common, patch_size=SIZE),
        "Mask2Former": DETRSegmenter(**common),
        "Mask2Former, learned": DETRSegmenter(**common, queries="learned"),
        "Mask2Former, ResNet light": DETRSegmenter(**common, backbone="light"),
        "DETR": DETRSegmenter(**common, architecture="detr"),
    }
    seconds = {name: ([], []) for name in nets}
    for turn in range(options.repeat + 1):
        for name, net in nets.items():
            start = time.perf_counter()
            net.fit(X, y)
            fitted = time.perf_counter()
            net.predict(X)
            if turn:  # the first one warms up
                seconds[name][0].append((fitted - start) / len(X))
                seconds[name][1].append((time.perf_counter() - fitted) / len(X))
    base = [statistics.median(one) for one in seconds["U-Net"]]
    print(f"{'net':26s} trains        predicts      patches of {SIZE}² a second (and U-Net's time over its own)")
    for name, (training, prediction) in seconds.items():
        one, other = statistics.median(training), statistics.median(prediction)
        print(f"{name:26s} {1 / one:6.1f} ({base[0] / one:.2f}) {1 / other:6.1f} ({base[1] / other:.2f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["table", "overfit", "speed"])
    parser.add_argument("--minutes", type=float, default=18, help="training of each net")
    parser.add_argument("--architecture", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--n-fields", type=int, default=6, help="simulated training fields")
    parser.add_argument("--n-test", type=int, default=2, help="simulated test fields")
    parser.add_argument("--side", type=int, default=2048, help="pixels of a side of a field")
    parser.add_argument("--size", type=int, default=256, help="pixels of a side of a training patch")
    parser.add_argument("--every", type=int, default=4, help="epochs between two points of the convergence curve")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1000, help="of the overfit test")
    parser.add_argument("--repeat", type=int, default=3, help="turns of the speed comparison")
    parser.add_argument("--save", type=Path, help="folder for the trained pipelines")
    parser.add_argument("--load", type=Path, nargs="*", default=[], help="trained pipelines, instead of training")
    options = parser.parse_args()
    warnings.simplefilter("ignore", NoSourcesWarning)
    {"table": table, "overfit": overfit, "speed": speed}[options.what](options)


if __name__ == "__main__":
    main()

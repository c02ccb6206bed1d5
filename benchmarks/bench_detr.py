"""Panoptic quality on 128² patches, and speed, of DETR, Mask2Former and the other segmenters.

    # train both architectures, and a U-Net, for 10 minutes each
    python benchmarks/bench_detr.py table --minutes 10
    # use nets trained before
    python benchmarks/bench_detr.py table --load mask2former.safetensors unet.safetensors
    # DETR alone, and its curve; then draw such curves: FOLDER/detr.png
    python benchmarks/bench_detr.py table --architecture detr --minutes 18 --save FOLDER
    python benchmarks/bench_detr.py curve --load A.json B.json --save FOLDER
    # DETR on eight patches of 64², a thousand steps
    python benchmarks/bench_detr.py overfit
    # patches a second of every net, in turns in one process
    python benchmarks/bench_detr.py speed

The fields that are trained on and those that are tested on are different ones. `table` prints the
convergence too: the panoptic quality of the test patches after every few epochs, and keeps it
beside the net: detr.safetensors, detr.json.
"""

import argparse
import itertools
import json
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
from leaderboard.fields import without_sky
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from galaxysegment import NoSourcesWarning
from galaxysegment.datasets import make_field
from galaxysegment.metrics import panoptic_quality
from galaxysegment.persistence import load, save
from galaxysegment.preprocessing import NoiseNormalizer, make_variant
from galaxysegment.segmenters import (
    DETRSegmenter,
    KMeansSegmenter,
    MaskRCNNSegmenter,
    PhotutilsSegmenter,
    RandomForestSegmenter,
    SEPSegmenter,
    UNetSegmenter,
)

SIZE = 128
HEADER = (
    f"{'system':26s}"
    + "".join(f"|{name:^17s}" for name in ("all", "sky", "galaxy"))
    + "| patches/s"
)
#: Arguments of both architectures beside their defaults, and patches of 128² that two cores train
#: on in a second.
RECIPES = {
    "mask2former": ({"batch_size": 8, "n_heads": 4}, 33),
    "detr": ({"architecture": "detr", "batch_size": 8}, 20),
}
#: DETR of the overfit test: on the U-Net with a query at every peak, and as published, on a
#: residual net.
OVERFIT = {
    "unet": {"base_width": 8, "depth": 4, "lr": 3e-3},
    "light": {"backbone": "light", "stem_stride": 2, "lr": 1e-3},
}


def make_patches(n_fields, first_seed, side, size):
    """Patches (n, 2, size, size) of image and RMS, and their label maps.

    The background of their field is subtracted.
    """
    fields = [
        without_sky(make_field((side, side), random_state=first_seed + index))
        for index in range(n_fields)
    ]
    parts = [field.patches(size, rms=True) for field in fields]
    return np.concatenate([X for X, _ in parts]), np.concatenate([y for _, y in parts])


def make_normalizer():
    return NoiseNormalizer(rms_band=-1, subtract_background=False)


def row(name, y, labels, seconds):
    quality = panoptic_quality(list(y), list(labels))
    cells = [quality.all, quality.per_class[0], quality.per_class[1]]
    text = "".join(f"| {cell.pq:.3f} {cell.sq:.3f} {cell.rq:.3f}" for cell in cells)
    print(f"{name:26s}{text}| {len(labels) / seconds:9.1f}", flush=True)
    return cells[2].pq


def evaluate(name, segmenter, test):
    start = time.perf_counter()
    labels = segmenter.predict(test[0])
    return row(name, test[1], labels, time.perf_counter() - start)


def tuned_sep(training, n_fit=48):
    """Sep with the threshold, kernel and smallest size that have the best quality on training
    patches.
    """
    X, y = (part[:n_fit] for part in training)
    choices = [
        SEPSegmenter(n_sigma=n_sigma, fwhm=fwhm, n_pixels=n_pixels, box_size=50, rms_band=-1)
        for n_sigma, fwhm, n_pixels in itertools.product((0.8, 1.0, 1.2, 1.5), (1.5, 2.5), (8, 12))
    ]
    return max(
        choices, key=lambda choice: panoptic_quality(list(y), list(choice.predict(X))).things.pq
    )


class Curve(Callback):
    """After every few epochs, the quality of the test patches; its time does not count."""

    def __init__(self, patches, every):
        self.patches, self.every, self.rows = patches, every, []

    def on_train_begin(self, net, **kwargs):
        self.seconds = 0.0

    def on_epoch_end(self, net, **kwargs):
        last = net.history[-1]
        self.seconds += last["dur"]
        losses = {
            name[6:]: float(last[name])
            for name in last
            if name.startswith("train_loss") and not name.endswith("_best")
        }
        point = {"epoch": len(net.history), "minutes": self.seconds / 60, **losses}
        if len(net.history) % self.every == 0 or len(net.history) == net.max_epochs:
            point["galaxy_pq"] = self.quality(net)
        self.rows.append(point)
        print("  " + " ".join(f"{name} {value:.3g}" for name, value in point.items()), flush=True)

    def quality(self, net):
        """Panoptic quality of galaxies at the best threshold."""
        from galaxysegment.nets.queries._prediction import find_candidates, to_instances

        images, truth = self.patches
        predicted = find_candidates(net, images, 8)
        return max(
            panoptic_quality(
                truth,
                [
                    to_instances(prediction, score, 4, np.array([0, 1, 2]))
                    for prediction in predicted
                ],
            ).things.pq
            for score in np.linspace(0.2, 0.9, 8)
        )


def train(architecture, options, training, test):
    """Train for about so many minutes; the pipeline."""
    params, rate = RECIPES[architecture]
    crops = len(training[0]) * (options.size // SIZE) ** 2
    epochs = max(2, round(60 * options.minutes * rate / (0.9 * crops)))
    normalizer = make_normalizer()
    segmenter = DETRSegmenter(**params, max_epochs=epochs, random_state=options.seed)
    some = normalizer.fit_transform(test[0][:64])
    X = normalizer.fit_transform(training[0])
    # what the net sees is what it will have learnt of all training pixels
    segmenter._seed = 0
    segmenter._learn_scaling(list(X))
    curve = Curve(
        ([segmenter._scaler().scale_image(item) for item in some], list(test[1][:64])),
        options.every,
    )
    segmenter.set_params(callbacks=[curve])
    start = time.perf_counter()
    segmenter.fit(X, training[1])
    minutes = (time.perf_counter() - start) / 60
    print(
        f"  {architecture}: {epochs} epochs of {crops} crops, {minutes:.1f} min, "
        f"{segmenter.get_params()}"
    )
    segmenter.set_params(callbacks=None)
    pipeline = make_pipeline(normalizer, segmenter)
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
        save(pipeline, options.save / f"{architecture}.safetensors")
        # the segmenter trained with a copy of the callback
        rows = next(item for _, item in segmenter.net_.callbacks_ if isinstance(item, Curve)).rows
        (options.save / f"{architecture}.json").write_text(
            json.dumps({"minutes": minutes, "curve": rows}, indent=1)
        )
    return pipeline


def table(options):
    test = make_patches(options.n_test, 900, options.side, SIZE)
    counts = test[1].max(axis=(1, 2))
    print(f"{len(test[0])} test patches of {SIZE}², {counts.mean():.1f} sources each")
    print(HEADER)
    evaluate(
        "photutils", PhotutilsSegmenter(n_sigma=1.5, box_size=50, deblend=True, rms_band=-1), test
    )
    some = [part[:64] for part in make_patches(1, 100, options.side, SIZE)]
    evaluate("sep, tuned", tuned_sep(some), test)
    evaluate(
        "k-means, variant 4",
        make_pipeline(make_variant(4), KMeansSegmenter(random_state=0)).fit(*some),
        test,
    )
    evaluate(
        "random forest",
        RandomForestSegmenter(random_state=0, n_jobs=2, rms_band=-1).fit(*some),
        test,
    )
    evaluate("U-Net, shipped weights", UNetSegmenter(weights="vis", rms_band=-1, n_pixels=10), test)
    for path in options.load:
        evaluate(path.stem, load(path), test)
    if options.load:
        return
    training = make_patches(options.n_fields, 100, options.side, options.size)
    for architecture in options.architecture:
        evaluate(architecture, train(architecture, options, training, test), test)


def curve(options):
    """Draw quality and losses against minutes, one column for each stored curve."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(options.load), 5), layout="constrained")
    axes = figure.subplots(2, len(options.load), sharex=True, sharey="row", squeeze=False)
    for path, (upper, lower) in zip(options.load, axes.T, strict=True):
        rows = json.loads(path.read_text())["curve"]
        measured = [row for row in rows if "galaxy_pq" in row]
        upper.plot(
            [item["minutes"] for item in measured], [item["galaxy_pq"] for item in measured], "o-"
        )
        upper.set(title=path.stem, ylim=(0, 0.8))
        for part in ("mask", "dice", "box", "giou", "class"):
            name = f"loss_{part}"
            if name in rows[0]:
                lower.plot(
                    [row["minutes"] for row in rows], [row[name] for row in rows], label=part
                )
        lower.set(xlabel="minutes of training", yscale="log")
        lower.legend()
    axes[0, 0].set_ylabel("galaxy PQ")
    axes[1, 0].set_ylabel("training losses")
    options.save.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.save / "detr.png", dpi=110)


def overfit(options):
    X, y = make_patches(1, 100, 512, SIZE // 2)
    fullest = np.argsort(-y.max(axis=(1, 2)), kind="stable")[:8]
    X, y = make_normalizer().fit_transform(X[fullest]), y[fullest]
    print(f"{len(X)} patches of {SIZE // 2}² with {y.max(axis=(1, 2)).tolist()} sources")
    for backbone in options.backbone:
        detr = DETRSegmenter(
            **OVERFIT[backbone],
            architecture="detr",
            d_model=32,
            decoder_layers=2,
            n_queries=16,
            batch_size=8,
            max_epochs=options.steps,
            augment=None,
            validation_fraction=0,
            random_state=options.seed,
        )
        start = time.perf_counter()
        detr.fit(X, y)
        seconds = time.perf_counter() - start
        names = [
            name
            for name in detr.history_[0]
            if name.startswith("train_loss_") and not name.endswith("_best")
        ]
        for step in [*range(0, options.steps, max(options.steps // 10, 1)), options.steps - 1]:
            losses = " ".join(
                f"{name[11:]} {float(detr.history_[step, name]):.3f}" for name in names
            )
            print(f"{backbone:5s} step {step:5d}: {losses}")
        predicted = panoptic_quality(list(y), list(detr.predict(X))).things
        quality = f"galaxies: PQ {predicted.pq:.3f} SQ {predicted.sq:.3f} RQ {predicted.rq:.3f}"
        print(f"{backbone:5s} {quality} after {options.steps} steps in {seconds:.0f} s", flush=True)


def speed(options):
    X, y = make_patches(1, 100, 1024, SIZE)
    X = make_normalizer().fit_transform(X)
    common = {
        "max_epochs": 1,
        "batch_size": 8,
        "validation_fraction": 0,
        "random_state": 0,
        "warm_start": True,
    }
    nets = {
        "U-Net": UNetSegmenter(**common),
        "Mask R-CNN": MaskRCNNSegmenter(**common, patch_size=SIZE),
        "Mask2Former": DETRSegmenter(**common),
        "Mask2Former, learned": DETRSegmenter(**common, queries="learned"),
        "Mask2Former, ResNet light": DETRSegmenter(**common, backbone="light"),
        "DETR": DETRSegmenter(**common, architecture="detr"),
        "DETR, ResNet light": DETRSegmenter(**common, architecture="detr", backbone="light"),
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
    base = [statistics.median(item) for item in seconds["U-Net"]]
    print(
        f"{'net':26s} trains        predicts      patches of {SIZE}² a second (and U-Net's time "
        "over its own)"
    )
    for name, (training, prediction) in seconds.items():
        own_time, other = statistics.median(training), statistics.median(prediction)
        print(
            f"{name:26s} {1 / own_time:6.1f} ({base[0] / own_time:.2f}) {1 / other:6.1f} "
            f"({base[1] / other:.2f})"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["table", "curve", "overfit", "speed"])
    parser.add_argument("--minutes", type=float, default=18, help="training of each net")
    parser.add_argument("--architecture", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--n-fields", type=int, default=6, help="simulated training fields")
    parser.add_argument("--n-test", type=int, default=2, help="simulated test fields")
    parser.add_argument("--side", type=int, default=2048, help="pixels of a side of a field")
    parser.add_argument(
        "--size", type=int, default=256, help="pixels of a side of a training patch"
    )
    parser.add_argument(
        "--every", type=int, default=4, help="epochs between two points of the convergence curve"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1000, help="of the overfit test")
    parser.add_argument(
        "--backbone", nargs="+", default=list(OVERFIT), choices=list(OVERFIT), help="of that test"
    )
    parser.add_argument("--repeat", type=int, default=3, help="turns of the speed comparison")
    parser.add_argument("--save", type=Path, help="folder for nets and pictures")
    parser.add_argument(
        "--load",
        type=Path,
        nargs="*",
        default=[],
        help="trained pipelines (instead of training) or curves",
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore", NoSourcesWarning)
    {"table": table, "curve": curve, "overfit": overfit, "speed": speed}[options.what](options)


if __name__ == "__main__":
    main()

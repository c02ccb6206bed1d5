"""U-Net against its peers on held-out patches, and its speed against a plain float32 PyTorch loop.

    # train the defaults on simulated fields: about 12 minutes on two cores
    python benchmarks/bench_unet.py table
    # ratios of seconds per patch, measured in turns in one process
    python benchmarks/bench_unet.py speed

`table` simulates different fields for training and testing. The thresholds and kernels of "tuned"
systems are chosen on training patches. The background is subtracted from each whole field before it
is cut, for every system alike, because a single patch gives a background twice as noisy.

Sources under 10 pixels are ignored in scoring: their pixels are left out of the pixel scores, and
predictions on them out of the source scores. Pixel scores are pooled over all patches.
"""

import argparse
import multiprocessing
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
from leaderboard.fields import Patches, without_sky
from leaderboard.grids import SEP_GRID
from leaderboard.peers import SExtractor, find_sextractor
from leaderboard.run import choose
from leaderboard.scores import count_sources
from leaderboard.settings import make_a
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from galaxysegment import Instances, NoSourcesWarning, metrics
from galaxysegment.persistence import load, save
from galaxysegment.preprocessing import NoiseNormalizer, make_variant
from galaxysegment.segmenters import (
    KMeansSegmenter,
    PhotutilsSegmenter,
    RandomForestSegmenter,
    SEPSegmenter,
    UNetSegmenter,
)

SIZE = 256
LEAST_PIXELS = 10
HEADER = f"{'system':34s}  IoU   Dice recall accur. | source P     R    F1 |  fit s  predict s"
REPORT = f"{'U-Net of Saverese et al. 2022':34s}  .708  .749  .775  .984"


# ---- the table ----


def make_patches(n_fields, first_seed, side):
    """Patches (n, 2, 256, 256) of image and RMS, and their label maps.

    The background of their field is subtracted.
    """
    fields = [without_sky(make_a(side, first_seed + index)) for index in range(n_fields)]
    patches = [field.patches(SIZE, rms=True) for field in fields]
    return np.concatenate([X for X, _ in patches]), np.concatenate([y for _, y in patches])


def row(name, y, labels, fit_seconds, seconds):
    truth, predicted = (
        [Instances.from_label_map(label_map) for label_map in maps] for maps in (y, labels)
    )
    counted, seen = count_sources(truth, predicted, LEAST_PIXELS)
    truth = [sources.select(keep) for sources, keep in zip(truth, counted, strict=True)]
    ignore = [(labels > 0) & ~sources.to_mask() for labels, sources in zip(y, truth, strict=True)]
    pixels = [
        score(truth, list(labels), average="pixels", ignore=ignore)
        for score in (
            metrics.iou_score,
            metrics.dice_score,
            metrics.recall_score,
            metrics.accuracy_score,
        )
    ]
    sources = metrics.detection_scores(truth, seen)
    pixel_text = " ".join(f"{value:.3f}" for value in pixels)
    source_text = f"{sources.precision:.3f} {sources.recall:.3f} {sources.f1:.3f}"
    print(
        f"{name:34s} {pixel_text} |   {source_text} | {fit_seconds:6.1f} {seconds:8.1f}", flush=True
    )


def run(name, segmenter, train, test, n_fit=None):
    X, y = (part[:n_fit] for part in train)
    start = time.perf_counter()
    segmenter.fit(X, y)
    fitted = time.perf_counter()
    labels = segmenter.predict(test[0])
    row(name, test[1], labels, fitted - start, time.perf_counter() - fitted)
    return segmenter


def tuned_sep(train, n_fit=64):
    """Sep with the threshold, kernel and smallest size that have the best IoU plus source F1 on
    training patches.
    """
    X, y = (part[:n_fit] for part in train)
    unknown = [np.zeros(target.max()) for target in y]
    patches = Patches(
        X, y, [Instances.from_label_map(target) for target in y], list(y), unknown, unknown
    )
    pipeline = make_pipeline(SEPSegmenter(n_sigma=1.5, box_size=50, n_pixels=10, rms_band=-1))
    print(f"  tuned sep: {choose(pipeline, SEP_GRID, patches)}")
    return pipeline


def table(options):
    train, test = (
        make_patches(options.n_fields, 100, options.side),
        make_patches(2, 900, options.side),
    )
    n_sources = np.mean(
        [np.count_nonzero(np.bincount(item.ravel())[1:] >= LEAST_PIXELS) for item in test[1]]
    )
    print(
        f"{len(train[0])} training patches, {len(test[0])} test patches, {n_sources:.0f} sources "
        "each"
    )
    print(HEADER)
    print(REPORT)
    run(
        "PhotutilsSegmenter, 1.5 RMS",
        PhotutilsSegmenter(n_sigma=1.5, box_size=50, deblend=True, rms_band=-1),
        train,
        test,
        1,
    )
    run(
        "k-means, variant 4",
        make_pipeline(make_variant(4), KMeansSegmenter(random_state=0)),
        train,
        test,
        64,
    )
    run(
        "random forest",
        RandomForestSegmenter(random_state=0, n_jobs=2, rms_band=-1),
        train,
        test,
        64,
    )
    if find_sextractor(required=False):
        run("SExtractor, defaults", SExtractor(rms_band=-1), train, test, 1)
    run(
        "SEPSegmenter, 1.5 RMS, 10 pixels",
        SEPSegmenter(n_sigma=1.5, box_size=50, n_pixels=10, rms_band=-1),
        train,
        test,
        1,
    )
    run("SEPSegmenter, tuned", tuned_sep(train), train, test, 1)
    start = time.perf_counter()
    labels = UNetSegmenter(weights="vis", rms_band=-1).predict(test[0])
    row("U-Net, shipped weights", test[1], labels, 0, time.perf_counter() - start)
    if options.load:
        unet = load(options.load)
        start = time.perf_counter()
        labels = unet.predict(test[0])
        row("U-Net, defaults, trained before", test[1], labels, 0, time.perf_counter() - start)
    else:
        net = UNetSegmenter(max_epochs=options.epochs, random_state=0, verbose=options.verbose)
        divide = NoiseNormalizer(rms_band=-1, subtract_background=False)
        unet = run("U-Net, defaults", make_pipeline(divide, net), train, test)
    if options.save:
        save(unet, options.save)


# ---- speed ----


def plain_unet(base_width):
    """Return the same net of torch's own layers only."""
    import torch

    from galaxysegment.nets.unet._module import UNet

    module = UNet(base_width=base_width)
    module.upsamplers = torch.nn.ModuleList(
        [
            torch.nn.ConvTranspose2d(item.in_channels, item.out_channels, 2, stride=2)
            for item in module.upsamplers
        ]
    )
    return module


class PlainLoop:
    """What a tutorial writes: float32, the default order of memory, AdamW, torch's own layers, the
    same schedule.
    """

    def __init__(self, X, y, base_width, epochs, batch_size=8, lr=3e-3):
        import torch

        from galaxysegment.nets.common._losses import BCEDiceLoss
        from galaxysegment.nets.common._net import OneCycle

        self.torch, self.batch_size = torch, batch_size
        torch.manual_seed(0)
        self.module, self.loss = plain_unet(base_width), BCEDiceLoss()
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=lr)
        n_steps = epochs * -(-len(X) // batch_size)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: OneCycle().factor(step / n_steps)
        )
        self.X = torch.from_numpy(X[:, None])
        self.y = torch.from_numpy(np.stack([y > 0, np.ones_like(y)], axis=1).astype(np.float32))

    def train(self):
        self.module.train()
        for part in self.torch.randperm(len(self.X)).split(self.batch_size):
            self.optimizer.zero_grad()
            self.loss(self.module(self.X[part]), self.y[part]).backward()
            self.optimizer.step()
            self.schedule.step()

    def predict(self, X=None):
        self.module.eval()
        X = self.X if X is None else self.torch.from_numpy(X[:, None])
        with self.torch.no_grad():
            predicted = [self.torch.sigmoid(self.module(part)) for part in X.split(self.batch_size)]
        return self.torch.cat(predicted)[:, 0].numpy()


def make_plain(*arguments):
    global _plain  # noqa: PLW0603 - what a worker process keeps between calls
    _plain = PlainLoop(*arguments)


def time_plain(name):
    start = time.perf_counter()
    getattr(_plain, name)()
    return time.perf_counter() - start


def predict_plain(X):
    return _plain.predict(X)


def speed(options):
    X, y = make_patches(1, 100, options.side)
    X_test, y_test = make_patches(1, 900, 1024)
    X, X_test = (
        np.arcsinh((item[:, 0] - np.median(item[:, 0])) / np.median(item[:, 1])).astype(np.float32)
        for item in (X, X_test)
    )
    unet = UNetSegmenter(
        base_width=options.base_width,
        max_epochs=options.repeat,
        validation_fraction=0,
        random_state=0,
        augment=None,
        n_views=1,
    )
    seconds = {name: [] for name in ("train plain", "train ours", "predict plain", "predict ours")}
    # the plain loop has a process of its own: ours changes how its process allocates memory
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, make_plain, (X, y, options.base_width, options.repeat)) as pool:
        pool.apply(time_plain, ("train",))

        class TakeTurns(Callback):
            """Train the plain loop an epoch after each of ours: a busy machine slows both."""

            def on_epoch_end(self, net, **kwargs):
                seconds["train ours"].append(net.history[-1, "dur"] / len(X))
                seconds["train plain"].append(pool.apply(time_plain, ("train",)) / len(X))

        unet.set_params(callbacks=[TakeTurns()]).fit(X, y)
        for _ in range(5):
            start = time.perf_counter()
            unet.predict_proba(X)
            seconds["predict ours"].append((time.perf_counter() - start) / len(X))
            seconds["predict plain"].append(pool.apply(time_plain, ("predict",)) / len(X))
        plain_mask = pool.apply(predict_plain, (X_test,)) > 0.5
    for name, values in seconds.items():
        best, middle = 1e3 * min(values), 1e3 * statistics.median(values)
        print(f"{name:14s} {best:7.1f} ms per patch of {SIZE}² (median {middle:.1f})")
    for what in ("train", "predict"):
        ratios = np.divide(seconds[f"{what} plain"], seconds[f"{what} ours"])
        print(
            f"{what}: {statistics.median(ratios):.2f} times as fast as the plain loop (median of "
            f"{len(ratios)} turns)"
        )
    ours, plain = (
        metrics.iou_score(y_test > 0, mask)
        for mask in (unet.predict_proba(X_test) > 0.5, plain_mask)
    )
    print(f"held-out IoU after {options.repeat} epochs: ours {ours:.3f}, plain loop {plain:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["table", "speed"])
    parser.add_argument("--n-fields", type=int, default=16, help="simulated training fields")
    parser.add_argument("--side", type=int, default=2048, help="pixels of a side of a field")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--base-width", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=10, help="epochs of the speed comparison")
    parser.add_argument("--save", type=Path, help="file for the trained pipeline")
    parser.add_argument(
        "--load", type=Path, help="file of a pipeline that --save kept, instead of training"
    )
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", NoSourcesWarning)
    {"table": table, "speed": speed}[options.what](options)


if __name__ == "__main__":
    main()

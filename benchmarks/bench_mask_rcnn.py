"""How fast Mask R-CNN trains on 256² patches, beside torchvision's default configuration.

    # ratios of seconds per patch, in turns in one process
    python benchmarks/bench_mask_rcnn.py speed
    # AP on held-out patches after the same time for each, and ours after as many patches as
    # torchvision's saw
    python benchmarks/bench_mask_rcnn.py ap --minutes 10

torchvision's default resizes every patch to 800 pixels, has a ResNet-50, 2000 proposals, 512
sampled boxes and dense masks, and computes in float32. Between the two stand its parts without the
resize, and what our defaults change next.
"""

import argparse
import math
import statistics
import time

import numpy as np
import torch
from skorch.callbacks import Callback
from torchvision.models.detection import maskrcnn_resnet50_fpn

from galaxysegment import Instances, MaskRCNNSegmenter, metrics
from galaxysegment.datasets import make_field
from galaxysegment.nets.common._memory import kept_memory
from galaxysegment.segmenters._training_set import TrainingSet

SIZE = 256


def make_patches(n, first_seed):
    """Scaled patches (n, 256, 256) and their instances."""
    side = 1024
    n_fields = -(-n // (side // SIZE) ** 2)
    fields = [
        make_field((side, side), random_state=first_seed + index).patches(SIZE)
        for index in range(n_fields)
    ]
    X, y = (np.concatenate(part)[:n] for part in zip(*fields, strict=True))
    X = np.arcsinh((X - np.median(X)) / np.percentile(X, 16)).astype(np.float32)
    return X, [Instances.from_label_map(target) for target in y]


class Default:
    """torchvision's `maskrcnn_resnet50_fpn` in a plain float32 loop, with optional changes."""

    def __init__(self, lr=1e-3, **options):
        torch.manual_seed(0)
        self.model = maskrcnn_resnet50_fpn(
            weights=None, weights_backbone=None, num_classes=2, **options
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=lr)

    @staticmethod
    def inputs(X, y):
        images = [torch.from_numpy(image).expand(3, -1, -1) for image in X]
        targets = [
            {
                "boxes": torch.from_numpy(target.boxes[:, [1, 0, 3, 2]].astype(np.float32)),
                "labels": torch.ones(len(target), dtype=torch.int64),
                "masks": torch.from_numpy(target.masks.astype(np.uint8)),
            }
            for target in y
        ]
        return images, targets

    def step(self, X, y):
        self.model.train()
        loss = sum(self.model(*self.inputs(X, y)).values())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def predict(self, X):
        self.model.eval()
        predicted = []
        with torch.no_grad():
            for image in X:
                (result,) = self.model([torch.from_numpy(image).expand(3, -1, -1)])
                masks = (result["masks"][:, 0] > 0.5).numpy()
                kept = masks.any(axis=(1, 2))
                predicted.append(
                    Instances.from_masks(
                        masks[kept], result["scores"].numpy()[kept], shape=image.shape
                    )
                )
        return predicted


class Ours:
    """One step of `MaskRCNNSegmenter`, as its net takes it, data and augmentation included."""

    def __init__(self, X, y, **options):
        self.segmenter = MaskRCNNSegmenter(
            max_epochs=1, validation_fraction=0, random_state=0, **options
        )
        self.segmenter.set_params(score_threshold=0.5, lr=1e-9).fit(X[:2], y[:2])
        self.segmenter.net_.set_params(lr=1e-3)

    def step(self, X, y):
        segmenter = self.segmenter
        streams = [segmenter._scaler().stream(image[None]) for image in X]
        dataset = segmenter._make_dataset(TrainingSet(streams, list(y)), training=True)
        segmenter.net_.train_step(
            segmenter._collate()([dataset[index] for index in range(len(dataset))])
        )


def speed(options):
    X, y = make_patches(options.batch_size, 100)
    print(
        f"{options.batch_size} patches of {SIZE}², {np.mean([len(target) for target in y]):.0f} "
        "sources each"
    )
    exact = {"min_size": SIZE, "max_size": SIZE}
    plain = {
        "backbone": "resnet50",
        "stem_stride": 2,
        "precision": "float32",
        "n_proposals": 2000,
        "n_samples": 512,
    }
    loops = {
        "torchvision, default": Default(),
        "torchvision, no resize": Default(**exact),
        "ours, same net and heads": Ours(X, y, **plain),
        "ours, ResNet-50, our heads": Ours(X, y, backbone="resnet50", stem_stride=2),
        "ours, default": Ours(X, y),
    }
    seconds = {name: [] for name in loops}
    with kept_memory():  # for all alike
        for _ in range(options.repeat + 1):
            for name, loop in loops.items():
                start = time.perf_counter()
                loop.step(X, y)
                seconds[name].append((time.perf_counter() - start) / len(X))
    reference = np.array(seconds["torchvision, default"][1:])
    for name, values in seconds.items():
        ratio = statistics.median(reference / np.array(values[1:]))
        print(
            f"{name:28s} {1e3 * statistics.median(values[1:]):8.0f} ms per patch   {ratio:6.1f} "
            "times as fast"
        )


class StopAfter(Callback):
    """End the training, as Ctrl-C does, after so many seconds or patches."""

    def __init__(self, seconds=math.inf, patches=math.inf):
        self.seconds, self.patches = seconds, patches

    def on_train_begin(self, net, **kwargs):
        self.end_, self.n_seen_ = time.perf_counter() + self.seconds, 0

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        self.n_seen_ += net.batch_size
        if time.perf_counter() > self.end_ or self.n_seen_ >= self.patches:
            net.n_seen_ = self.n_seen_
            raise KeyboardInterrupt


def train_ours(train, options, **limit):
    """Our defaults until a limit; at a constant rate, because a schedule has to know its end."""
    ours = MaskRCNNSegmenter(
        max_epochs=options.epochs,
        schedule=None,
        callbacks=[StopAfter(**limit)],
        score_threshold=0.05,
        validation_fraction=0,
        random_state=0,
    )
    return ours.fit(*train)


def train_default(train, options, seconds):
    default, rng = Default(), np.random.default_rng(0)
    end, n_seen = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        part = rng.integers(len(train[0]), size=options.batch_size)
        default.step(train[0][part], [train[1][index] for index in part])
        n_seen += options.batch_size
    return default, n_seen


def ap(options):
    train, (X_test, y_test) = make_patches(options.n_train, 100), make_patches(64, 900)
    seconds = 60 * options.minutes
    ours = train_ours(train, options, seconds=seconds)
    report(f"ours, {ours.net_.n_seen_} patches", y_test, ours.predict(X_test, output="instances"))
    default, n_seen = train_default(train, options, seconds)
    report(f"torchvision, {n_seen} patches", y_test, default.predict(X_test))
    ours = train_ours(train, options, patches=n_seen)
    report(f"ours, {ours.net_.n_seen_} patches", y_test, ours.predict(X_test, output="instances"))


def report(name, truth, predicted):
    predicted = [
        Instances(image.shape, image.boxes, image.crops, image.scores) for image in predicted
    ]
    truth = [Instances(sources.shape, sources.boxes, sources.crops) for sources in truth]
    summary = metrics.coco_summary(truth, predicted)
    print(
        f"{name:28s} segm AP {summary['AP']:.3f}  AP50 {summary['AP50']:.3f}  AP75 "
        f"{summary['AP75']:.3f}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["speed", "ap"])
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3, help="turns of the speed comparison")
    parser.add_argument("--minutes", type=float, default=10, help="training time of each")
    parser.add_argument("--n-train", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=100)
    options = parser.parse_args()
    {"speed": speed, "ap": ap}[options.what](options)


if __name__ == "__main__":
    main()

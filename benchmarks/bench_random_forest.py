"""Random forest trained on one half of a simulated field, tested on the other.

    python benchmarks/bench_random_forest.py

The report's forest saw 1000 sampled pixels an image, because every window cost a call of mahotas.
The last lines are the time of the fit and the prediction of 64 patches of 256².
"""

import argparse
import os
import time

import numpy as np

from galaxysegment import PhotutilsSegmenter, RandomForestSegmenter, SEPSegmenter, metrics
from galaxysegment.datasets import make_field

PIXEL_SCORES = (
    metrics.f1_score,
    metrics.iou_score,
    metrics.precision_score,
    metrics.recall_score,
    metrics.accuracy_score,
)
HEADER = (
    f"{'system':38s}  F1    IoU   prec. recall accur. | source P     R    F1 |  fit s  predict s"
)
REPORT = f"{'report, balanced sample, 5 images':38s} .187  .103  .126  .443  .76"


def row(name, y, labels, fit_seconds, seconds):
    pixels = " ".join(f"{score(y, labels):.3f}" for score in PIXEL_SCORES)
    sources = metrics.detection_scores(list(y), list(labels))
    predicted = f"{sources.precision:.3f} {sources.recall:.3f} {sources.f1:.3f}"
    print(f"{name:38s} {pixels} |   {predicted} | {fit_seconds:6.1f} {seconds:8.1f}", flush=True)


def run(name, segmenter, train, test):
    start = time.perf_counter()
    segmenter.fit(*train)
    fitted = time.perf_counter()
    labels = segmenter.predict(test[0])
    row(name, test[1], labels, fitted - start, time.perf_counter() - fitted)
    return segmenter


def halves(field, rms):
    """The upper and the lower half of a field, each a stack of one image."""
    bands = [np.asarray(field.image, dtype=np.float32)]
    if rms:
        bands.append(np.asarray(field.rms, dtype=np.float32).reshape(-1, *field.labels.shape))
    X, y = np.concatenate(bands)[None], np.asarray(field.labels)[None]
    middle = y.shape[1] // 2
    return (X[:, :, :middle], y[:, :middle]), (X[:, :, middle:], y[:, middle:])


def table(field, n_jobs):
    print(HEADER)
    print(REPORT)
    train, test = halves(field, rms=False)
    forest = RandomForestSegmenter(random_state=0, n_jobs=n_jobs)
    run("RandomForestSegmenter, defaults", forest, train, test)
    for changes in ({"smoothing": 1.5}, {"n_pixels": 1}, {"deblend": True}):
        start = time.perf_counter()
        labels = forest.set_params(**changes).predict(test[0])
        row(f"  {changes}", test[1], labels, 0, time.perf_counter() - start)
        forest.set_params(smoothing=None, n_pixels=8, deblend=False)
    importances = sorted(
        zip(forest.feature_importances_, forest.feature_names_, strict=True), reverse=True
    )
    run(
        "  one thousand samples", RandomForestSegmenter(n_samples=1000, random_state=0), train, test
    )
    with_rms = halves(field, rms=True)
    run(
        "  rms_band=-1",
        RandomForestSegmenter(rms_band=-1, random_state=0, n_jobs=n_jobs),
        *with_rms,
    )
    run(
        "PhotutilsSegmenter, 1.5 sigma",
        PhotutilsSegmenter(n_sigma=1.5, box_size=50, deblend=False),
        train,
        test,
    )
    run(
        "SEPSegmenter, 1.5 sigma",
        SEPSegmenter(n_sigma=1.5, box_size=50, n_pixels=10, deblend=False),
        train,
        test,
    )
    print("importances: " + ", ".join(f"{name} {value:.3f}" for value, name in importances))


def time_patches(field, n_jobs):
    X, y = field.patches(size=256)
    forest = RandomForestSegmenter(random_state=0, n_jobs=n_jobs)
    start, cpu = time.perf_counter(), time.process_time()
    forest.fit(X, y)
    fitted = time.perf_counter()
    forest.predict(X)
    end = time.perf_counter()
    print(
        f"{len(X)} patches of 256², n_jobs={n_jobs}: fit {fitted - start:.1f} s + predict "
        f"{end - fitted:.1f} s = "
        f"{end - start:.1f} s; {time.process_time() - cpu:.1f} s of processor time"
    )
    if hasattr(os, "getloadavg"):
        print(f"load of the machine: {os.getloadavg()[0]:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-jobs", type=int, default=2)
    options = parser.parse_args()
    field = make_field((options.size, options.size), random_state=options.seed)
    print(
        f"{options.size}² field of {field.labels.max()} sources, half to learn from, half to test "
        "on"
    )
    table(field, options.n_jobs)
    time_patches(field, options.n_jobs)


if __name__ == "__main__":
    main()

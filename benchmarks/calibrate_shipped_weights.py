r"""Calibrate the weights that ship with the package, and score their calibration on other fields.

    python benchmarks/calibrate_shipped_weights.py fit --weights last.safetensors \
        --output vis.safetensors
    python benchmarks/calibrate_shipped_weights.py score
    python benchmarks/calibrate_shipped_weights.py score --weights sky

`fit` predicts 40 fields of `make_field` with 20 to 400 galaxies a square arcminute, half of them
with their RMS map, and writes the isotonic table into a copy of the weights. Every field counts
alike: a crowded field has ten times as many uncertain pixels as a sparse one, and is thinned. The
weights never saw these fields. `score` prints the expected calibration error before and after,
over the pixels with a probability between 0.05 and 0.95 and over the sources, as mean and spread
over three sets of fields (two halves of the only field of GalSim). Its fields took no part in
`fit`:
`make_field` with other seeds, the fields that `train_shipped_weights.py` simulates with other
seeds, and, if GALAXYSEGMENT_DATA is set, images of two other simulators.
"""

import argparse
import os
import warnings
from pathlib import Path

import numpy as np
from class_fields import simulate as simulate_sky
from leaderboard.elsewhere import btk_parts, galsim_parts
from leaderboard.settings import make_a
from train_shipped_weights import simulate

from galaxysegment import Instances, NoSourcesWarning, UNetSegmenter, metrics
from galaxysegment._utils.calibration import fit_calibration
from galaxysegment._utils.model_file import read_model_file, write_model_file
from galaxysegment._utils.shipped import weights_path
from galaxysegment.datasets import make_field
from galaxysegment.structures import GALAXY, STAR

UNCERTAIN = (0.05, 0.95)
N_FIELDS = 40
N_REPEATS = 3  # of the fields that are scored


def fit(options):
    """Fit the table and write it into a copy of the weights."""
    with_rms, without = segmenters(options.weights)
    rng = np.random.default_rng(5)
    probas, truths = [], []
    for index in range(N_FIELDS):
        density = float(np.exp(rng.uniform(np.log(20), np.log(400))))
        n_pixels = int(rng.choice([3, 5, 10]))
        image, labels = image_and_truth(
            make_field((512, 512), random_state=5000 + index, density=density, n_pixels=n_pixels)
        )
        unet = without if index % 2 else with_rms
        unet._drop_calibration()
        probas.append(unet.predict_proba(image[None, 0] if index % 2 else image[None])[0])
        truths.append(labels > 0)
    table = fit_calibration(*alike(probas, truths, rng))
    path = Path(options.weights)
    tree = read_model_file(path if path.exists() else weights_path("UNetSegmenter", path.name))
    tree["state"]["calibration"] = table
    write_model_file(options.output, tree)
    print(f"{options.output}: {table.shape[1]} knots from {N_FIELDS} fields")


def alike(probas, truths, rng):
    """Pixels of each field, drawn so that all fields have as many uncertain pixels."""
    low, high = UNCERTAIN
    counts = [int(((proba > low) & (proba < high)).sum()) for proba in probas]
    shares = [min(counts) / count for count in counts]
    drawn = [
        rng.uniform(size=proba.shape) < share for proba, share in zip(probas, shares, strict=True)
    ]
    return (
        [proba[keep][None] for proba, keep in zip(probas, drawn, strict=True)],
        [truth[keep][None] for truth, keep in zip(truths, drawn, strict=True)],
    )


def segmenters(weights):
    """U-Nets of weights that ship or of a file, for images with and without an RMS map."""
    return UNetSegmenter(weights=weights, rms_band=-1), UNetSegmenter(weights=weights)


def image_and_truth(field):
    """Image and RMS map (2, height, width), and the label map."""
    labels = np.asarray(field.labels)
    return np.stack(
        [np.reshape(field.image, labels.shape), np.reshape(field.rms, labels.shape)]
    ), labels


def score(options):
    """Print the errors before and after on each kind of field."""
    print("expected calibration error: mean ± spread over the repeats, (all repeats together)")
    print(f"{'fields':40s} {'uncertain pixels':50s} sources")
    for name, repeats in test_fields(options.data):
        has_rms = repeats[0][0][0].ndim == 3
        unet = UNetSegmenter(weights=options.weights, rms_band=-1 if has_rms else None)
        measured = [
            list(zip(*(measure(unet, *pair) for pair in pairs), strict=True)) for pairs in repeats
        ]
        errors = [
            in_words([row[part] for row in measured], between)
            for part, between in ((0, UNCERTAIN), (1, UNCERTAIN), (2, (0, 1)), (3, (0, 1)))
        ]
        print(f"{name:40s} {' -> '.join(errors[:2])}   {' -> '.join(errors[2:])}", flush=True)


def in_words(repeats, between):
    """Mean and spread of the errors of repeats, and the error of all repeats together."""
    joined = [np.concatenate(parts, axis=1) for parts in repeats]
    errors = [error(*part, between) for part in joined]
    together = error(*np.concatenate(joined, axis=1), between)
    return f"{np.mean(errors):.3f} ± {np.std(errors, ddof=1):.3f} ({together:.3f})"


def measure(unet, image, truth):
    """(score, truth) of pixels and of sources, each before and after calibration."""
    images = image[None]
    labels = unet.predict(images)[0]
    after = unet.predict_proba(images)[0]
    table = unet.calibration_
    unet._drop_calibration()
    before = unet.predict_proba(images)[0]
    unet.calibration_ = table
    is_galaxy = truth.to_mask() if isinstance(truth, Instances) else truth > 0
    has_data = np.isfinite(image[0] if image.ndim == 3 else image)
    pixels = [np.stack([proba[has_data], is_galaxy[has_data]]) for proba in (before, after)]
    return (*pixels, *(scores_of_sources(truth, labels, proba) for proba in (before, after)))


def scores_of_sources(truth, labels, proba):
    """Mean probability of each predicted source, and whether it matches a true source."""
    n_bins = 1000  # fine bins keep the scores of single sources
    curve = metrics.source_reliability_curve(truth, labels, proba=proba, n_bins=n_bins)
    count = np.maximum(curve.count, 0)
    real = np.nan_to_num(np.round(curve.observed * count)).astype(int)
    scores = np.repeat(np.nan_to_num(curve.predicted), count)
    hits = np.concatenate([np.arange(n) < k for n, k in zip(count, real, strict=True)])
    return np.stack([scores, hits])


def error(scores, truth, between, n_bins=10):
    """Expected calibration error of all fields together."""
    return metrics.expected_calibration_error(
        truth[None] > 0, scores[None], n_bins=n_bins, between=between
    )


def things_of(classes, labels):
    """Label map of galaxies and stars."""
    return np.where((classes == GALAXY) | (classes == STAR), labels, 0)


def test_fields(data):
    """Yield names and repeats, lists of (image, truth), kind by kind."""
    yield (
        "make_field, setting A, 1024²",
        [[image_and_truth(make_a(1024, 900 + repeat))] for repeat in range(N_REPEATS)],
    )
    for density in (40, 100, 250, 400):
        repeats = [
            [
                image_and_truth(make_field((512, 512), random_state=seed, density=density))
                for seed in range(800 + 8 * repeat, 808 + 8 * repeat)
            ]
            for repeat in range(N_REPEATS)
        ]
        yield f"make_field, {density} galaxies/arcmin²", repeats
    fields = [simulate(77_000_000 + seed) for seed in range(30 * N_REPEATS)]
    yield "as in training", [fields[30 * n : 30 * n + 30] for n in range(N_REPEATS)]
    skies = [simulate_sky(7_300_000 + seed) for seed in range(10 * N_REPEATS)]
    skies = [(planes, things_of(*truth)) for planes, truth in skies]
    yield "make_sky, as the net sky was trained", [skies[n::N_REPEATS] for n in range(N_REPEATS)]
    if data:
        parts = galsim_parts(Path(data))
        halves = [list(zip(part.X[:, [1, 3]], part.truth, strict=True)) for part in parts]
        yield "other simulator: GalSim, HST galaxies, r", halves
        blends = [
            pair for part in btk_parts(Path(data)) for pair in zip(part.X, part.truth, strict=True)
        ]
        thirds = [blends[n::N_REPEATS] for n in range(N_REPEATS)]
        yield "other simulator: BlendingToolKit, r", thirds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    fitting = commands.add_parser(
        "fit", help="fit the table and write it into a copy of the weights"
    )
    fitting.add_argument("--output", type=Path, required=True)
    fitting.add_argument("--weights", default="vis", help="name of shipped weights, or a file")
    fitting.set_defaults(do=fit)
    scoring = commands.add_parser("score", help="print the errors before and after")
    scoring.add_argument("--weights", default="vis", help="name of shipped weights, or a file")
    scoring.add_argument("--data", default=os.environ.get("GALAXYSEGMENT_DATA"))
    scoring.set_defaults(do=score)
    options = parser.parse_args()
    warnings.simplefilter("ignore", NoSourcesWarning)
    options.do(options)


if __name__ == "__main__":
    main()

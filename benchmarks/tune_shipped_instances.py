"""Settle how the Mask R-CNN that ships tells stars from galaxies, on fields of their own.

    python -m benchmarks.tune_shipped_instances blends.safetensors --output settled.safetensors

`train_shipped_instances` does this at its end; the command does it for weights that are there. The
net's vote and the comparison of the sources of an image are weighed by a logistic regression.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from galaxysegment import MaskRCNNSegmenter
from galaxysegment._utils.model_file import read_model_file, write_model_file
from galaxysegment.metrics._matching import best_pairs, find_overlaps
from galaxysegment.segmenters._star_rule import StarRule, evidence_of_instances
from galaxysegment.structures import GALAXY, STAR

from .class_fields import starry_field
from .instance_fields import simulate

#: Seeds of fields of `make_field`, and of fields as in training, every other with large galaxies.
SEEDS = range(5000, 5024), range(8_200_000, 8_200_012)
FAINTEST = 10.0  # signal to noise of the sources that must have the right class
LIMIT = 4.0  # of the logit that comparing sources gives
LEAST = 5  # pixels of a true source that counts


def make_starry(seed):
    """Return image and RMS of a field of stars and galaxies, and its `Instances`."""
    field = starry_field(seed)
    return np.stack([field.image[0], field.rms]).astype(np.float32), field.instances


def list_fields(seeds=SEEDS):
    """Yield planes and truth."""
    yield from map(make_starry, seeds[0])
    yield from (simulate(seed, large=bool(seed % 2)) for seed in seeds[1])


def evidence_of(segmenter, planes, truth):
    """Return S/N, whether it is a star, and both logits of each true source that is detected.

    Shape (n_sources, 4). A true source is detected if its mask has an IoU of .5 with a predicted
    one.
    """
    kept, segmenter._star_rule = segmenter._star_rule, StarRule(0, 1, 0, 0)  # measures all
    try:
        [(sources, measured)] = segmenter._segment_measured([planes])
    finally:
        segmenter._star_rule = kept
    if not len(sources):
        return np.zeros((0, 4))
    logits = evidence_of_instances(measured)
    truth = truth.select((truth.areas >= LEAST) & np.isin(truth.classes, (GALAXY, STAR)))
    overlaps = find_overlaps([truth], [sources])
    pairs = best_pairs(overlaps, 0.5)
    own, seen = overlaps.i[pairs], overlaps.j[pairs]
    signal = np.sinh(np.nan_to_num(segmenter._scale_all([planes])[0][0]))
    snr = [signal_to_noise(signal, truth.boxes[index], truth.crops[index]) for index in own]
    return np.column_stack([snr, truth.classes[own] == STAR, logits[:, seen].T])


def signal_to_noise(signal, box, crop):
    """Signal to noise of a source in its mask, from those of the pixels."""
    y0, x0, y1, x1 = box
    return signal[y0:y1, x0:x1][crop].sum() / np.sqrt(crop.sum())


def settle_rule(segmenter, seeds=SEEDS):
    """Set the rule for stars of a segmenter that starts from weights; print the shares right."""
    fields = list_fields(seeds)
    rows = np.concatenate([evidence_of(segmenter, *field) for field in fields])
    rows = rows[rows[:, 0] > FAINTEST]
    truth, evidence = rows[:, 1] > 0, rows[:, 2:].copy()
    evidence[:, 0] = np.clip(evidence[:, 0], -LIMIT, LIMIT)
    model = LogisticRegression(C=10).fit(evidence, truth)
    image, votes = np.maximum(model.coef_[0], 0)
    rule = StarRule(float(image), float(votes), float(model.intercept_[0]), LIMIT)
    right = model.predict(evidence) == truth
    print(
        f"{rule}: {right.mean():.3f} of {len(truth)} sources right (stars "
        f"{right[truth].mean():.3f}, galaxies {right[~truth].mean():.3f}), votes alone "
        f"{np.mean((evidence[:, 1] > 0) == truth):.3f}"
    )
    segmenter._star_rule = rule


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    segmenter = MaskRCNNSegmenter(weights=options.weights, rms_band=-1)
    segmenter._ready_net()
    settle_rule(segmenter)
    tree = read_model_file(options.weights)
    tree["state"]["star_rule"] = list(segmenter._star_rule)
    write_model_file(options.output, tree)


if __name__ == "__main__":
    main()

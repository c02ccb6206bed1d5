r"""Choose the thresholds of a net that tells classes apart, and calibrate it, on held-out fields.

    python -m benchmarks.tune_shipped_classes step_05600.safetensors --folder training \
        --output sky.safetensors

`train_shipped_classes` does this at its end; the command does it for one of its checkpoints. Stars
are made more or less probable: halfway between the shift with most sources of the right class and
that with the largest mean share of stars and of galaxies. Then come the threshold of sources and
the calibration; the threshold is the lowest that costs next to nothing. Half of the fields have no
RMS map. Last comes the rule that tells stars from galaxies by all sources of an image; ``--rule``
settles nothing but this rule.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from galaxysegment import UNetSegmenter
from galaxysegment._utils.calibration import fit_calibration
from galaxysegment._utils.model_file import read_model_file, write_model_file
from galaxysegment.persistence import save
from galaxysegment.segmenters._best_threshold import THRESHOLDS, threshold_quality
from galaxysegment.segmenters._pixel_classes import votes_of
from galaxysegment.segmenters._star_rule import StarRule
from galaxysegment.structures import GALAXY, STAR, VOID, remove_small

from .class_fields import cached, match_sources, simulate_starry, star_evidence_of

TUNING = range(7_200_000, 7_200_040)  # seeds
STARRY = range(7_400_000, 7_400_020)  # seeds of `make_field` for threshold and calibration
RULE_SEEDS = range(7_300_000, 7_300_036), range(5000, 5036)  # as in training, and of make_field
SHIFTS = np.linspace(-1, 2, 13)  # of the logit of stars
UNCERTAIN = 15_000  # pixels; a field with more decides neither the threshold nor the calibration
ALIKE = 1000  # uncertain pixels that a field counts for in the calibration
FAINTEST = 10.0  # signal to noise of the sources that must have the right class
LIMIT = 4.0  # of the logit that comparing sources gives
RULE_SHIFTS = np.linspace(-1, 1, 41)  # of the logit of the rule
COST = 0.002  # share of all sources that more stars of the right class may cost
LOSS = 0.02  # of the sum of pixel IoU and source F1, for a lower threshold


def tune(unet, folder, make=cached, make_starry=simulate_starry, *, one_band=True):
    """Tune a net in place.

    Parameters
    ----------
    unet : UNetSegmenter
    folder : Path
        Where fields are kept.
    make : callable, default=cached
        ``make(seed, folder)`` returns a field as in training.
    make_starry : callable, default=simulate_starry
        ``make_starry(seed)`` returns a field of galaxies and stars.
    one_band : bool, default=True
        Whether the truth of `make_starry` is of all bands that the net sees. If so its fields take
        part in all that is chosen, the threshold may be lower than the best, fields with their
        RMS map calibrate, and the rule's shift is that of the regression.
    """
    fields = [Example(unet, index, *make(seed, folder)) for index, seed in enumerate(TUNING)]
    right = np.sum([field.right(SHIFTS) for field in fields], axis=0)
    # between most right sources and the largest mean of the two shares: galaxies are more common
    best = right.sum(axis=1).argmax(), (right / right.max(axis=0)).sum(axis=1).argmax()
    shift = SHIFTS[list(best)].mean()
    for candidate, counts in zip(SHIFTS, right, strict=True):
        print(f"stars {candidate:+.2f}: {counts[0]:.0f} galaxies, {counts[1]:.0f} stars right")
    unet.net_.module_.head.bias.data[STAR] += shift
    pairs = [field.light(shift) for field in fields]
    # A large galaxy or cirrus has more uncertain pixels than the sources of all other fields.
    usual = [
        (*pair, field.truth[0] != VOID)
        for field, pair in zip(fields, pairs, strict=True)
        if n_uncertain(pair[0]) < UNCERTAIN
    ]
    for seed in STARRY if one_band else ():
        field = Example(unet, 0, *make_starry(seed))
        usual.append((*field.light(shift=0.0), field.truth[0] != VOID))
    quality = threshold_quality([(proba, labels) for proba, labels, _ in usual], n_pixels=8)
    print(*(f"{limit:.2f}: {sums:.3f}" for limit, sums in zip(THRESHOLDS, quality, strict=True)))
    unet.threshold_ = chosen_threshold(quality, LOSS if one_band else 0.0)
    if one_band:
        usual = list(with_maps(unet, folder, make, make_starry))
    unet.calibration_ = fit_calibration(
        [proba[valid] for proba, _, valid in usual],
        [labels[valid] > 0 for _, labels, valid in usual],
    )
    print(
        f"stars {shift:+.2f}, threshold {unet.threshold_:.2f} ({unet.proba_threshold_:.2f} "
        f"calibrated), from {len(usual)} fields"
    )
    unet.set_params(rms_band=-1)
    unet._star_rule = settle_rule(unet, folder, make, make_starry, more_stars=not one_band)


def n_uncertain(proba):
    """Number of pixels with a probability between .05 and .95."""
    return np.count_nonzero((proba > 0.05) & (proba < 0.95))


def with_maps(unet, folder, make, make_starry):
    """Yield probabilities, labels, and valid pixels of fields that calibrate: with their RMS map.

    All views are taken, as by default. Without a map the net is overconfident of wings. Of each
    field every n-th pixel counts, so that a crowded field counts like a sparse one.
    """
    unet.set_params(n_views=4)
    draws = [(partial(make, folder=folder), seed) for seed in TUNING[::2]]
    for draw, seed in draws + [(make_starry, seed) for seed in STARRY]:
        field = Example(unet, 0, *draw(seed))
        proba, labels = field.light(shift=0.0)
        if draw is make_starry or n_uncertain(proba) < UNCERTAIN:
            step = max(1, -(-n_uncertain(proba) // ALIKE))
            chosen = np.flatnonzero(field.truth[0] != VOID)[::step]
            yield proba.ravel()[chosen], labels.ravel()[chosen], slice(None)
    unet.set_params(n_views=1)


def chosen_threshold(quality, loss):
    """Return the lowest threshold whose quality is at most `loss` below the best.

    The quality is nearly flat. A low threshold finds the faint sources of fields that are unlike
    those of the training. Connected regions stand for sources here, but the segmenter splits them.
    """
    return float(THRESHOLDS[np.flatnonzero(quality >= quality.max() - loss)[0]])


def settle_rule(unet, folder, make=cached, make_starry=simulate_starry, *, more_stars=False):
    """Weigh the net's vote and the comparison of the sources of an image, on fields of their own.

    True sources above a signal to noise of `FAINTEST` count alike. The net must have its RMS band.
    The shift of the logit of stars is that of a logistic regression, or, with `more_stars`, that of
    `starry_shift`: one more star in forty gets its name, and one more galaxy in seventy loses it.
    """
    evidence, truth = [], []
    as_trained, starry = RULE_SEEDS
    for draw, seeds in ((partial(make, folder=folder), as_trained), (make_starry, starry)):
        for planes, classes in map(draw, seeds):
            labels, logits = star_evidence_of(unet, planes)
            for match in match_sources(planes, classes, labels):
                if match.snr > FAINTEST:
                    evidence.append(logits[:, match.source - 1])
                    truth.append(match.kind == STAR)
    evidence = np.array(evidence)
    evidence[:, 0] = np.clip(evidence[:, 0], -LIMIT, LIMIT)
    model = LogisticRegression(C=10).fit(evidence, truth)
    image, votes = np.maximum(model.coef_[0], 0)
    logits, truth = evidence @ [image, votes], np.array(truth)
    shift = starry_shift(logits, truth) if more_stars else float(model.intercept_[0])
    rule = StarRule(float(image), float(votes), shift, LIMIT)
    right = np.mean((logits + shift > 0) == truth)
    print(
        f"{rule}: {right:.3f} of {len(truth)} sources right, votes alone "
        f"{np.mean((evidence[:, 1] > 0) == truth):.3f}"
    )
    return rule


def starry_shift(logits, is_star):
    """Return the largest shift of the logit of stars that costs next to no source its class.

    Galaxies are common, so the shift with most right sources calls faint stars galaxies. Larger
    shifts call more stars by their name and lose about as many galaxies.

    Parameters
    ----------
    logits : ndarray of float, shape (n_sources,)
    is_star : ndarray of bool, shape (n_sources,)
    """
    answers = logits > -RULE_SHIFTS[:, None]
    right = (answers == is_star).mean(axis=1)
    return float(RULE_SHIFTS[right >= right.max() - COST].max())


class Example:
    """A held-out field and what the net says of it.

    Parameters
    ----------
    unet : UNetSegmenter
    index : int
        Fields of odd numbers go without their RMS map.
    planes, truth : ndarray of shape (n_bands + 1, height, width) and (2, height, width)
        As `class_fields.simulate` makes them.
    """

    def __init__(self, unet, index, planes, truth):
        unet.set_params(rms_band=None if index % 2 else -1)
        image = planes[:-1] if index % 2 else planes
        scaled = unet._scale_all([image])
        self.proba = unet._class_maps(scaled)[0].classes
        seen = unet._seen(scaled[0])
        self.signal = np.nan_to_num(np.sinh(seen[0]))
        self.votes = votes_of(seen)
        unset = np.isnan(planes[:-1]).all(axis=0)
        self.truth = np.stack([np.where(unset, VOID, truth[0]), truth[1]])

    def shifted(self, shift):
        """Return the probabilities with another logit of stars."""
        proba = self.proba.copy()
        proba[STAR] *= np.exp(shift)
        return proba / proba.sum(axis=0)

    def light(self, shift):
        """Return the probability of a source, and the label map; 0 where a pixel does not count."""
        proba = self.shifted(shift)
        valid = self.truth[0] != VOID
        is_thing = np.isin(self.truth[0], (GALAXY, STAR))
        return (
            np.where(valid, proba[GALAXY] + proba[STAR], 0),
            np.where(is_thing, self.truth[1], 0),
        )

    def right(self, shifts):
        """Return how many galaxies and stars get the right class, shape (n_shifts, 2)."""
        is_thing = np.isin(self.truth[0], (GALAXY, STAR))
        labels = remove_small(np.where(is_thing, self.truth[1], 0), 8)
        flat = labels.ravel()
        sizes = np.maximum(np.bincount(flat), 1)
        bright = np.bincount(flat, self.signal.ravel()) / np.sqrt(sizes) > FAINTEST
        bright[0] = False
        is_star = np.bincount(flat, (self.truth[0] == STAR).ravel()) > sizes / 2
        counts = []
        for shift in shifts:
            proba = self.shifted(shift)
            star, galaxy = (
                np.bincount(flat, (self.votes * proba[kind]).ravel()) for kind in (STAR, GALAXY)
            )
            right = bright & ((star > galaxy) == is_star)
            counts.append(((right & ~is_star).sum(), (right & is_star).sum()))
        return np.array(counts)


def write(unet, output):
    """Write a net with half floats; tensors with a value that they cannot hold stay as they are."""
    unet.set_params(weights=None, rms_band=None, n_views=4)
    save(unet, output)
    tree = read_model_file(output)
    tensors = tree["state"]["tensors"]
    for name, tensor in tensors.items():
        if tensor.dtype == np.float32 and np.abs(tensor).max() <= np.finfo(np.float16).max:
            tensors[name] = tensor.astype(np.float16)
    write_model_file(output, tree)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("net", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="where fields are kept")
    parser.add_argument("--rule", action="store_true", help="settle only the rule for stars")
    options = parser.parse_args()
    unet = UNetSegmenter(weights=str(options.net), rms_band=-1, n_views=1)
    unet._ready_net()
    if options.rule:
        unet._star_rule = settle_rule(unet, options.folder)
    else:
        unet._drop_calibration()
        tune(unet, options.folder)
    write(unet, options.output)


if __name__ == "__main__":
    main()
